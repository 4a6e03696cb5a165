"""Cameras with one picture in seconds, from end to end: no hole, no alarm, no reconnect; and the movie shows it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.harness import Farm, Server, running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


@pytest.mark.parametrize(("fps", "wait_s"), [("1/2", 2), ("1/5", 5)])
def test_a_slow_camera_is_recorded_without_a_hole(tmp_path: Path, fps: str, wait_s: int) -> None:
    farm = Farm(tmp_path, 1, ["--size", "320x240", "--bitrate", "20k", "--gop", "2", "--fps", fps]).start()
    server = Server(tmp_path)
    server.add("gate", farm.url(0))
    with running(farm, server):
        server.start()
        wait_until(lambda: server.cameras()["gate"]["state"] == "recorded", 60, server.log)
        began = time.time()
        time.sleep(4.5 * wait_s)  # what is tested is how long nothing comes
        span = f"start={rfc3339(began + 0.1)}&end={rfc3339(time.time() - 0.1)}"
        answer = server.get(f"/api/v1/cameras/gate/coverage?{span}")
        exact = server.get("/api/v1/cameras/gate/media.json?start=-60s&end=now")
        assert server.cameras()["gate"]["state"] == "recorded"
        server.stop()
        farm.stop()
    states = {one["state"] for track in answer["tracks"] for one in track["intervals"]}
    assert states == {"recorded"}, answer
    assert [gap for gap in exact["gaps"] if gap["state"] == "unexplained"] == []
    assert exact["tracks"][0]["duration_us"] > 3 * wait_s * 1e6
    assert len(farm.connections(0)) == 1, "one connection from the beginning to the end"


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
