"""Statements held small say what they said, and a part of them decides a range as all of them do."""

from __future__ import annotations

import itertools
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import T0, Recorder, S, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from mediadb.coverage import MARGIN_US, Coverage, Outside
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page, scan_pages, walk_pages
from mediadb.format.records import encode_cause
from mediadb.fs import RealFs
from mediadb.ledger import LedgerWriter
from mediadb.ledger_facts import FoldInput, MediaSpan, RunLife, Statement, Transition
from mediadb.ledger_fold import fold
from mediadb.ledger_packed import Causes, Closed, Words
from mediadb.types import Cause, Interval, State

pytestmark = pytest.mark.fast
REASONS = [
    Cause(State.RECORDED),
    Cause(State.CAMERA_OFFLINE, "stall", {"silent_us": 5}),
    Cause(State.CAMERA_OFFLINE, "stall", {"silent_us": 6}),
    Cause(State.STORAGE_ERROR, "no-space"),
]
causes = st.sampled_from(REASONS)
minutes = st.integers(0, 200)
MIN = 60 * S


@settings(max_examples=200)
@given(
    st.lists(st.tuples(minutes, causes, st.integers(1, 3)), max_size=30),
    st.lists(st.tuples(minutes, minutes), max_size=6),
    minutes,
    minutes,
)
def test_the_words_near_a_range_decide_it_as_all_words_do(
    said: list[tuple[int, Cause, int]], media: list[tuple[int, int]], one: int, other: int
) -> None:
    low, high = min(one, other) * MIN, (max(one, other) + 1) * MIN
    words = Words(Causes())
    everything = [Transition(at * MIN, cause, run, order) for order, (at, cause, run) in enumerate(said)]
    for word in everything:
        words.add(word)
    runs = [RunLife(1, 0, 60 * MIN), RunLife(2, 70 * MIN, 120 * MIN, clean=True), RunLife(3, 121 * MIN, None)]
    spans = [MediaSpan(min(a, b) * MIN, max(a, b) * MIN, 1, n, n + 1) for n, (a, b) in enumerate(media)]

    def answer(transitions: list[Transition]) -> list[Interval]:
        first = min((t.time_us for t in everything), default=1 << 62)
        return fold(FoldInput(200 * MIN, spans, runs, transitions, known_since_us=first), low, high)

    near = words.near(low - MARGIN_US, high + MARGIN_US)
    assert answer(near) == answer(everything)
    assert [word for word in everything if low <= word.time_us < high] == [
        word for word in near if low <= word.time_us < high
    ]


def test_removals_that_touch_are_one_and_others_stay_apart() -> None:
    closed = Closed(Causes(), join=True)
    age, size = Cause(State.DELETED, "age"), Cause(State.DELETED, "size")
    for start, end, cause in ((0, 10, age), (10.1, 20, age), (20.5, 30, age), (30, 40, size), (30, 40, size)):
        closed.add(Statement(round(start * S), round(end * S), cause))
    assert [(one.start_us / S, one.end_us / S, one.cause.reason) for one in closed.near(0, 100 * S)] == [
        (0, 20, "age"), (20.5, 30, "age"), (30, 40, "size"),
    ]  # fmt: skip


def test_pages_are_walked_as_they_are_scanned_past_damage() -> None:
    raw = b""
    for number in range(6):
        records = [LedgerRecord(LedgerKind.COVER, 5, {"pad": "x" * 3000 * number})]
        raw += encode_page(records, 1, 1, number, 0)
    broken = bytearray(raw)
    broken[8192 + 70] ^= 1
    for data in (raw, bytes(broken), raw[:-4096], b"", raw[:100]):
        walked = list(walk_pages(lambda length, at, data=data: data[at : at + length], 0, len(data)))  # type: ignore[misc]
        assert walked == [(at, page) for at, page in scan_pages(data) if page is not None]


def test_extents_of_removed_segments_are_put_away_and_still_explain(
    recorder: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a removal's spans do not reach: the end of a segment that only its extent tells of."""
    monkeypatch.setattr("mediadb.ledger_book.PUT_AWAY", 1)
    made = recorder()
    made.film(35, spec(1))
    assert made.stop() == []
    volume: Path = made.volume
    (folder,) = (volume / "ledger" / "main").iterdir()
    paths = sorted(volume.rglob("*.rseg"))
    ledger = LedgerWriter(RealFs(), folder, 99, 99)
    for number, path in enumerate(paths[:2]):
        spans = [[T0 + number * 10 * S, T0 + (number * 10 + 5) * S]]
        body = {"segment": str(uuid.UUID(int=number)), "name": path.stem, "state": "deleted", "rule": "age", "bytes": 1,
                "tracks": [{"track": str(spec(1).track), "spans": spans}]}  # fmt: skip
        ledger.add(LedgerKind.REMOVED, made.now_us, body)
        path.unlink()
    ledger.flush(made.now_us)
    coverage = Coverage(RealFs(), volume, "main", lambda: made.now_us, False)
    media = [MediaSpan(T0 + 20 * S, T0 + 35 * S, 1, 500, 900)]
    found = coverage.intervals(spec(1).track, media, Outside(100_000), T0, T0 + 35 * S)
    assert [(str(one.cause.state), one.cause.reason) for one in found] == [("deleted", "age"), ("recorded", "")]
    assert len(coverage._facts.facts_of(spec(1).track).sealed) == len(paths) - 2
    assert coverage.patrol() == 0


def test_a_million_words_are_small() -> None:

    tracemalloc.start()
    words = Words(Causes())
    for number in range(100_000):
        words.add(Transition(number * MIN, REASONS[number % 4], 1, number))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 100_000 * 60
    assert encode_cause(words.near(5 * MIN, 6 * MIN)[1].cause)


DAY = 86_400 * S
late = st.integers(155, 200)  # the last months begin at day 161
days = st.one_of(st.integers(0, 200), late)


@st.composite
def ledgers(draw: st.DrawFn) -> list[tuple[int, int, int, dict[str, object]]]:
    """(run, time, kind, body) of seven months: runs one after the other, words, gaps, removals, clean ends or none."""
    records: list[tuple[int, int, int, dict[str, object]]] = []
    track = str(spec(1).track)
    borders = sorted(draw(st.lists(days, min_size=2, max_size=5, unique=True)))
    for run, (low, high) in enumerate(itertools.pairwise(borders), 1):
        start, end = T0 + low * DAY, T0 + high * DAY - draw(st.sampled_from([1, 20_000])) * S
        records.append((run, start, LedgerKind.RUN_START, {}))
        for at, cause in draw(st.lists(st.tuples(st.integers(0, (high - low) * 24 - 7), causes), max_size=4)):
            when = start + at * 3600 * S
            records.append((run, when, LedgerKind.COVER, {"track": track, "time_us": when, **encode_cause(cause)}))
        heartbeats = range(low + 1, high, 3)
        records += [(run, T0 + day * DAY, LedgerKind.ALIVE, {}) for day in heartbeats]
        if draw(st.booleans()):
            when = start + S
            body = {"segment": "s", "name": f"d/{run}.rseg", "bytes": 1, "run": f"{run:016x}", "last_wall_us": end,
                    "tracks": [{"track": track, "first_us": when, "end_us": when + 100 * S}]}  # fmt: skip
            records.append((run, end, LedgerKind.SEGMENT_SEAL, body))
        records.append((run, end, LedgerKind.RUN_STOP if draw(st.booleans()) else LedgerKind.ALIVE, {}))
    return sorted(records, key=lambda one: one[1])


@settings(max_examples=150, deadline=None)
@given(ledgers(), late, late)
def test_the_last_months_alone_answer_as_the_whole_ledger_does(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[int, int, int, dict[str, object]]],
    one: int,
    other: int,
) -> None:
    folder = tmp_path_factory.mktemp("ledger") / "ledger" / "main" / "log"
    folder.mkdir(parents=True)
    for number, (run, at, kind, body) in enumerate(records):
        page = encode_page([LedgerRecord(kind, at, body)], run, run, number, at)
        with (folder / f"{datetime.fromtimestamp(at / S, UTC):%Y-%m}").open("ab") as file:
            file.write(page)
    volume, now = folder.parents[2], T0 + 201 * DAY
    start, end = T0 + min(one, other) * DAY + 7 * S, T0 + (max(one, other) + 1) * DAY
    outside = Outside(100_000)
    lately = Coverage(RealFs(), volume, "main", lambda: now, False)
    always = Coverage(RealFs(), volume, "main", lambda: now, False)
    always._read_all()
    assert lately.intervals(spec(1).track, [], outside, start, end) == always.intervals(
        spec(1).track, [], outside, start, end
    )
    assert always._facts.since == ""


def test_a_question_about_today_reads_the_last_months_only(recorder: Callable[..., Recorder]) -> None:
    made = recorder()
    made.film(35, spec(1))
    made.stop()
    (folder,) = (made.volume / "ledger" / "main").iterdir()
    (folder / "2001-01").write_bytes(encode_page([LedgerRecord(LedgerKind.ALIVE, 0, {})], 5, 1, 0, 0))
    coverage = Coverage(RealFs(), made.volume, "main", lambda: made.now_us, False)
    media = [MediaSpan(T0, T0 + 35 * S, 1, 0, 900)]
    low = T0 + MARGIN_US + S
    coverage.intervals(spec(1).track, media, Outside(100_000), low, low + S)
    assert 5 not in coverage._facts.runs
    coverage.intervals(spec(1).track, media, Outside(100_000), T0 - 900 * DAY, low)
    assert 5 in coverage._facts.runs
    assert coverage.runs(run=5)
