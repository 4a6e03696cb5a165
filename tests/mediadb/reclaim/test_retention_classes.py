"""Limits of single cameras: rounded to four classes, planned per track, minimum and size of a camera, the pace."""

from __future__ import annotations

import uuid
from array import array
from pathlib import Path

import pytest
from mixed import S, camera_id

from mediadb.reclaim.brake import PACED, SHORTENED, ClockBrake
from mediadb.reclaim.facts import NIL, Member, SegmentFact
from mediadb.reclaim.limits import DAY_US, Need, ReclaimOptions, Room, need_of
from mediadb.reclaim.plan import plan
from mediadb.write.retention import CameraLimits, classes_of, round_up

pytestmark = pytest.mark.fast
NOW = 1000 * S


def _no_spans(tracks: object) -> dict[uuid.UUID, list[tuple[int, int]]]:
    return {}


def fact(name: str, **ends: int) -> SegmentFact:
    """`c1=30`: footage of camera 1 until second 30, 100 bytes of each."""
    members = tuple(Member(uuid.UUID(int=int(word[1:])), camera_id(int(word[1:]))) for word in ends)
    times = array("q", (end * S for end in ends.values()))
    sizes = array("q", [100] * len(ends))
    return SegmentFact(Path(name), NIL, max(times), 110 * len(ends), _no_spans, members, times, sizes)


def options(**cameras: CameraLimits) -> ReclaimOptions:
    return ReclaimOptions(cameras={camera_id(int(word[1:])): one for word, one in cameras.items()})


def planned(facts: list[SegmentFact], need: Need, limits: ReclaimOptions) -> list[tuple[str, bool, dict[int, str]]]:
    return [
        (str(r.fact.path), r.whole, {track.int: rule for track, rule in (r.rules or {}).items()})
        for r in plan(facts, need, limits)
    ]


def test_limits_are_rounded_up_to_four_classes_and_never_to_no_limit() -> None:
    assert round_up([7, 30]) == (7, 30)
    assert round_up([None, 5]) == (5, None)
    assert round_up([7, 14, 30, 31, 90]) == (7, 14, 31, 90)
    assert round_up([1, 2, 3, 4, 5, None]) == (1, 3, 5, None)
    given = {camera_id(n): CameraLimits(days * DAY_US) for n, days in enumerate([7, 14, 30, 31])}
    classes = classes_of(90 * DAY_US, given)
    assert [classes.limit_us(camera_id(n)) // DAY_US for n in range(5)] == [7, 14, 31, 31, 90]  # type: ignore[operator]
    assert classes.number(camera_id(0)) == 0


def test_by_age_a_class_goes_when_the_last_of_it_is_too_old() -> None:
    limits = options(c1=CameraLimits(10 * S), c2=CameraLimits(10 * S), c3=CameraLimits(500 * S))
    need = need_of(limits, Room(0, 1 << 40, 1 << 41), NOW, age_held=False)
    facts = [fact("a", c1=400, c2=989, c3=480), fact("b", c1=400, c2=991, c3=505), fact("c", c1=600, c2=600, c3=600)]
    assert planned(facts, need, limits) == [
        ("a", True, {1: "age", 2: "age", 3: "age"}),
        ("c", False, {1: "age", 2: "age"}),
    ]


def test_footage_of_a_clock_that_was_ahead_ages_class_by_class_with_what_followed() -> None:
    limits = options(c1=CameraLimits(10 * S), c2=CameraLimits(None))
    later = 3 * DAY_US // S
    need = need_of(limits, Room(0, 1 << 40, 1 << 41), NOW, age_held=False)
    facts = [fact("ahead", c1=later, c2=later), fact("a", c1=20, c2=20), fact("b", c1=995, c2=995)]
    assert planned(facts, need, limits) == [("ahead", False, {1: "age"}), ("a", False, {1: "age"})]
    plain = ReclaimOptions(10 * S)
    alone = [
        SegmentFact(Path(name), NIL, end * S, 70, _no_spans) for name, end in (("x", later), ("y", 20), ("z", 999))
    ]
    asked = need_of(plain, Room(0, 1 << 40, 1 << 41), NOW, age_held=False)
    assert [str(removal.fact.path) for removal in plan(alone, asked, plain)] == ["x", "y"]


def test_the_minimum_of_a_camera_holds_against_size_and_space() -> None:
    limits = options(c1=CameraLimits(None, min_us=900 * S))
    need = Need((None,), over_bytes=250, now_us=NOW)
    facts = [fact("a", c1=50, c2=50), fact("b", c1=150, c2=150), fact("c", c1=160, c2=160)]
    assert planned(facts, need, limits) == [
        ("a", True, {1: "size", 2: "size"}),
        ("b", False, {2: "size"}),
    ]
    assert planned(facts[1:], Need((None,), low_bytes=9999, now_us=NOW), limits) == [
        ("b", False, {2: "space"}),
        ("c", False, {2: "space"}),
    ]


def test_a_camera_over_its_own_size_loses_its_oldest() -> None:
    limits = options(c1=CameraLimits(None, max_bytes=6400), c2=CameraLimits(None, min_us=1))
    need = need_of(limits, Room(0, 1 << 40, 1 << 41, cameras={camera_id(1): 6401}), NOW, age_held=False)
    assert need.cameras == {camera_id(1): 101}
    facts = [fact("a", c2=10), fact("b", c1=20, c2=20), fact("c", c1=30), fact("d", c1=40)]
    assert planned(facts, need, limits) == [
        ("b", False, {1: "camera-size"}),
        ("c", True, {1: "camera-size"}),
    ]


def test_each_track_is_told_the_rule_that_took_it() -> None:
    limits = options(c1=CameraLimits(10 * S), c2=CameraLimits(None))
    need = need_of(limits, Room(100, 1 << 40, 1 << 41), NOW, age_held=False)
    both = Need(need.older_us, over_bytes=150, now_us=NOW)
    assert planned([fact("a", c1=20, c2=20)], both, limits) == [("a", True, {1: "age", 2: "size"})]


def test_a_segment_that_cannot_be_read_is_kept_as_long_as_any() -> None:
    limits = ReclaimOptions(600 * S, cameras={camera_id(1): CameraLimits(10 * S, min_us=5 * S)})
    unread = [SegmentFact(Path("x"), NIL, 500 * S, 70, _no_spans)]
    at = need_of(limits, Room(0, 1 << 40, 1 << 41), NOW, age_held=False)
    assert planned(unread, at, limits) == []
    later = need_of(limits, Room(0, 1 << 40, 1 << 41), NOW + 200 * S, age_held=False)
    assert [rule for _, rule, _ in planned(unread, later, limits)] == [True]
    young = [SegmentFact(Path("x"), NIL, NOW - 1, 70, _no_spans)]
    assert planned(young, Need((None, None), over_bytes=5, now_us=NOW), limits) == []


def test_nothing_by_age_while_the_brake_holds_and_the_minimum_is_judged_by_the_time_believed() -> None:
    brake = ClockBrake(NOW)
    assert brake.judge(NOW, 0, 1000).state == "free"
    verdict = brake.judge(NOW + 400 * DAY_US, 10 * S, 1000)
    assert (verdict.state, verdict.reason, verdict.age_bytes) == ("held", "clock-jump", 0)
    assert verdict.now_us == NOW + 10 * S
    brake.confirm(NOW + 400 * DAY_US, 11 * S)
    assert brake.judge(NOW + 400 * DAY_US + S, 12 * S, 1000).state == "free"


def test_after_shorter_limits_a_share_goes_every_hour_until_somebody_confirms() -> None:
    brake = ClockBrake(None)
    brake.judge(NOW, 0, 1000)
    brake.pace(SHORTENED, 0, 1000)
    hour = 3600 * S
    first = brake.judge(NOW + hour, hour, 1000)
    assert (first.state, first.age_bytes, first.quota_floor) == (PACED, 50, 950)
    brake.spent(50, overdue=True)
    assert brake.judge(NOW + hour, hour, 950).age_bytes == 0
    assert brake.judge(NOW + 3 * hour, 3 * hour, 950).age_bytes == 100
    brake.spent(100, overdue=False)
    assert brake.judge(NOW + 3 * hour, 3 * hour, 850).state == "free"
