"""Clips are made once per test process."""

from __future__ import annotations

import pytest
from mp4_clips import Clip, aac_clip, g711_clip, video_clip


@pytest.fixture(scope="session")
def h264() -> Clip:
    return video_clip("libx264", 100)


@pytest.fixture(scope="session")
def h264_b() -> Clip:
    return video_clip("libx264", 100, b_frames=2)


@pytest.fixture(scope="session")
def h265() -> Clip:
    return video_clip("libx265", 60)


@pytest.fixture(scope="session")
def h265_b() -> Clip:
    return video_clip("libx265", 60, b_frames=3)


@pytest.fixture(scope="session")
def aac() -> Clip:
    return aac_clip(4)


@pytest.fixture(scope="session")
def g711() -> Clip:
    return g711_clip(4)
