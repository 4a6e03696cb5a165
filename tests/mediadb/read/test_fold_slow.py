"""The coverage fold with cameras that make few pictures, and with clocks that were set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediadb.ledger_facts import FoldInput, MediaSpan, RunLife, Transition, join_spans
from mediadb.ledger_fold import fold
from mediadb.types import State
from tests.mediadb.fold_scene import NOW, OFFLINE, REC, TOL, S, media, scene, states

pytestmark = pytest.mark.fast


def slow(at: float, seq: int, wait: float = 20, **more: object) -> MediaSpan:
    """One picture of a camera that makes one every `wait` seconds."""
    return media(at, at + wait, 1, seq, interval_us=round(wait * S), lead_us=round(wait * S), **more)


def test_pictures_of_a_slow_camera_follow_each_other() -> None:
    given = scene(media=[slow(10, 0), slow(30, 1), slow(95, 2, wait=5)], tolerance_us=TOL)
    assert states(given, 10, 100) == [(10, 100, "recorded", "")]
    missing = scene(media=[slow(10, 0), slow(50, 2), slow(70, 3)], tolerance_us=TOL)
    assert (30, 50, "unexplained", "") in states(missing, 10, 90), "a number is missing"
    seam = scene(media=[slow(10, 0), slow(50, 1, seam=True), slow(70, 2)], tolerance_us=TOL)
    assert (30, 50, "unexplained", "") in states(seam, 10, 90), "another connection"
    late = scene(media=[slow(10, 0), slow(30 + 50.001, 1)], tolerance_us=TOL)
    assert (30, 80.001, "unexplained", "") in states(late, 10, 100), "more than 2.5 intervals late"


@pytest.mark.parametrize("gone", [31, 42.5])
def test_a_slow_picture_does_not_stand_against_the_word_that_the_camera_is_gone(gone: float) -> None:
    words = [Transition(10 * S, REC, 1), Transition(round(gone * S), OFFLINE, 1)]
    given = scene(
        media=[slow(10, 0), slow(30, 1), media(110, 1000, 2)], transitions=[*words, Transition(110 * S, REC, 2)]
    )
    assert states(given, 10, 100) == [(10, gone, "recorded", ""), (gone, 100, "camera-offline", "stall")]


@pytest.mark.parametrize(("clean", "why"), [(True, "stop"), (False, "crash")])
def test_a_slow_picture_does_not_outlive_the_recorder(clean: bool, why: str) -> None:
    runs = [RunLife(1, 10 * S, 93 * S, clean=clean), RunLife(2, 110 * S, None)]
    given = scene(runs=runs, media=[slow(10 + 20 * n, n) for n in range(5)] + [media(110, 1000, 2)])
    assert states(given, 10, 110) == [(10, 93, "recorded", ""), (93, 110, "server-down", why)]


def test_the_last_picture_stands_until_now_and_no_longer() -> None:
    given = scene(media=[media(110, 990, 2), slow(990, 1)], runs=[RunLife(1, 10 * S, None)], now_us=NOW)
    assert states(given, 995, 1010) == [(995, 1000, "recorded", ""), (1000, 1010, "not-scheduled", "future")]
    late = scene(media=[slow(930, 1), slow(950, 2)], runs=[RunLife(1, 10 * S, None)], now_us=NOW)
    assert states(late, 945, 1000) == [(945, 970, "recorded", ""), (970, 1000, "recorded", "not-yet-durable")]


def test_a_fast_stretch_ends_the_slow_picture_before_it() -> None:
    spans = join_spans([slow(10, 0), media(11, 12, 1, 1)], TOL)
    assert [(one.start_us, one.end_us) for one in spans] == [(10 * S, 12 * S)]
    apart = join_spans([slow(10, 0), media(11, 12, 1, 1, seam=True)], TOL)
    assert [(one.start_us, one.end_us) for one in apart] == [(10 * S, 11 * S), (11 * S, 12 * S)]


@given(st.data())
def test_no_second_is_recorded_without_footage_however_slow(data: st.DataObject) -> None:
    """A word that the camera is gone holds from when it was said, but for the pictures there are."""
    at, spans, words = 10 * S, [], [Transition(10 * S, REC, 1)]
    for seq in range(data.draw(st.integers(2, 8))):
        wait = data.draw(st.sampled_from([2, 5, 20, 60]))
        spans.append(slow(at / S, seq, wait=wait, seam=bool(words[-1].cause is OFFLINE)))
        if words[-1].cause is OFFLINE:
            words.append(Transition(at, REC, 1))
        if data.draw(st.booleans()):
            said = at + data.draw(st.integers(1, wait - 1)) * S
            words.append(Transition(said, OFFLINE, 1))
            at = said + data.draw(st.integers(1, 100)) * S
        else:
            at += data.draw(st.integers(wait // 2, wait * 3)) * S
    given = FoldInput(at, spans, [RunLife(1, 9 * S, None)], words, tolerance_us=TOL)
    found = fold(given, 10 * S, at)
    assert {one.cause.state for one in found} <= {State.RECORDED, State.CAMERA_OFFLINE}
    gone = [(one.start_us, one.end_us) for one in found if one.cause.state is State.CAMERA_OFFLINE]
    ends = [word.time_us for word in words[1:] if word.cause is REC] + [at]
    assert gone == list(zip([w.time_us for w in words if w.cause is OFFLINE], ends, strict=False))


@pytest.mark.parametrize(
    "steps",
    [((100, 40), (47, 107)), ((100, 40), (47, 20), (27, 107)), ((100, 40), (47, 900), (910, 20), (27, 107))],
)
def test_time_that_a_set_clock_left_out_is_a_step_also_on_the_way_home(steps: tuple[tuple[int, int], ...]) -> None:
    """The clock is set back and home again while one process records: it never showed the seconds in between."""
    ends = [*(a for a, _ in steps), 200]
    lived = list(zip([10, *(b for _, b in steps)], ends, strict=True))
    given = scene(
        runs=[RunLife(1, 10 * S, None, steps=tuple((a * S, b * S) for a, b in steps))],
        transitions=[Transition(10 * S, REC, 1)],
        media=[media(low, high, 1, seq, clock=seq) for seq, (low, high) in enumerate(lived)],
        now_us=200 * S,
    )
    assert (100, 107, "clock-step", "recorder") in states(given, 10, 200)
    assert not [one for one in states(given, 10, 200) if one[2] == "server-down"]


def test_a_clock_set_back_explains_nothing_behind_the_end_of_its_run() -> None:
    given = scene(
        runs=[RunLife(1, 10 * S, 47 * S, steps=((100 * S, 40 * S),)), RunLife(2, 110 * S, None)],
        transitions=[Transition(10 * S, REC, 1), Transition(110 * S, REC, 2)],
        media=[media(10, 100, 1, 0, clock=0), media(40, 47, 1, 1, clock=1), media(110, 1000, 2)],
    )
    assert (100, 110, "server-down", "crash") in states(given, 10, 200)
