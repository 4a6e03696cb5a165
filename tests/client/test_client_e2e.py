"""Cameras, the daemon and the client as they run in the field: live pictures by their own numbers, a movie of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recorderd.client import Chunk, ConnectOptions, LiveOptions, Retry, Sealed, Unit, connect
from recorderd.media.access_unit import Codec, MediaKind
from recorderd.media.marker import find_marker, vcl_crc
from tests.client.cutting import cutting
from tests.e2e.harness import ROOT, Farm, Server, running, wait_until

pytestmark = pytest.mark.e2e
COUNT = 60


async def watch(port: int) -> tuple[list[Unit], list[Sealed], int]:
    """COUNT live pictures through a proxy that cuts once; what became durable meanwhile, and one commit after."""
    pictures: list[Unit] = []
    sealed: list[Sealed] = []
    options = ConnectOptions(retry=Retry(0.01, 0.1, 50))
    async with (
        cutting(port, [150_000]) as proxy,
        connect("127.0.0.1", proxy.port, options) as client,
        client.live("gate", LiveOptions(sealed=True)) as live,
    ):
        async for item in live:
            if isinstance(item, Unit):
                pictures.append(item)
            elif len(pictures) >= COUNT and item.until_us >= pictures[COUNT - 1].recv_us:
                sealed.append(item)
                break
        return pictures, sealed, live.reconnects


async def pulled(port: int, first_us: int, end_us: int) -> dict[int, bytes]:
    found = {}
    async with connect("127.0.0.1", port) as client, client.pull("gate", first_us, end_us) as pull:
        async for item in pull:
            if isinstance(item, Chunk):
                for sample in item.samples():
                    marker = find_marker(bytes(sample.data), Codec.H264)
                    assert marker is not None
                    found[marker.number] = bytes(sample.data)
    return found


def test_live_pictures_equal_the_cameras_and_the_recording(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 1, ["--bitrate", "1M", "--gop", "25", "--audio", "aac"])
    server = Server(tmp_path, further=("stream",))
    with running(server, farm):
        farm.start()
        server.add("gate", farm.url(0))
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 1, 60, server.log)
        port = server.ports["stream"]
        pictures, sealed, reconnects = asyncio.run(asyncio.wait_for(watch(port), 60))
        movie = tmp_path / "gate.mp4"
        done = subprocess.run(
            [sys.executable, "examples/record_to_mp4.py", "--server", f"127.0.0.1:{port}", "gate", "-o", str(movie),
             "--seconds", "3", "--audio"],
            capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
        )  # fmt: skip
        recorded = asyncio.run(asyncio.wait_for(pulled(port, pictures[0].recv_us, sealed[0].until_us), 60))
        assert server.stop() == 0, server.log()
        farm.stop()
    assert reconnects == 1
    numbers = []
    for unit in pictures:
        marker = find_marker(unit.data, Codec.H264)
        assert marker is not None
        assert marker.crc == vcl_crc(unit.data, Codec.H264)
        assert marker.key == unit.key
        assert unit.kind is MediaKind.VIDEO
        numbers.append(marker.number)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a picture is missing or came twice"
    sent = farm.connections(0)
    assert min(line["first"] for line in sent) <= numbers[0]
    assert numbers[-1] <= max(line["last"] for line in sent)
    for number, unit in list(zip(numbers, pictures, strict=True))[:COUNT]:
        assert recorded[number] == unit.data
    assert done.returncode == 0, done.stderr
    kinds = streams(movie)
    assert sorted(kinds) == ["audio", "video"]
    assert kinds["video"] >= 60
    assert kinds["audio"] >= 30


def streams(movie: Path) -> dict[str, int]:
    """Packets of each stream, as ffprobe reads them, decoded without complaint."""
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=codec_type,nb_read_packets",
         "-of", "json", str(movie)], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert probe.stderr == ""
    decoded = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(movie), "-f", "null", "-"], capture_output=True, text=True, check=True
    )
    assert decoded.stderr == ""
    return {one["codec_type"]: int(one["nb_read_packets"]) for one in json.loads(probe.stdout)["streams"]}
