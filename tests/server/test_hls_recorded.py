"""HLS of recorded footage: what the playlist says, what its segments hold, and what players make of it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from urllib.parse import urljoin

import pytest
from server_scene import T0, S, Scene, audio_clip, record, scene, video_clip

from mediadb.mp4.reader import read_movie
from recorderd.core.timerange import format_time
from recorderd.server.http import hls_recorded
from recorderd.server.http.media_routes import SHELF

BASE = "/api/v1/cameras/gate/hls/recorded.m3u8"
GST_PLAYER = Path(__file__).with_name("gst_hls_player.py")


def url(start_s: float, end_s: float, more: str = "") -> str:
    return f"{BASE}?start={format_time(T0 + int(start_s * S))}&end={format_time(T0 + int(end_s * S))}{more}"


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip has a keyframe a second and ten seconds: segments of two seconds."""
    monkeypatch.setattr(hls_recorded, "SEGMENT_US", 2 * S)


async def film(made: Scene, bframes: int = 0) -> None:
    """4 s, a gap of 4 s, 4 s, as the clip's pictures 0-39 and 50-89; sound with it."""
    clip = video_clip(bframes=bframes)
    made.clock.advance(10 * S)
    for second in range(4):
        await record(made.store, "gate", start=second * 10, end=second * 10 + 10, clip=clip)
    for second in range(5, 9):
        more = {"shift_us": 3 * S, "new_run": second == 5}
        await record(made.store, "gate", start=second * 10, end=second * 10 + 10, clip=clip, **more)


async def playlist(made: Scene, path: str) -> str:
    async with made.client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/vnd.apple.mpegurl"
        return await answer.text()


async def fetch(made: Scene, base: str, uri: str) -> bytes:
    async with made.client.get(urljoin(base, uri)) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


@pytest.mark.parametrize("bframes", [0, 2])
async def test_segments_hold_every_sample_once(tmp_path: Path, bframes: int) -> None:
    async with scene(tmp_path) as made:
        await film(made, bframes)
        text = await playlist(made, url(0, 60))
        lines = text.splitlines()
        assert lines[:2] == ["#EXTM3U", "#EXT-X-VERSION:7"]
        assert lines[-1] == "#EXT-X-ENDLIST"
        assert "#EXT-X-TARGETDURATION:2" in lines
        assert "#EXT-X-INDEPENDENT-SEGMENTS" in lines
        assert re.findall(r"#EXTINF:(.*),", text) == ["2.000000"] * 4
        dates = re.findall(r"#EXT-X-PROGRAM-DATE-TIME:(.*)", text)
        assert dates == [format_time(T0 + second * S) for second in (0, 2, 8, 10)]
        assert lines.count("#EXT-X-DISCONTINUITY") == 1
        assert lines.index("#EXT-X-DISCONTINUITY") == lines.index(f"#EXT-X-PROGRAM-DATE-TIME:{dates[2]}") - 1
        (header,) = re.findall(r'#EXT-X-MAP:URI="(.*)"', text)
        head = await fetch(made, BASE, header)
        pictures, sounds = [], []
        for uri in (line for line in lines if not line.startswith("#")):
            raw = head + await fetch(made, BASE, uri)
            video, sound = read_movie(lambda at, n, raw=raw: raw[at : at + n], len(raw)).tracks
            for track, out in ((video, pictures), (sound, sounds)):
                table = track.samples
                out += [raw[at : at + size] for at, size in zip(table.offsets, table.sizes, strict=True)]
    wanted = [data for data, _, _, _ in video_clip(bframes=bframes).samples]
    assert pictures == wanted[:40] + wanted[50:90]
    known = [data for data, _, _, _ in audio_clip().samples]
    assert set(sounds) <= set(known)
    assert len(sounds) > 110


async def test_a_segment_means_the_same_bytes_whatever_playlist_names_it(server: Scene) -> None:
    await film(server)
    one = [line for line in (await playlist(server, url(0, 60))).splitlines() if line.startswith("recorded/")]
    again = [line for line in (await playlist(server, url(0, 60))).splitlines() if line.startswith("recorded/")]
    assert one == again
    target = urljoin(BASE, one[1])
    async with server.client.get(target) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
        assert answer.content_type == "video/iso.segment"
    async with server.client.get(target, headers={"Range": "bytes=5-99"}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (206, etag)
        assert await answer.read() == whole[5:100]
    async with server.client.get(target, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304


async def test_the_end_is_cut_to_what_is_durable(server: Scene) -> None:
    text = await playlist(server, f"{BASE}?start=-11s&end=now")
    assert sum(float(word) for word in re.findall(r"#EXTINF:(.*),", text)) == 10.0
    sound_only = await playlist(server, url(3.5, 5.5))
    assert format_time(T0 + 3 * S) in sound_only


async def test_removed_chunks_are_gone_never_other_bytes(tmp_path: Path) -> None:
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        for second in range(10):
            made.clock.advance(S)
            await record(made.store, "gate", start=second * 10, end=second * 10 + 10, audio=False)
        names = [line for line in (await playlist(made, url(0, 10))).splitlines() if line.startswith("recorded/")]
        oldest = sorted((tmp_path / "volume").rglob("*.rseg"))[0]
        made.store.reader.removed(oldest)
        oldest.unlink()
        await made.problem(urljoin(BASE, names[0]), "footage-reclaimed")
        await fetch(made, BASE, names[-1])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("recorded.m3u8?start=now&end=-10m", "bad-request"),
        ("recorded.m3u8?start=-1m&end=now&stream=third", "not-found"),
        ("recorded.m3u8?start=-8d&end=now", "range-too-long"),
        ("recorded.m3u8?start=2001-01-01T00:00:00Z&end=2001-01-01T01:00:00Z", "no-footage"),
        ("recorded/segment.m4s", "bad-request"),
        ("recorded/segment.m4s?video=x", "bad-request"),
        ("recorded/segment.m4s?video=1-1-1-1-1-1", "bad-request"),
        ("recorded/segment.m4s?video=1-1-1-0-1-1-2-1", "bad-request"),
        ("recorded/segment.m4s?video=1-1-1-1-1-9-2-1", "bad-request"),
        ("recorded/segment.m4s?video=1-1-1-1-1-1-2-15f90", "footage-reclaimed"),
        ("recorded/segment.m4s?video=" + ".".join(["1-1-1-1-1-1-2-15f90"] * 17), "bad-request"),
        ("recorded/init.mp4?audio=ffffffffffffffff-1-1-1-1-1-2-1f40", "bad-request"),
    ],
)
async def test_refusals(server: Scene, path: str, code: str) -> None:
    await server.problem(BASE.replace("recorded.m3u8", path), code)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("bframes", [0, 2])
async def test_ffmpeg_plays_it(tmp_path: Path, bframes: int) -> None:
    async with scene(tmp_path) as made:
        await film(made, bframes)
        target = str(made.client.make_url(url(0, 60)))
        argv = ["ffmpeg", "-v", "warning", "-i", target, "-f", "framecrc", "-"]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"^0,", done.stdout, re.MULTILINE)) >= 80


@pytest.mark.gst
async def test_gstreamer_plays_it(tmp_path: Path) -> None:
    """hlsdemux over HTTP: every picture of both sides of the gap is decoded, and sound."""
    async with scene(tmp_path) as made:
        await film(made)
        target = str(made.client.make_url(url(0, 60)))
        argv = ["/usr/bin/python3", str(GST_PLAYER), target]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr + done.stdout
    pictures, sounds = map(int, done.stdout.split())
    assert pictures == 80
    assert sounds > 100


async def test_a_name_that_no_playlist_made_is_no_damage(server: Scene) -> None:
    await film(server)
    names = [line for line in (await playlist(server, url(0, 60))).splitlines() if line.startswith("recorded/segment")]
    found = re.search(r"video=([0-9a-f-]+)", names[0])
    assert found is not None
    path = f"/api/v1/cameras/gate/hls/recorded/segment.m4s?stream=main&video={found[1]}"
    await server.problem(f"{path}-1-0", "bad-request")  # all samples of the first chunk left out
    assert server.client.app is not None
    assert not server.client.app[SHELF].doubted
