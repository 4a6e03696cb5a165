"""A recording with a hole: the file keeps the hole's length, players do not complain, and the hole has its cause."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.harness import Farm, Server, running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.ffmpeg]


def probe(path: Path, *argv: str) -> dict[str, list[dict[str, str]]]:
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "json", *argv, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "", done.stderr
    found: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return found


def test_a_reboot_is_a_gap_of_the_right_length_with_its_cause(tmp_path: Path) -> None:
    options = [
        "--size",
        "320x240",
        "--bitrate",
        "200k",
        "--gop",
        "25",
        "--audio",
        "aac",
        "--fault",
        "cam/0=reboot:4s+6s",
    ]
    farm = Farm(tmp_path, 1, options).start()
    server = Server(tmp_path)
    server.add("gate", farm.url(0))
    with running(farm, server):
        server.start()
        wait_until(lambda: server.alive() and len(farm_log(farm)) >= 1, 30, server.log)
        wait_until(lambda: server.cameras()["gate"]["state"] == "recorded", 90, server.log)
        time.sleep(6)
        exact = server.get("/api/v1/cameras/gate/media.json?start=-150s&end=now")
        told = [gap for gap in exact["gaps"] if gap["state"] == "camera-offline" and gap["reason"] != "connecting"]
        assert [gap["reason"] for gap in told].count("closed") == 1
        path = tmp_path / "gap.mp4"
        path.write_bytes(server.get("/api/v1/cameras/gate/media.mp4?start=-150s&end=now", raw=True))
        farm.stop()
        assert server.stop() == 0
    packets = probe(path, "-select_streams", "v", "-count_packets", "-count_frames", "-show_streams")["streams"][0]
    assert packets["nb_read_packets"] == packets["nb_read_frames"]
    times = [float(p["pts_time"]) for p in probe(path, "-select_streams", "v", "-show_packets")["packets"]]
    holes = [b - a for a, b in itertools.pairwise(times) if b - a > 1]
    assert len(holes) == 1
    assert holes[0] > 3.5, "the reboot; how long it takes to connect again is drawn by lot"
    begin, end = (datetime.fromisoformat(text) for text in (told[0]["start"], told[-1]["end"]))
    assert abs(holes[0] - (end - begin).total_seconds()) < 0.5
    assert abs(float(packets["duration"]) - exact["tracks"][0]["duration_us"] / 1e6) < 0.2
    decoded = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"], capture_output=True, text=True
    )
    assert decoded.stderr == "", decoded.stderr


def farm_log(farm: Farm) -> list[object]:
    path = farm.folder / "farm.jsonl"
    return path.read_text().splitlines() if path.exists() else []
