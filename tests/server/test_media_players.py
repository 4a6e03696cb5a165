"""What ffmpeg's own tools say about served files: no error line, every packet there."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from server_scene import CAMERAS, T0, S, Scene, audio_clip, record, scene, units, video_clip

from recorderd.core.timerange import format_time
from recorderd.media.access_unit import MediaKind

pytestmark = [
    pytest.mark.ffmpeg,
]


async def probe(target: str) -> tuple[list[str], str]:
    """(type,packets) lines and whatever was complained about."""
    argv = ["ffprobe", "-v", "warning", "-count_packets", "-show_entries", "stream=codec_type,nb_read_packets",
            "-of", "csv=p=0", target]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)
    return sorted(done.stdout.split()), done.stderr


@pytest.mark.parametrize("bframes", [0, 2])
async def test_recorded_file_over_http(tmp_path: Path, bframes: int) -> None:
    """ffprobe reads by ranges, so this goes through redirects and partial answers as well."""
    async with scene(tmp_path) as made:
        clip = video_clip(bframes=bframes)
        made.clock.advance(10 * S)
        await record(made.store, "gate", end=40, clip=clip)
        await record(made.store, "gate", start=50, end=90, shift_us=4 * S, clip=clip, new_run=True)
        span = f"start={format_time(T0)}&end={format_time(T0 + 60 * S)}"
        url = str(made.client.make_url(f"/api/v1/cameras/gate/media.mp4?{span}"))
        lines, complaints = await probe(url)
    assert complaints == ""
    packets = dict(line.split(",") for line in lines)
    assert packets["video"] == "80"
    assert int(packets["audio"]) > 120


async def test_live_file(server: Scene, tmp_path: Path) -> None:
    source = server.engine.sources[CAMERAS["gate"], "main"]
    sound = units(audio_clip(), 0, 60, MediaKind.AUDIO)
    source.gop = sorted(units(video_clip(), 0, 40) + sound, key=lambda item: item[1].recv_us)
    path = tmp_path / "live.mp4"
    async with server.client.get("/api/v1/cameras/gate/live.mp4") as answer:
        source.channel.close("camera-removed")
        path.write_bytes(await answer.read())
    lines, complaints = await probe(str(path))
    assert complaints == ""
    assert lines == ["audio,60", "video,40"]


@pytest.mark.curl
async def test_curl_fetches_a_file_in_ranges_and_goes_on_after_a_cut(tmp_path: Path) -> None:
    """What people script: -r for a part, -C - to go on, -z and ETags for what they have already."""
    async with scene(tmp_path) as made:
        made.clock.advance(20 * S)
        await record(made.store, "gate", end=100, clip=video_clip())
        span = f"start={format_time(T0)}&end={format_time(T0 + 10 * S)}"
        url = str(made.client.make_url(f"/api/v1/cameras/gate/media.mp4?{span}"))

        async def curl(*words: str) -> str:
            done = await asyncio.to_thread(
                subprocess.run, ["curl", "-sS", "-L", *words, url], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        whole, part, grown = tmp_path / "whole", tmp_path / "part", tmp_path / "grown"
        tag = tmp_path / "tag"
        assert await curl("-o", str(whole), "--etag-save", str(tag), "-w", "%{http_code}") == "200"
        data = whole.read_bytes()
        assert await curl("-o", str(part), "-r", "1000-1999", "-w", "%{http_code}") == "206"
        assert part.read_bytes() == data[1000:2000]
        assert await curl("-o", str(part), "-r", "-500", "-w", "%{http_code}") == "206"
        assert part.read_bytes() == data[-500:]
        grown.write_bytes(data[: len(data) // 2])
        assert await curl("-o", str(grown), "-C", "-", "-w", "%{http_code}") == "206"
        assert grown.read_bytes() == data
        assert await curl("-o", str(part), "--etag-compare", str(tag), "-w", "%{http_code}") == "304"
        assert await curl("-o", str(part), "-r", f"{len(data)}-", "-w", "%{http_code}") == "416"
