"""Half-open time ranges and the texts people write for times, durations and sizes.

Law: inside, time is integer microseconds UTC and every interval is [start, end). Text appears only at the edges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from recorderd.core.errors import UsageError

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION_UNITS_US = {"ms": 1_000, "s": SECOND_US, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US}
_SIZE_UNITS = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class TimeRange:
    """[start_us, end_us) in UTC microseconds; never inverted."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us < self.start_us:
            raise UsageError("the end lies before the start: swap them", start=self.start_us, end=self.end_us)

    @property
    def duration_us(self) -> int:
        return self.end_us - self.start_us

    def contains(self, time_us: int) -> bool:
        return self.start_us <= time_us < self.end_us

    def intersect(self, other: TimeRange) -> TimeRange | None:
        """The common part, or None when it is empty."""
        start, end = max(self.start_us, other.start_us), min(self.end_us, other.end_us)
        return TimeRange(start, end) if start < end else None


def parse_duration(text: str) -> int:
    """'30d', '5s', '250ms' as microseconds; units ms s m h d, no sign."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"not a duration: {text!r}; write a whole number with ms, s, m, h or d, like '30d'")
    return int(found[1]) * _DURATION_UNITS_US[found[2]]


def parse_size(text: str) -> int:
    """'4TB', '256MiB' as bytes."""
    found = re.fullmatch(r"(\d+)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"not a size: {text!r}; write a whole number with kB MB GB TB KiB MiB GiB or TiB")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def parse_time(text: str, now_us: int) -> int:
    """RFC 3339 with an offset, 'now', or relative to now as '-10m' and '+5s', in UTC microseconds."""
    text = text.strip()
    if text == "now":
        return now_us
    if text[:1] in "+-" and text[1:2].isdigit():
        delta = parse_duration(text[1:])
        return now_us - delta if text[0] == "-" else now_us + delta
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise UsageError(f"not a time: {text!r}; write RFC 3339 like 2026-03-01T12:00:00Z, 'now' or '-10m'")
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    leap = second == 60  # RFC 3339 allows it; UTC microseconds fold it onto the next second
    try:
        base = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError as error:
        raise UsageError(f"not a time: {text!r}: {error}") from None
    offset_us = 0
    if found[9]:
        if int(found[10]) > 23 or int(found[11]) > 59:
            raise UsageError(f"not a time: {text!r}: the offset must be below 24:00")
        offset_us = int(found[10]) * HOUR_US + int(found[11]) * MINUTE_US
        if found[9] == "-":
            offset_us = -offset_us
    whole_us = (base - _EPOCH) // timedelta(microseconds=1) + (SECOND_US if leap else 0)
    fraction_us = int((found[7] or "").ljust(6, "0")[:6])
    return whole_us + fraction_us - offset_us


def format_time(time_us: int) -> str:
    """RFC 3339 UTC with six digits; a time beyond year 1..9999 is given as its number."""
    try:
        moment = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return f"{time_us}us"
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
