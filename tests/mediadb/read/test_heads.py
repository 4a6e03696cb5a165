"""Is what a stretch begins with shown by something that is there? By numbers, over plain spans."""

from __future__ import annotations

import dataclasses

import pytest

from mediadb.ledger_facts import NO_ENTRY, PAST_US, FoldInput, MediaSpan, Statement, Transition, join_spans
from mediadb.read.heads import MOST_PARTS, with_heads
from mediadb.types import Cause, State
from tests.mediadb.fold_scene import OFFLINE, REC, TOL, S, media, scene, states

pytestmark = pytest.mark.fast
AGE = Cause(State.DELETED, "age")


def head(start: float, end: float, seq: int, entry: float | None = None, **more: object) -> MediaSpan:
    """A stretch that begins with what refers to number `seq` - 1; its first key comes at `entry`."""
    at = NO_ENTRY if entry is None else round(entry * S)
    return media(start, end, 1, seq, **({"entry_us": at, "after_seq": seq} | more))


def hidden(spans: list[MediaSpan], low: float = 0, stored: list[list[MediaSpan]] | None = None) -> list[list[float]]:
    """From, first shown, to, of what is said to be hidden. `stored`: parts that can be looked up by a number."""

    def before(asked: MediaSpan) -> list[MediaSpan]:
        for part in stored or []:
            found = [span for span in part if span.first_seq < asked.after_seq and span.lane == asked.lane]
            if found and found[-1].end_seq >= asked.after_seq:
                return found
        return []

    found = with_heads(spans, round(low * S), before)
    return [[s.start_us / S, s.shown_us / S, s.end_us / S] for s in found if s.shown_us > s.start_us]


def test_what_goes_on_from_a_chunk_that_is_there_is_shown() -> None:
    assert hidden([media(0, 10, 1, 6), head(10, 20, 7, 12)]) == []
    assert hidden([media(0, 10, 1, 5), head(10, 20, 7, 12)]) == [[10, 12, 20]]
    assert hidden([media(0, 10, 2, 6), head(10, 20, 7, 12)]) == [[10, 12, 20]], "another run"
    assert hidden([media(0, 10, 1, 6, lane="edge"), head(10, 20, 7, 12)]) == [[10, 12, 20]], "a lane"
    assert hidden([head(10, 20, 7, 12)], stored=[[media(0, 10, 1, 6)]]) == []
    assert hidden([head(10, 20, 7, 12, after_seq=5)], stored=[[media(0, 10, 1, 4)]]) == [], "statements lie between"
    assert hidden([head(10, 20, 0, 12)]) == [], "nothing comes before the first number"


def test_nobody_looks_for_what_was_not_asked() -> None:
    def never(asked: MediaSpan) -> list[MediaSpan]:
        raise AssertionError(asked)

    spans = [head(10, 20, 7, 12), media(20, 30, 1, 8)]
    assert with_heads(spans, 12 * S, never) is spans


def test_a_group_that_goes_on_through_many_segments() -> None:
    """Hidden from the first chunk whose own before is gone, however far away that is."""
    line = [head(10 * n, 10 * n + 10, n) for n in range(2, 9)]
    whole = [media(10, 20, 1, 1), *line]
    assert hidden(line[-1:], 80, [[one] for one in whole]) == []
    behind = [[at, at + 10, at + 10] for at in range(20, 90, 10)]
    assert sorted(hidden(line[-1:], 80, [[one] for one in whole[1:]])) == behind
    endless = [head(10 * n, 10 * n + 10, n) for n in range(1, MOST_PARTS + 20)]
    assert hidden(endless[-1:], 0, [[one] for one in endless]) == [], "too far: taken as there"


def test_joined_spans_keep_where_they_can_first_be_shown() -> None:
    (joined,) = join_spans([head(10, 20, 1), head(20, 30, 2, 24)], TOL)
    assert (joined.entry_us, joined.after_seq) == (24 * S, 1)
    (joined,) = join_spans([head(10, 20, 1, 14), head(20, 30, 2)], TOL)
    assert joined.entry_us == 14 * S
    (joined,) = join_spans([media(10, 20, 1, 1), head(20, 30, 2)], TOL)
    assert joined.entry_us == PAST_US


def film(*spans: MediaSpan, **more: object) -> FoldInput:
    """`spans` are found to be headless where they may be."""
    found = [dataclasses.replace(s, headless=True) if s.entry_us > s.start_us else s for s in spans]
    return scene(media=[*found, media(110, 1000, 2)], **more)


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        ("removed", AGE),
        ("removed", Cause(State.GROOMED, "thin")),
        ("lost", Cause(State.STORAGE_ERROR, "segment-missing")),
        ("lost", Cause(State.STORAGE_ERROR, "segment-damaged")),
        ("damaged", Cause(State.STORAGE_ERROR, "chunk-damaged")),
        ("gaps", Cause(State.STORAGE_ERROR, "not-salvaged")),
    ],
)
@pytest.mark.parametrize("between", [-0.5, 0, 0.05, 1.5])
def test_pictures_without_their_key_went_with_what_took_it(layer: str, cause: Cause, between: float) -> None:
    """The group is longer than anything that a hole beside footage that is gone may be."""
    given = film(head(40 + between, 100, 5, 90), **{layer: [Statement(10 * S, 40 * S, cause)]})
    said = states(given, 10, 100)
    assert said == [(10, 90, str(cause.state), cause.reason), (90, 100, "recorded", "")]


def test_a_pause_inside_the_group_stays_the_cameras() -> None:
    words = [Transition(10 * S, REC, 1), Transition(40 * S, OFFLINE, 1), Transition(60 * S, REC, 1)]
    given = film(
        head(60, 100, 5, 70),
        transitions=[*words, Transition(110 * S, REC, 2)],
        removed=[Statement(10 * S, 40 * S, AGE)],
    )
    assert states(given, 10, 100) == [
        (10, 40, "deleted", "age"),
        (40, 60, "camera-offline", "stall"),
        (60, 70, "deleted", "age"),
        (70, 100, "recorded", ""),
    ]


def test_a_gap_inside_the_group_stays_what_it_was() -> None:
    shed = Statement(55 * S, 58 * S, Cause(State.OVERLOAD_SHED, "share"))
    given = film(head(40, 100, 5, 70), gaps=[shed], removed=[Statement(10 * S, 40 * S, AGE)])
    assert (55, 58, "overload-shed", "share") in states(given, 10, 100)
    assert (58, 70, "deleted", "age") in states(given, 10, 100)


def test_a_key_that_nobody_took_is_told_as_missing_and_hides_no_fault() -> None:
    given = film(media(10, 50, 1, 1), head(53, 100, 5, 70))
    assert states(given, 10, 100) == [
        (10, 50, "recorded", ""),
        (50, 53, "unexplained", ""),
        (53, 70, "storage-error", "key-missing"),
        (70, 100, "recorded", ""),
    ]
    first = film(head(10, 100, 5, 70))
    assert (10, 70, "storage-error", "key-missing") in states(first, 0, 100)
    other = film(media(10, 50, 1, 1), head(50, 100, 9, 70), removed=[Statement(2 * S, 10 * S, AGE)])
    assert (50, 70, "storage-error", "key-missing") in states(other, 0, 100), "not what went long before"


def test_a_lane_shows_what_live_cannot_and_fills_nothing_with_what_it_cannot() -> None:
    gone = [Statement(10 * S, 40 * S, AGE)]
    edge = media(30, 60, 77, 0, lane="edge")
    assert states(film(head(40, 100, 5, 70), edge, removed=gone), 10, 100) == [
        (10, 30, "deleted", "age"),
        (30, 60, "retrieved", "edge"),
        (60, 70, "deleted", "age"),
        (70, 100, "recorded", ""),
    ]
    headless = media(100, 110, 77, 3, lane="edge", entry_us=104 * S, after_seq=3)
    assert states(film(media(10, 100, 1), headless), 90, 120) == [
        (90, 100, "recorded", ""),
        (100, 104, "server-down", "stop"),
        (104, 110, "retrieved", "edge"),
        (110, 120, "recorded", ""),
    ]


def test_damage_apart_is_hidden_as_a_whole() -> None:
    """Stretches with and without lost packets stay apart; all of them wait for the same key."""
    spans = [head(40, 50, 5), head(50, 60, 6, None, lost_packets=3), head(60, 100, 7, 70)]
    found = with_heads(spans, 0, lambda asked: [])
    given = film(*found, removed=[Statement(10 * S, 40 * S, AGE)])
    assert states(given, 10, 100) == [(10, 70, "deleted", "age"), (70, 100, "recorded", "")]
