"""What a distance between two pictures proves, and when a coding is written anew for it."""

from __future__ import annotations

import dataclasses

import pytest
from engine_fakes import AUDIO, VIDEO

from recorderd.engine.pace import believable, coded_ticks, is_pace

pytestmark = pytest.mark.fast

HZ = 90_000


@pytest.mark.parametrize(
    ("before_s", "now_s", "pace"),
    [(0, 2, False), (2, 2, True), (2, 5, True), (5, 2, True), (2, 5.1, False), (60, 61, True), (76, 76, False)],
)
def test_two_pauses_alike_are_how_often_there_are_pictures(before_s: float, now_s: float, pace: bool) -> None:
    assert is_pace(round(before_s * HZ), round(now_s * HZ), HZ) is pace


def test_more_than_a_minute_is_no_interval() -> None:
    assert believable(61 * HZ, HZ)
    assert not believable(76 * HZ, HZ)


@pytest.mark.parametrize(
    ("announced_s", "learned_s", "coded_s", "written_s"),
    [
        (0.04, 0.04, 0.04, 0.04),
        (0.04, 0.2, 0.04, 0.04),  # nobody needs to know
        (0.04, 2.03, 0.04, 2.0),
        (0, 2.03, 0, 2.0),
        (0, 2.9, 2.0, 2.0),  # by less than half: as written
        (0, 3.1, 2.0, 3.1),
        (0, 0.04, 2.0, 0),
        (0.04, 0.04, 2.0, 0.04),
        (2.0, 0.04, 2.0, 0),  # faster than announced
        (2.0, 0, 2.0, 2.0),
    ],
)
def test_the_coding_tells_slow_intervals_alone(
    announced_s: float, learned_s: float, coded_s: float, written_s: float
) -> None:
    config = dataclasses.replace(VIDEO, frame_ticks=round(announced_s * HZ))
    assert coded_ticks(config, round(learned_s * HZ), round(coded_s * HZ)) == round(written_s * HZ)


def test_sound_is_written_as_announced() -> None:
    assert coded_ticks(AUDIO, 100 * AUDIO.timebase_hz, AUDIO.frame_ticks) == AUDIO.frame_ticks
