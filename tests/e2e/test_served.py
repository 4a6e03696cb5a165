"""What other programs get from a running server is what the cameras sent: by frame number, over every way out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, Farm, Server, marker, mp4_samples, running, wait_until
from tests.e2e.oracle import committed_frames

pytestmark = [pytest.mark.e2e, pytest.mark.ffmpeg]

SMALL = ["--size", "320x240", "--bitrate", "300k", "--gop", "25", "--audio", "aac"]


def copy(source: str, target: Path, *options: str, seconds: float | None = None) -> list[int]:
    """Frame numbers that FFmpeg copies from `source`; it may not re-encode, and may not complain."""
    limit = ["-t", str(seconds)] if seconds is not None else []
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", *options, "-i", source, *limit, "-map", "0:v", "-c", "copy", "-y",
         target], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [marker(sample) for sample in mp4_samples(target)]
    assert all(one is not None for one in found)
    return [one[1] for one in found if one is not None]


def rows(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_every_way_out_gives_the_frames_that_were_sent(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 1, SMALL).start()
    server = Server(tmp_path, further=("stream", "rtsp"))
    server.add("cam0", farm.url(0))
    with running(farm, server):
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 1, 30, server.log)
        http = f"http://127.0.0.1:{server.port}/api/v1/cameras/cam0"
        rtsp = f"rtsp://127.0.0.1:{server.ports['rtsp']}"
        live = {
            "rtsp over tcp": copy(f"{rtsp}/live/cam0", tmp_path / "tcp.mp4", "-rtsp_transport", "tcp", seconds=3),
            "rtsp over udp": copy(f"{rtsp}/live/cam0", tmp_path / "udp.mp4", "-rtsp_transport", "udp", seconds=3),
            "live.mp4": copy(f"{http}/live.mp4", tmp_path / "live.mp4", seconds=3),
            "hls": copy(f"{http}/hls/live.m3u8", tmp_path / "hls.mp4", seconds=6),
        }
        example = subprocess.run(
            [sys.executable, ROOT / "examples/record_to_mp4.py", "cam0", "-o", tmp_path / "api.mp4", "--seconds", "3",
             "--audio", "--server", f"127.0.0.1:{server.ports['stream']}"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert example.returncode == 0, example.stderr
        live["stream api"] = [one[1] for one in map(marker, mp4_samples(tmp_path / "api.mp4")) if one is not None]
        for way, numbers in live.items():
            assert len(numbers) > 40, way
            assert rows(numbers), (way, numbers)
        server.ctl("status")
        time.sleep(1.5)
        (recorded,) = json.loads(server.ctl("timeline", "cam0", "--json").stdout)["tracks"][0]["spans"]
        start, end = recorded
        ask = f"start={start}&end={end}"
        past = {
            "media.mp4": copy(f"{http}/media.mp4?{ask}", tmp_path / "media.mp4"),
            "hls": copy(f"{http}/hls/recorded.m3u8?{ask}", tmp_path / "rec-hls.mp4"),
            "rtsp": copy(f"{rtsp}/recorded/cam0?{ask}", tmp_path / "rec.mp4", "-rtsp_transport", "tcp", seconds=8),
        }
        farm.stop()
        time.sleep(1)
        assert server.stop() == 0, server.log()
    (line,) = farm.connections(0)
    sent = list(range(line["first"], line["last"] + 1))
    assert sorted(committed_frames(server.volume, "cam0")) == [(0, n) for n in sent]
    for way, numbers in past.items():
        assert numbers[0] == sent[0], way
        assert rows(numbers), (way, numbers)
    assert len(past["media.mp4"]) > 300
    assert past["hls"][: len(past["media.mp4"])] == past["media.mp4"]  # segments are whole GOPs: the last may go on
    assert len(past["rtsp"]) > 150  # as long as was watched
