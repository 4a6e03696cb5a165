"""Scenes and properties of the coverage fold: every instant has one state, whatever order the facts come in."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediadb.ledger_facts import FoldInput, MediaSpan, RunLife, Statement, Transition, join_spans
from mediadb.ledger_fold import fold
from mediadb.types import Cause, Interval, State
from tests.mediadb.fold_scene import NOW, OFFLINE, REC, TOL, S, media, scene, states

pytestmark = pytest.mark.fast


def test_a_clean_stop_is_server_down_until_the_next_run() -> None:
    assert states(scene(), 0, 200) == [
        (0, 10, "not-scheduled", "not-configured"),
        (10, 100, "recorded", ""),
        (100, 110, "server-down", "stop"),
        (110, 200, "recorded", ""),
    ]


def test_a_crash_takes_the_uncommitted_tail_with_it() -> None:
    given = scene(
        runs=[RunLife(1, 10 * S, 100 * S), RunLife(2, 110 * S, None)],
        media=[media(10, 98.5, 1), media(110, 1000, 2)],
    )
    assert (98.5, 110, "server-down", "crash") in states(given, 0, 200)


def test_a_long_hole_that_only_claims_to_be_recorded_is_unexplained() -> None:
    given = scene(media=[media(10, 50, 1), media(53, 100, 1, 1), media(110, 1000, 2)])
    assert (50, 53, "unexplained", "") in states(given, 0, 200)


def test_transitions_explain_holes_and_do_not_leak_into_the_next_run() -> None:
    given = scene(
        transitions=[
            Transition(10 * S, REC, 1),
            Transition(90 * S, OFFLINE, 1),
            Transition(112 * S, REC, 2),
        ],
        media=[media(10, 90, 1), media(112, 1000, 2)],
    )
    assert states(given, 80, 120) == [
        (80, 90, "recorded", ""),
        (90, 100, "camera-offline", "stall"),
        (100, 112, "server-down", "stop"),
        (112, 120, "recorded", ""),
    ]


def test_lost_packets_before_a_hole_make_it_network_loss_with_the_count() -> None:
    given = scene(media=[media(10, 50, 1), media(50.4, 100, 1, 1, lost_before=7), media(110, 1000, 2)])
    hole = fold(given, 50 * S, 50 * S + 400_000)
    assert [(i.cause.state, i.cause.params) for i in hole] == [(State.NETWORK_LOSS, {"packets": 7})]


def test_a_short_hole_joins_but_not_when_a_chunk_is_missing() -> None:
    near = scene(media=[media(10, 50, 1, 0), media(50.08, 100, 1, 1), media(110, 1000, 2)])
    assert states(near, 10, 100) == [(10, 100, "recorded", "")]
    missing = scene(media=[media(10, 50, 1, 0), media(50.08, 100, 1, 5), media(110, 1000, 2)])
    assert (50, 50.08, "unexplained", "") in states(missing, 10, 100)


def test_a_late_sample_whose_media_time_continues_leaves_no_hole() -> None:
    late = media(51, 100, 1, 1, media_start_us=40 * S, media_end_us=89 * S)
    given = scene(media=[media(10, 50, 1, 0, media_start_us=0, media_end_us=40 * S), late, media(110, 1000, 2)])
    assert states(given, 10, 100) == [(10, 100, "recorded", "")]
    lost = dataclasses.replace(late, media_start_us=41 * S, lost_before=3)
    given = scene(media=[media(10, 50, 1, 0, media_start_us=0, media_end_us=40 * S), lost, media(110, 1000, 2)])
    assert (50, 51, "network-loss", "packets-lost") in states(given, 10, 100)


def test_a_closed_gap_is_cut_out_of_a_span_that_contains_it() -> None:
    shed = Statement(20 * S, 25 * S, Cause(State.OVERLOAD_SHED, "share"))
    assert states(scene(gaps=[shed]), 10, 100) == [
        (10, 20, "recorded", ""),
        (20, 25, "overload-shed", "share"),
        (25, 100, "recorded", ""),
    ]


def test_removed_footage_is_deleted_with_its_rule_and_media_wins_over_it() -> None:
    gone = Statement(10 * S, 60 * S, Cause(State.DELETED, "age"))
    given = scene(removed=[gone], media=[media(50, 100, 1), media(110, 1000, 2)])
    assert states(given, 10, 100) == [(10, 50, "deleted", "age"), (50, 100, "recorded", "")]


def test_a_lane_fills_only_what_live_does_not_have() -> None:
    lane = media(85, 120, 77, 0, lane="edge")
    assert states(scene(media=[media(10, 100, 1), media(110, 1000, 2), lane]), 80, 130) == [
        (80, 100, "recorded", ""),
        (100, 110, "retrieved", "edge"),
        (110, 130, "recorded", ""),
    ]


def test_damaged_stretches_stay_apart_and_carry_counts() -> None:
    parts = [
        media(10, 50, 1, 0),
        media(50, 60, 1, 1, lost_packets=3, damaged_samples=2),
        media(60, 100, 1, 2),
    ]
    out = fold(scene(media=parts), 10 * S, 100 * S)
    assert [(i.start_us // S, i.end_us // S, i.damaged_packets, i.damaged_samples) for i in out] == [
        (10, 50, 0, 0),
        (50, 60, 3, 2),
        (60, 100, 0, 0),
    ]


def test_damage_of_a_stretch_cut_by_gaps_is_counted_once() -> None:
    """Packets lost inside a stretch that gaps lie in: the sum over its parts is what was lost, not a multiple."""
    gaps = [Statement(at * S, (at + 1) * S, Cause(State.NETWORK_LOSS, "packets-lost")) for at in (30, 40, 70)]
    parts = [media(10, 100, 1, 0, lost_packets=88, damaged_samples=7), media(100, 110, 1, 1, lost_packets=5)]
    out = fold(scene(media=parts, gaps=gaps), 0, 110 * S)
    recorded = [one for one in out if one.cause.state is State.RECORDED and one.start_us >= 10 * S]
    assert len(recorded) == 4
    assert sum(one.damaged_packets for one in recorded) == 93
    assert sum(one.damaged_samples for one in recorded) == 7
    assert all(one.damaged_packets for one in recorded)


def test_the_live_edge_is_pending_only_as_long_as_memory_can_hold_it() -> None:
    fresh = scene(media=[media(10, 100, 1), media(110, 998, 2)])
    assert states(fresh, 990, 1010) == [
        (990, 998, "recorded", ""),
        (998, 1000, "recorded", "not-yet-durable"),
        (1000, 1010, "not-scheduled", "future"),
    ]
    stale = scene(media=[media(10, 100, 1), media(110, 950, 2)])
    assert (950, 1000, "unexplained", "") in states(stale, 900, 1000)


def test_a_cause_noticed_a_moment_late_explains_the_time_since_the_last_sample() -> None:
    given = scene(
        transitions=[Transition(10 * S, REC, 1), Transition(51 * S, OFFLINE, 1), Transition(110 * S, REC, 2)],
        media=[media(10, 50, 1), media(110, 1000, 2)],
    )
    assert states(given, 40, 100) == [(40, 50, "recorded", ""), (50, 100, "camera-offline", "stall")]


def test_a_run_killed_before_its_first_word_is_server_down() -> None:
    runs = [RunLife(1, 10 * S, 100 * S), RunLife(3, 105 * S, 106 * S), RunLife(2, 110 * S, None)]
    assert states(scene(runs=runs), 100, 110) == [
        (100, 110, "server-down", "crash"),
    ]


def test_a_crash_gap_never_hides_what_the_new_run_said_of_that_time() -> None:
    given = scene(
        runs=[RunLife(1, 10 * S, 100 * S), RunLife(2, 110 * S, None)],
        transitions=[Transition(10 * S, REC, 1), Transition(111 * S, OFFLINE, 2), Transition(200 * S, REC, 2)],
        media=[media(10, 99, 1), media(200, 1000, 2)],
        gaps=[Statement(99 * S, 200 * S, Cause(State.SERVER_DOWN, "crash"))],
    )
    assert states(given, 90, 210) == [
        (90, 99, "recorded", ""),
        (99, 111, "server-down", "crash"),
        (111, 200, "camera-offline", "stall"),
        (200, 210, "recorded", ""),
    ]


def test_runs_the_ledger_lost_are_known_by_their_media() -> None:
    given = FoldInput(NOW, media=[media(10, 20, 5), media(30, 40, 6)], tolerance_us=TOL)
    assert states(given, 10, 50) == [
        (10, 20, "recorded", ""),
        (20, 30, "server-down", "crash"),
        (30, 40, "recorded", ""),
        (40, 50, "server-down", "crash"),
    ]


TIMES = st.integers(0, 1_100).map(lambda n: n * 1_000_000)
CAUSES = st.sampled_from([REC, OFFLINE, Cause(State.STORAGE_ERROR), Cause(State.NOT_SCHEDULED, "never")])


@st.composite
def inputs(draw: st.DrawFn) -> FoldInput:
    spans = []
    for i, (start, length) in enumerate(
        draw(st.lists(st.tuples(TIMES, st.integers(1, 200)), max_size=8)),
    ):
        spans.append(
            MediaSpan(
                start,
                start + length * S,
                draw(st.integers(1, 4)),
                i,
                i + 1,
                damaged_samples=draw(st.integers(0, 1)),
                lost_before=draw(st.integers(0, 1)),
                lane=draw(st.sampled_from(["", "", "edge"])),
            )
        )
    runs = []
    for run, (start, length) in enumerate(draw(st.lists(st.tuples(TIMES, st.integers(0, 300)), max_size=4))):
        clean = draw(st.booleans())
        runs.append(RunLife(run + 1, start, None if run == 3 else start + length * S, clean))
    words = [
        Transition(t, c, r, n)
        for n, (t, c, r) in enumerate(draw(st.lists(st.tuples(TIMES, CAUSES, st.integers(1, 5)), max_size=8)))
    ]
    closed = st.lists(st.tuples(TIMES, st.integers(1, 100)), max_size=4)
    gaps = [Statement(t, t + n * S, Cause(State.OVERLOAD_SHED), i) for i, (t, n) in enumerate(draw(closed))]
    removed = [Statement(t, t + n * S, Cause(State.DELETED, "age"), i) for i, (t, n) in enumerate(draw(closed))]
    return FoldInput(NOW, spans, runs, words, gaps, removed, TOL)


def at(intervals: list[Interval], time_us: int) -> Cause:
    (found,) = [i.cause for i in intervals if i.start_us <= time_us < i.end_us]
    return found


@given(inputs(), TIMES, st.integers(1, 1_000))
def test_the_answer_is_a_partition_of_the_range(given: FoldInput, start: int, length: int) -> None:
    end = start + length * S
    out = fold(given, start, end)
    assert out[0].start_us == start
    assert out[-1].end_us == end
    assert all(a.end_us == b.start_us for a, b in itertools.pairwise(out))
    assert all(i.start_us < i.end_us for i in out)


@given(inputs(), st.randoms())
def test_the_order_in_which_facts_arrive_does_not_matter(given: FoldInput, random: object) -> None:
    def shuffled(items: object) -> list[object]:
        copy = list(items)  # type: ignore[call-overload]
        random.shuffle(copy)  # type: ignore[attr-defined]
        return copy

    mixed = dataclasses.replace(
        given,
        media=shuffled(given.media),
        runs=shuffled(given.runs),
        transitions=shuffled(given.transitions),
        gaps=shuffled(given.gaps),
        removed=shuffled(given.removed),
    )
    assert fold(mixed, 0, 1_100 * S) == fold(given, 0, 1_100 * S)
    assert fold(given, 0, 1_100 * S) == fold(given, 0, 1_100 * S)


@given(inputs(), TIMES, st.integers(1, 500))
def test_a_part_of_the_range_says_what_the_whole_says(given: FoldInput, start: int, length: int) -> None:
    whole = fold(given, 0, 2_000 * S)
    part = fold(given, start, start + length * S)
    for interval in part:
        assert at(whole, interval.start_us) == interval.cause
        assert at(whole, interval.end_us - 1) == interval.cause


@given(inputs(), TIMES)
def test_the_first_layer_that_covers_an_instant_decides_it(given: FoldInput, time: int) -> None:
    got = at(fold(given, time, time + 1), time).state
    live = [m for m in given.media if not m.lane and m.start_us <= time < m.end_us]
    gaps = [g for g in given.gaps if g.start_us <= time < g.end_us]
    if live and not gaps:
        assert got is State.RECORDED
    elif not live and any(m.lane and m.start_us <= time < m.end_us for m in given.media):
        assert got is State.RETRIEVED
    elif not live and time >= max([NOW, *(run.end_us or 0 for run in given.runs)]):  # else a clock showed it once
        assert got is State.NOT_SCHEDULED
    elif not live and any(r.start_us <= time < r.end_us for r in given.removed):
        assert got is State.DELETED


@given(inputs())
def test_recorded_is_never_said_of_more_time_than_media_and_tolerance_allow(given: FoldInput) -> None:
    said = [i for i in fold(given, 0, 1_100 * S) if i.cause == REC]
    for interval in said:
        uncovered, time = 0, interval.start_us
        while time < interval.end_us:
            if not any(m.start_us <= time < m.end_us for m in given.media if not m.lane):
                uncovered += 50_000
            else:
                uncovered = 0
            assert uncovered <= TOL
            time += 50_000 if uncovered else S


def test_join_keeps_runs_and_seams_apart() -> None:
    parts = [media(0, 1, 1, 0), media(1, 2, 1, 1), media(2, 3, 2, 0), media(3, 4, 2, 1, seam=True)]
    joined = join_spans(reversed(parts), TOL)
    assert [(s.start_us // S, s.end_us // S, s.first_seq, s.end_seq) for s in joined] == [
        (0, 2, 0, 2),
        (2, 3, 0, 1),
        (3, 4, 1, 2),
    ]


def test_a_camera_that_makes_fewer_pictures_than_it_announced_leaves_no_hole() -> None:
    """Variable frame rate: no packet and no chunk is missing, so a second without a picture is no hole."""
    sparse = [media(10, 50, 1, 0), media(51, 60, 1, 1), media(61, 100, 1, 2), media(110, 1000, 2)]
    assert states(scene(media=sparse), 10, 100) == [(10, 100, "recorded", "")]
    longer = [media(10, 50, 1, 0), media(52, 100, 1, 1), media(110, 1000, 2)]
    assert (50, 52, "unexplained", "") in states(scene(media=longer), 10, 100)


def test_a_sliver_between_removals_belongs_to_them() -> None:
    gone = [
        Statement(10 * S, 20 * S, Cause(State.DELETED, "size")),
        Statement(20 * S + 276, 30 * S, Cause(State.DELETED, "size")),
        Statement(31 * S, 40 * S, Cause(State.DELETED, "size")),
    ]
    given = scene(removed=gone, media=[media(40.001, 100, 1), media(110, 1000, 2)])
    assert states(given, 10, 100) == [(10, 40, "deleted", "size"), (40, 100, "recorded", "")]


def test_a_sliver_beside_any_statement_belongs_to_it() -> None:
    shed = [Statement(50 * S, 60 * S, Cause(State.OVERLOAD_SHED)), Statement(60 * S + 40, 70 * S, OFFLINE)]
    given = scene(gaps=shed, media=[media(10, 50, 1), media(70, 100, 1, 9), media(110, 1000, 2)])
    assert [(s, w) for s, _, w, _ in states(given, 40, 80)] == [
        (40, "recorded"),
        (50, "overload-shed"),
        (60.00004, "camera-offline"),
        (70, "recorded"),
    ]


def test_what_is_left_of_a_lost_segment_is_recorded_and_finer_causes_stay() -> None:
    lost = Statement(30 * S, 60 * S, Cause(State.STORAGE_ERROR, "segment-damaged"))
    given = scene(
        lost=[lost],
        gaps=[Statement(50 * S, 55 * S, OFFLINE)],
        media=[media(10, 40, 1), media(60, 100, 1, 9), media(110, 1000, 2)],
    )
    assert states(given, 10, 100) == [
        (10, 40, "recorded", ""),
        (40, 50, "storage-error", "segment-damaged"),
        (50, 55, "camera-offline", "stall"),
        (55, 60, "storage-error", "segment-damaged"),
        (60, 100, "recorded", ""),
    ]


@st.composite
def segments(draw: st.DrawFn) -> list[list[MediaSpan]]:
    """Segments of one run, of one or more spans each; holes up to 20 s with and without a word of why."""
    out: list[list[MediaSpan]] = []
    at, seq = 10 * S, 0
    for _ in range(draw(st.integers(1, 5))):
        spans = []
        for _ in range(draw(st.integers(1, 3))):
            at += draw(st.sampled_from([0, 40, 15_000, TOL, TOL + 1, S, 3 * S, 20 * S]))
            seq += draw(st.integers(0, 1))
            end = at + draw(st.integers(1, 10)) * S
            spans.append(MediaSpan(at, end, 1, seq, seq + 1, lost_before=draw(st.integers(0, 1))))
            at, seq = end, seq + 1
        out.append(spans)
    return out


def unexplained(given: FoldInput) -> list[tuple[int, int]]:
    whole = fold(given, 0, 400 * S)
    return [(i.start_us, i.end_us) for i in whole if i.cause.state is State.UNEXPLAINED]


@given(segments(), st.data(), st.booleans())
def test_removing_segments_from_the_front_never_adds_unexplained(
    made: list[list[MediaSpan]], data: st.DataObject, lives: bool
) -> None:
    count = data.draw(st.integers(1, len(made)))
    run = RunLife(1, 9 * S, None if lives else made[-1][-1].end_us + S)
    now_us = made[-1][-1].end_us + 5 * S
    given = FoldInput(now_us, [s for m in made for s in m], [run], [Transition(9 * S, REC, 1)], tolerance_us=TOL)
    rule = Cause(State.DELETED, "size")
    removed = [Statement(s.start_us, s.end_us, rule) for m in made[:count] for s in join_spans(m, TOL)]
    left = dataclasses.replace(given, media=[s for m in made[count:] for s in m], removed=removed)
    before = unexplained(given)
    for low, high in unexplained(left):
        assert any(a <= low and high <= b for a, b in before)


def test_the_seam_between_two_storages_goes_with_the_footage_beside_it() -> None:
    away, aged = Cause(State.STORAGE_ERROR, "storage-missing"), Cause(State.DELETED, "age")
    words = [Transition(0, REC, 1), Transition(500_000, away, 1), Transition(502_000, REC, 1)]
    known = FoldInput(
        now_us=2_000_000,
        media=[MediaSpan(502_000, 1_000_000, 1)],
        runs=[RunLife(1, 0, 1_000_000, True)],
        transitions=words,
        removed=[Statement(0, 500_000, aged)],
        tolerance_us=100_000,
    )
    assert [(i.cause, i.end_us) for i in fold(known, 0, 1_000_000)] == [(aged, 502_000), (REC, 1_000_000)]
    far = dataclasses.replace(
        known, media=[MediaSpan(702_000, 1_000_000, 1)], transitions=[*words[:2], Transition(702_000, REC, 1)]
    )
    assert [i.cause for i in fold(far, 0, 1_000_000)] == [aged, away, REC]
