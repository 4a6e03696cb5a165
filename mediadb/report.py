"""The report of a range: per camera what was recorded and where the rest went, per storage what befell it.

Law: pure; facts in, a JSON-able document out (times RFC 3339 UTC, lengths whole microseconds). The shares of every
camera sum up to the length of the range. Built by the daemon's reports and by `mediadb report` from the same facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from mediadb.account import Account, Share, together
from mediadb.ledger_facts import RunLife
from mediadb.read.reader import Reader, TrackInfo
from mediadb.times import EPOCH, show_time
from mediadb.types import State

_WEEK: Final = re.compile(r"\d{4}-W\d{1,2}", re.ASCII)
STATEMENT: Final = "Causes are what the recorder stated; they are no proof."


class WeekTextError(ValueError):
    """The text is no week; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Range:
    """[start_us, end_us). `week` ("2026-W47") and `zone` when its borders are those of a week somewhere."""

    start_us: int
    end_us: int
    week: str = ""
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """`oldest_us`: the oldest footage that is still there, None without any; `retention_us`: how long it is to be
    kept, None without a limit."""

    id: str
    name: str
    storage: str
    account: Account
    oldest_us: int | None = None
    retention_us: int | None = None


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """`stats`: counters and forecasts of the running store, empty without one."""

    name: str
    runs: Sequence[RunLife] = ()
    troubles: Mapping[str, int] = field(default_factory=dict)
    stats: Mapping[str, int] = field(default_factory=dict)
    missing: bool = False


def week_range(text: str, zone: tzinfo = UTC, name: str = "UTC") -> Range:
    """'2026-W47' as [Monday 0:00, next Monday 0:00) of a time zone, from 1970 on. Raises WeekTextError."""
    try:
        if _WEEK.fullmatch(text) is None:
            raise ValueError
        first = datetime.fromisocalendar(int(text[:4]), int(text[6:]), 1)
        start, end = (_utc_us(day.replace(tzinfo=zone)) for day in (first, first + timedelta(days=7)))
    except (ValueError, OverflowError):
        raise WeekTextError(f"{text[:100]!r} is no week; write 2026-W47") from None
    if start < 0:
        raise WeekTextError(f"{text!r} lies before 1970")
    return Range(start, end, f"{text[:4]}-W{int(text[6:]):02d}", name)


def week_of(time_us: int, zone: tzinfo = UTC) -> str:
    """The week an instant belongs to, as '2026-W47'."""
    year, week, _ = (EPOCH + timedelta(microseconds=time_us)).astimezone(zone).isocalendar()
    return f"{year}-W{week:02d}"


def storage_facts(reader: Reader, span: Range, stats: Mapping[str, int] | None = None) -> StorageFacts:
    """What the ledger of an open storage says of a range. Blocking."""
    troubles = reader.troubles(span.start_us, span.end_us)
    return StorageFacts(reader.storage, reader.runs(), troubles, stats or {})


def oldest_us(reader: Reader, track: TrackInfo | None) -> int | None:
    """When the oldest footage of a track begins; None without any."""
    return track.first_us if track is not None and track.last_us else None


def document(
    span: Range, now_us: int, cameras: Sequence[CameraFacts], storages: Sequence[StorageFacts]
) -> dict[str, Any]:
    """The whole report."""
    accounts = [one.account for one in cameras]
    held, wanted = sum(one.held_us for one in accounts), sum(one.wanted_us for one in accounts)
    return {
        "start": show_time(span.start_us),
        "end": show_time(span.end_us),
        "week": span.week,
        "zone": span.zone,
        "length_us": span.end_us - span.start_us,
        "generated": show_time(now_us),
        "statement": STATEMENT,
        "cameras": [_camera(one, now_us) for one in sorted(cameras, key=lambda one: (one.name, one.id))],
        "storages": [_storage(one, span) for one in sorted(storages, key=lambda one: one.name)],
        "totals": {
            "cameras": len(cameras),
            "length_us": sum(one.end_us - one.start_us for one in accounts),
            "recorded_us": held,
            "wanted_us": wanted,
            "recorded_percent": _percent(held, wanted),
            "states": [_share(one) for one in together(accounts)],
        },
    }


def _camera(facts: CameraFacts, now_us: int) -> dict[str, Any]:
    sums = facts.account
    kept = None if facts.oldest_us is None else max(0, now_us - facts.oldest_us)
    return {
        "id": facts.id,
        "name": facts.name,
        "storage": facts.storage,
        "recorded_us": sums.held_us,
        "wanted_us": sums.wanted_us,
        "recorded_percent": _percent(sums.held_us, sums.wanted_us),
        "states": [_share(one) for one in sums.shares],
        "gaps": [
            {
                "start": show_time(one.start_us),
                "end": show_time(one.end_us),
                "duration_us": one.end_us - one.start_us,
                "state": str(one.cause.state),
                "reason": one.cause.reason,
                "params": one.cause.params,
            }
            for one in sums.gaps
        ],
        "damaged": {"packets": sums.damaged_packets, "frames": sums.damaged_samples, "duration_us": sums.damaged_us},
        "shed_us": sums.of(State.OVERLOAD_SHED),
        "clock_steps": sums.stretches(State.CLOCK_STEP),
        "oldest": None if facts.oldest_us is None else show_time(facts.oldest_us),
        "kept_us": kept,
        "retention_us": facts.retention_us,
    }


def _storage(facts: StorageFacts, span: Range) -> dict[str, Any]:
    restarts = []
    for before, life in zip([None, *facts.runs], facts.runs, strict=False):
        if before is not None and span.start_us <= life.start_us < span.end_us:
            down = None if before.end_us is None else max(0, life.start_us - before.end_us)
            after = "stop" if before.clean else "crash"
            restarts.append({"time": show_time(life.start_us), "after": after, "down_us": down})
    return {
        "name": facts.name,
        "missing": facts.missing,
        "restarts": restarts[-100:],
        "troubles": dict(sorted(facts.troubles.items())),
        "stats": dict(sorted(facts.stats.items())),
    }


def _share(share: Share) -> dict[str, Any]:
    return {"state": share.state, "reason": share.reason, "duration_us": share.us, "stretches": share.stretches}


def _percent(part: int, whole: int) -> float | None:
    """Never 100 while something is missing; None of nothing."""
    if not whole:
        return None
    return 100.0 if part == whole else min(99.999, round(100 * part / whole, 3))


def _utc_us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
