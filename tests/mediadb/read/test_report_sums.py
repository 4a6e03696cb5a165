"""The report: shares that sum up to the range whatever the coverage, weeks of every zone, text that fits a mail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import T0, Recorder, S, offline, spec
from hypothesis import given
from hypothesis import strategies as st

from mediadb.account import account
from mediadb.cause_words import WORDS, explain
from mediadb.ledger_facts import FoldInput, MediaSpan, RunLife, Statement, Transition
from mediadb.ledger_fold import fold
from mediadb.report import CameraFacts, Range, StorageFacts, WeekTextError, document, week_of, week_range
from mediadb.report_text import WIDTH, report_text
from mediadb.tools.main import main
from mediadb.types import Cause, Interval, State

pytestmark = pytest.mark.fast
CAUSES = [Cause(State(state), reason) for state, reason in WORDS if state not in ("recorded", "unexplained")]
causes = st.sampled_from([Cause(State.RECORDED), *CAUSES])
times = st.integers(0, 10_000)
HOUR = 3600 * S


@st.composite
def scenes(draw: st.DrawFn) -> FoldInput:
    def statements() -> list[Statement]:
        pairs = draw(st.lists(st.tuples(times, times, causes), max_size=5))
        return [Statement(min(a, b), max(a, b), cause) for a, b, cause in pairs]

    spans = [
        MediaSpan(min(a, b), max(a, b), 1, n, n + 1, lost_packets=n % 3)
        for n, (a, b) in enumerate(draw(st.lists(st.tuples(times, times), max_size=6)))
    ]
    return FoldInput(
        now_us=draw(times),
        media=spans,
        runs=[RunLife(1, 100, draw(st.one_of(st.none(), times)))],
        transitions=[Transition(t, c, 1) for t, c in draw(st.lists(st.tuples(times, causes), max_size=6))],
        gaps=statements(),
        removed=statements(),
        damaged=statements(),
        lost=statements(),
    )


@given(scenes(), times, times)
def test_the_states_of_a_range_sum_up_to_its_length_exactly(scene: FoldInput, one: int, other: int) -> None:
    start, end = min(one, other), max(one, other) + 1
    sums = account(fold(scene, start, end), start, end)
    assert sum(share.us for share in sums.shares) == end - start
    held = sum(share.us for share in sums.shares if share.state in ("recorded", "retrieved"))
    assert sums.held_us == held <= sums.wanted_us <= end - start
    made = document(Range(start, end), end, [CameraFacts("x", "gate", "main", sums)], [])
    for shares in (made["cameras"][0]["states"], made["totals"]["states"]):
        assert sum(share["duration_us"] for share in shares) == made["length_us"]
    assert json.loads(json.dumps(made)) == made


def test_coverage_with_a_hole_or_an_overlap_is_refused() -> None:
    whole = [Interval(0, 5, Cause(State.RECORDED)), Interval(5, 9, Cause(State.SERVER_DOWN, "stop"))]
    assert account(whole, 0, 9).held_us == 5
    for wrong in (whole[:1], [whole[0], Interval(6, 9, whole[1].cause)], [whole[0], Interval(4, 9, whole[1].cause)]):
        with pytest.raises(ValueError, match="coverage"):
            account(wrong, 0, 9)


def test_weeks_begin_on_monday_midnight_of_their_zone_summer_time_included() -> None:
    utc = week_range("2026-W47")
    assert (utc.start_us, utc.end_us - utc.start_us) == (1_763_337_600 * S + 364 * 24 * HOUR, 168 * HOUR)
    berlin = week_range("2026-W47", ZoneInfo("Europe/Berlin"), "Europe/Berlin")
    assert berlin.start_us == utc.start_us - HOUR
    spring, autumn = (week_range(week, ZoneInfo("Europe/Berlin")) for week in ("2026-W13", "2026-W43"))
    assert [one.end_us - one.start_us for one in (spring, autumn)] == [167 * HOUR, 169 * HOUR]
    assert week_of(utc.start_us) == "2026-W47" == week_of(utc.end_us - 1)
    assert week_of(utc.start_us - 1) == "2026-W46"
    assert week_range("2020-W53").week == "2020-W53"
    odd = (" 2026-W+4", "2_026-W4_7", "٢٠٢٦-W٤٧", "9999-W52", "0001-W01", "1969-W20")
    for wrong in ("2026-47", "2026-W60", "x-W1", "", "2026-W", *odd):
        with pytest.raises(WeekTextError):
            week_range(wrong)


def made_report() -> dict[str, Any]:
    gaps = [Interval(i * HOUR, (i + 1) * HOUR, CAUSES[i % len(CAUSES)], i % 2, 0) for i in range(168)]
    facts = CameraFacts(
        "x", "gate \x1b[31m" + "long " * 20, "main", account(gaps, 0, 168 * HOUR), 5 * HOUR, 30 * 24 * HOUR
    )
    runs = [RunLife(1, 0, 10 * S), RunLife(2, 20 * S, 30 * S, clean=True), RunLife(3, 40 * S, None)]
    store = StorageFacts("main", runs, {"storage-error": 2}, {"used_bytes": 1 << 30, "free_bytes": 1, "total_bytes": 9})
    return document(Range(0, 168 * HOUR, "1970-W01"), 168 * HOUR, [facts], [store])


def test_text_fits_a_mail_and_says_what_causes_are() -> None:
    text = report_text(made_report())
    assert max(len(line) for line in text.split("\n") if not line.startswith("gate")) <= WIDTH + 24
    assert "\x1b" not in text
    for words in ("no proof", "after a crash: 1", "storage-error: 2 times"):
        assert words in text
    assert [one["after"] for one in made_report()["storages"][0]["restarts"]] == ["crash", "stop"]
    assert made_report()["cameras"][0]["gaps"][0]["duration_us"] == HOUR


def test_never_a_hundred_percent_while_something_is_missing() -> None:
    almost = [Interval(0, 10**12 - 1, Cause(State.RECORDED)), Interval(10**12 - 1, 10**12, Cause(State.CLOCK_STEP))]
    one = CameraFacts("x", "gate", "main", account(almost, 0, 10**12))
    assert document(Range(0, 10**12), 0, [one], [])["cameras"][0]["recorded_percent"] == 99.999


def test_every_state_has_words() -> None:
    for state in State:
        assert explain(str(state), "").what != str(state), state
        assert explain(str(state), "never-heard-of") == explain(str(state), "")


def test_the_offline_report_says_what_coverage_says(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Recorder(volume)
    made.film(20, spec(1))
    made.cover(spec(1), Cause(State.CAMERA_OFFLINE, "stall"))
    made.wait(30)
    made.cover(spec(2), Cause(State.CAMERA_OFFLINE, "refused"))
    made.film(5, spec(1))
    assert made.stop() == []
    start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (_moment(0), _moment(60)))
    assert main(["report", str(volume), "--from", start, "--to", end, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in report["cameras"]] == ["cam 1", "cam 2"], "one without footage has its row"
    reader = offline(volume)
    for camera, track in zip(report["cameras"], (spec(1), spec(2)), strict=True):
        covered = reader.coverage([track.track], T0, T0 + 60 * S)[track.track]
        assert {(s["state"], s["reason"]): s["duration_us"] for s in camera["states"]} == _sums(covered)
    assert main(["report", str(volume), "cam 1", "--from", start, "--to", end]) == 0
    assert "camera-offline (stall)" in capsys.readouterr().out
    assert main(["report", str(volume), "--week", "2026-W99"]) == 2
    assert main(["report", str(volume), "--week", "2026-W09", "--from", start]) == 2
    capsys.readouterr()
    assert main(["why", str(volume), "cam 2", f"{_moment(54):%Y-%m-%dT%H:%M:%SZ}"]) == 0
    assert WORDS["camera-offline", "refused"].what in capsys.readouterr().out


def _moment(seconds: int) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(T0 / S + seconds, UTC)


def _sums(intervals: list[Interval]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for one in intervals:
        key = str(one.cause.state), one.cause.reason
        sums[key] = sums.get(key, 0) + one.end_us - one.start_us
    return sums
