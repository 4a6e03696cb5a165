"""Late footage: for each instant live, else the best lane."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import T0, VIDEO, Recorder, S, offline, payload, spec

from mediadb.fs import RealFs
from mediadb.types import Cause, KeyType, Names, Origin, Sample, State
from mediadb.write.lane import LanePlace, LaneWriter

pytestmark = pytest.mark.fast
CAM = spec(1)


def lane(volume: Path, first: int, last: int) -> None:
    """Seconds [first, last) from the camera's card: sample bytes say 10,000 + their place."""
    place = LanePlace(volume, "main", uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3), Origin.EDGE)
    with LaneWriter(RealFs(), place, CAM, Names("cam 1")) as writer:
        writer.config(VIDEO)
        for i in range(first * 25, last * 25):
            key = KeyType.IDR if i % 25 == 0 else KeyType.DELTA
            data = payload(CAM.track, 10_000 + i)
            writer.extend([Sample(data, i * 3600, i * 3600, key, T0 + i * 40_000)])


def test_a_lane_fills_the_hole_and_live_wins(recorder: Callable[..., Recorder], volume: Path) -> None:
    made = recorder()
    made.film(5, CAM)
    made.cover(CAM, Cause(State.CAMERA_OFFLINE, "closed"))
    made.wait(5)
    made.cover(CAM, Cause(State.RECORDED))
    made.film(5, CAM)
    made.stop()
    lane(volume, 2, 12)
    reader = offline(volume)
    numbers = [
        int.from_bytes(s.data[:8], "big")
        for ref in reader.chunks(CAM.track, T0, T0 + 20 * S)
        for s in reader.read(ref).samples
    ]
    assert numbers == [*range(125), *range(10_125, 10_250), *range(125, 250)]
    covered = reader.coverage([CAM.track], T0, T0 + 15 * S)[CAM.track]
    assert [((i.start_us - T0) // S, (i.end_us - T0) // S, i.cause.state, i.cause.reason) for i in covered] == [
        (0, 5, State.RECORDED, ""),
        (5, 10, State.RETRIEVED, "edge"),
        (10, 15, State.RECORDED, ""),
    ]
    key = reader.locate_key(CAM.track, T0 + 7 * S + 1)
    assert key is not None
    assert (key.lane, key.recv_us) == ("edge", T0 + 7 * S)
    live = reader.locate_key(CAM.track, T0 + 3 * S)
    assert live is not None
    assert live.lane == ""
