"""How far back footage will reach: rates, mixed limits, sizes of cameras."""

from __future__ import annotations

import uuid

import pytest
from mixed import S, camera_id

from mediadb.reclaim.forecast import Rates, outlook
from mediadb.reclaim.limits import DAY_US, ReclaimOptions, Room
from mediadb.write.retention import CameraLimits

pytestmark = pytest.mark.fast
GB = 10**9
DAY_S = 86_400
A, B = camera_id(1), camera_id(2)


def test_one_rate_and_a_limit_of_size() -> None:
    options = ReclaimOptions(30 * DAY_US, 100 * GB)
    rate = 100 * GB / DAY_S / 10  # full in ten days
    found = outlook(options, Room(40 * GB, 500 * GB, 1000 * GB), {A: rate})
    assert found.kept_us == pytest.approx(10 * DAY_US)
    assert found.full_us == pytest.approx(6 * DAY_US)
    assert found.short
    assert found.cameras[A].short


def test_a_retention_that_is_reached_is_never_full() -> None:
    options = ReclaimOptions(5 * DAY_US, 100 * GB)
    found = outlook(options, Room(40 * GB, 500 * GB, 1000 * GB), {A: 100 * GB / DAY_S / 10})
    assert (found.kept_us, found.full_us, found.short) == (5 * DAY_US, None, False)


def test_what_a_short_camera_leaves_the_long_one_gets() -> None:
    """12 GB: camera A takes 1 GB a day for 2 days, B 1 GB a day: 2 + 10."""
    options = ReclaimOptions(30 * DAY_US, 12 * GB, cameras={A: CameraLimits(2 * DAY_US)})
    rates = {A: GB / DAY_S, B: GB / DAY_S}
    found = outlook(options, Room(0, 500 * GB, 1000 * GB), rates)
    assert found.cameras[A].kept_us == 2 * DAY_US
    assert found.cameras[B].kept_us == pytest.approx(10 * DAY_US)
    assert [found.cameras[A].short, found.cameras[B].short] == [False, True]


def test_a_cameras_own_size_and_minimum() -> None:
    own = {A: CameraLimits(None, max_bytes=3 * GB), B: CameraLimits(None, min_us=9 * DAY_US)}
    options = ReclaimOptions(None, 8 * GB, cameras=own)
    found = outlook(options, Room(0, 500 * GB, 1000 * GB), {A: GB / DAY_S, B: GB / DAY_S})
    assert found.cameras[A].kept_us == pytest.approx(3 * DAY_US)
    assert found.cameras[B].kept_us == pytest.approx(5 * DAY_US)
    assert [found.cameras[A].short, found.cameras[B].short] == [False, True]


def test_without_a_rate_nothing_is_foretold() -> None:
    found = outlook(ReclaimOptions(), Room(0, 1, 1), {})
    assert (found.kept_us, found.full_us, found.short) == (None, None, False)


def test_rates_follow_what_is_written() -> None:
    rates, track = Rates(), uuid.UUID(int=1)
    for _ in range(12):
        rates.fold({track: 5_000_000}, 5 * S)
    assert rates.tracks[track] == pytest.approx(1_000_000)
    for _ in range(1000):
        rates.fold({}, 5 * S)
    assert rates.tracks[track] < 1000
    assert rates.recent < 1
