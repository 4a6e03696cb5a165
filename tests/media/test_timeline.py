"""Media time: unwrapping, decode times, drift, NTP."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorderd.media.timeline import NTP_EPOCH_S, DecodeClock, DriftEstimator, Unwrapper, ntp_to_utc_us

pytestmark = pytest.mark.fast


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=30))
def test_unwrapping_follows_every_step(start: int, steps: list[int]) -> None:
    clock, value = Unwrapper(), start
    first = clock.unwrap(start)
    for step in steps:
        value += step
        assert clock.unwrap(value & 0xFFFFFFFF) - first == value - start


# Presentation order of I B B P: what an encoder sends in decode order, in frames.
PATTERNS = {
    0: [0, 1, 2, 3, 4, 5, 6],
    1: [0, 2, 1, 4, 3, 6, 5],
    2: [0, 4, 2, 1, 3, 8, 6, 5, 7],
}


@pytest.mark.parametrize("depth", PATTERNS)
def test_decode_times_are_even_and_never_late(depth: int) -> None:
    clock = DecodeClock(depth, 3600)
    times = [(frame * 3600, clock.decode_time(frame * 3600)) for frame in PATTERNS[depth]]
    assert [dts for _, dts in times] == [(number - depth) * 3600 for number in range(len(times))]
    assert all(dts <= pts for pts, dts in times)


@pytest.mark.parametrize("depth", [1, 2])
def test_reordering_that_no_header_announced_is_learned(depth: int) -> None:
    clock = DecodeClock()
    got = [clock.decode_time(frame * 3600) for start in range(0, 90, 9) for frame in
           (start + one for one in PATTERNS[depth])]  # fmt: skip
    assert got == sorted(got)


def test_floor_holds_over_a_change_of_depth() -> None:
    assert DecodeClock(2, 3600, floor=100_000).decode_time(103_600) == 100_000


def run_drift(ppm: float, seed: int, jitter_us: int, seconds: int) -> list[tuple[int, int]]:
    """(arrival in us, told ppm) of a 25 fps camera."""
    source, estimator, told = random.Random(seed), DriftEstimator(), []
    for number in range(25 * seconds):
        true_us = number * 40_000
        media_us = round(true_us * (1 + ppm / 1e6))
        ppm_told = estimator.observe(media_us, true_us + source.randrange(jitter_us + 1))
        if ppm_told is not None:
            told.append((true_us, ppm_told))
    return told


@pytest.mark.parametrize("ppm", [5000, -5000])
@pytest.mark.parametrize("seed", range(5))
def test_drift_of_5000_ppm_is_sure_within_10_s_and_told_once(ppm: int, seed: int) -> None:
    ((when_us, told),) = run_drift(ppm, seed, 20_000, 60)
    assert when_us <= 10_000_000
    assert abs(told - ppm) < 600


@pytest.mark.parametrize("ppm", [200, -200, 0])
@pytest.mark.parametrize("seed", range(5))
def test_cheap_clocks_and_jitter_raise_no_alarm(ppm: int, seed: int) -> None:
    assert run_drift(ppm, seed, 20_000, 60) == []


def test_a_filling_buffer_is_no_drift() -> None:
    estimator = DriftEstimator()
    delay = [0] * 10 + [at * 30_000 for at in range(10)] + [300_000] * 20
    told = [estimator.observe(number * 40_000, number * 40_000 + delay[number // 25]) for number in range(25 * 40)]
    assert [one for one in told if one] == []


def test_ntp() -> None:
    assert ntp_to_utc_us(NTP_EPOCH_S + 10, 1 << 31) == 10_500_000
    assert ntp_to_utc_us(0, 0) is None
    assert ntp_to_utc_us(100, 0) == (2**32 + 100 - NTP_EPOCH_S) * 1_000_000, "era of 2036"
