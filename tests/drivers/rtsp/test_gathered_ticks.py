"""Gathered reads quantise arrival times: no camera clock may seem to drift because of it."""

from __future__ import annotations

import pytest

from recorderd.driverkit.ingest import Ingest
from recorderd.media.timeline import DriftEstimator

pytestmark = pytest.mark.fast


def drift_seen(ingest: Ingest, frame_us: int, real_ppm: int = 0) -> list[int]:
    """Two minutes of a camera read in ticks; what the estimator tells."""
    estimator, tick_us = DriftEstimator(), 0.0
    told: list[int] = []
    for sent_us in range(0, 120_000_000, frame_us):
        while tick_us < sent_us:
            tick_us += ingest.next_tick_us() + 37  # a timer is always a little late
        ppm = estimator.observe(sent_us + sent_us * real_ppm // 1_000_000, round(tick_us))
        if ppm is not None:
            told.append(ppm)
    return told


@pytest.mark.parametrize("tick_us", [20_000, 40_000])
@pytest.mark.parametrize("frame_us", [16_683, 20_000, 33_333, 40_000, 66_667])
def test_ticks_do_not_look_like_drift(tick_us: int, frame_us: int) -> None:
    ingest = Ingest()
    ingest.tick_us = tick_us
    assert drift_seen(ingest, frame_us) == []


@pytest.mark.parametrize("tick_us", [20_000, 40_000])
def test_real_drift_is_still_found(tick_us: int) -> None:
    ingest = Ingest()
    ingest.tick_us = tick_us
    told = drift_seen(ingest, 40_000, 5_000)
    assert told
    assert abs(told[0] - 5_000) < 1_500
