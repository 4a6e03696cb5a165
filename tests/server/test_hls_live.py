"""Live HLS: the window, what it forgets, and two players that play it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from server_scene import CAMERAS, S, Scene, units, video_clip

from recorderd.core.rights import Principal
from recorderd.core.timerange import parse_time
from recorderd.server.http.fragments import Fragmenter, Init
from recorderd.server.http.hls_live import HLS, IDLE_S
from recorderd.server.http.hls_window import LISTED_S, TARGET_S, LiveWindow
from recorderd.server.http.live_share import LiveFragment

GATE = CAMERAS["gate"]
PLAYLIST = "/api/v1/cameras/gate/hls/live.m3u8"


class Feed:
    """Endless units of the clip into a window."""

    def __init__(self, window: LiveWindow) -> None:
        self.window, self.maker, self.number = window, Fragmenter(audio=False), 0
        self.init: Any = None

    def run(self, frames: int, **changes: Any) -> int:
        complete = 0
        for turn in range(frames):
            kind, unit = units(video_clip(), self.number % 100, self.number % 100 + 1)[0]
            shift = self.number // 100
            unit.dts, unit.pts = unit.dts + shift * 900_000, unit.pts + shift * 900_000
            unit.recv_us += shift * 10 * S
            unit.config = changes.get("config", unit.config)
            slower = changes.get("slower", 1)
            unit.dts, unit.pts, unit.recv_us = unit.dts * slower, unit.pts * slower, unit.recv_us * slower
            unit.discontinuity = bool(changes.get("broken")) and turn == 0
            self.number += 1
            for part in self.maker.feed(kind, unit):
                if isinstance(part, Init):
                    self.init = part
                else:
                    complete += self.window.push(LiveFragment(unit, part, self.init, False))
        return complete


def listed(text: str) -> list[int]:
    return [int(one) for one in re.findall(r"^live/(\d+)\.m4s", text, re.M)]


def number(text: str, tag: str) -> int:
    found = re.search(rf"#EXT-X-{tag}:(\d+)", text)
    assert found is not None
    return int(found[1])


@pytest.mark.fast
def test_the_window_slides_and_its_numbers_only_grow() -> None:
    window = LiveWindow(1_000)
    feed = Feed(window)
    assert feed.run(20) == 0
    assert feed.run(1) == 1
    assert window.ready
    before = -1
    for _ in range(30):
        feed.run(10)
        text = window.playlist("stream=main")
        assert number(text, "MEDIA-SEQUENCE") == listed(text)[0] >= before
        before = listed(text)[0]
        assert all(float(one) <= TARGET_S for one in re.findall(r"#EXTINF:([\d.]+)", text))
    assert before > 1_005
    assert sum(float(one) for one in re.findall(r"#EXTINF:([\d.]+)", text)) >= LISTED_S
    assert window.segment(before - 1) is not None
    assert window.segment(1_000) is None
    assert text.count("#EXT-X-MAP") == 1
    assert text.count("#EXT-X-PROGRAM-DATE-TIME") == len(listed(text))


@pytest.mark.fast
def test_a_long_group_is_cut_before_the_target_and_a_huge_stream_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    window = LiveWindow(0)
    feed = Feed(window)
    monkeypatch.setattr("recorderd.media.access_unit.AccessUnit.is_key", property(lambda unit: unit.dts == 0))
    feed.run(95)
    text = window.playlist("")
    assert {float(one) for one in re.findall(r"#EXTINF:([\d.]+)", text)} == {4.0}
    monkeypatch.undo()
    monkeypatch.setattr("recorderd.server.http.hls_window.LIMIT_BYTES", 20_000)
    feed.run(100)
    assert window.size_bytes <= 20_000


@pytest.mark.fast
def test_breaks_and_changes_of_coding_are_discontinuities() -> None:
    window = LiveWindow(50)
    feed = Feed(window)
    feed.run(40)
    feed.run(30, broken=True)
    sets = (*video_clip().config.parameter_sets[:1], video_clip().config.parameter_sets[1] + b"\x00")
    feed.run(40, config=replace(video_clip().config, parameter_sets=sets))
    text = window.playlist("")
    assert (text.count("#EXT-X-DISCONTINUITY\n"), text.count("#EXT-X-MAP")) == (2, 2)
    assert number(text, "DISCONTINUITY-SEQUENCE") == 50
    feed.run(200, config=replace(video_clip().config, parameter_sets=sets))
    text = window.playlist("")
    assert (text.count("#EXT-X-DISCONTINUITY\n"), number(text, "DISCONTINUITY-SEQUENCE")) == (0, 52)
    assert window.init(51) is None
    assert window.init(52) is not None


@pytest.mark.fast
def test_a_camera_slower_than_it_says_has_segments_as_long_as_they_last() -> None:
    window = LiveWindow(0)
    feed = Feed(window)
    feed.run(90, slower=2)  # 5 pictures a second, announced as 10
    text = window.playlist("")
    lengths = [float(one) for one in re.findall(r"#EXTINF:([\d.]+)", text)]
    times = [parse_time(one, 0) for one in re.findall(r"PROGRAM-DATE-TIME:(.*)", text)]
    assert len(lengths) >= 3
    assert [round(later - time) for time, later in pairwise(times)] == [round(one * S) for one in lengths[:-1]]
    assert max(lengths) <= TARGET_S


@pytest.mark.fast
def test_headers_of_a_later_window_have_names_of_their_own() -> None:
    """A browser may keep what such a name meant for a minute."""
    named = []
    for first in (1_000, 1_031):
        window = LiveWindow(first)
        Feed(window).run(40)
        named += re.findall(r'MAP:URI="([^"]*)"', window.playlist(""))
    assert len(set(named)) == 2


async def push(server: Scene, start: int, end: int) -> None:
    for kind, unit in units(video_clip(), start, end):
        server.engine.sources[GATE, "main"].push(kind, unit)
        await asyncio.sleep(0)


def window_of(server: Scene) -> Any:
    assert server.client.app is not None
    return server.client.app[HLS]


async def begin(server: Scene, path: str = PLAYLIST) -> str:
    """The first playlist, after four segments."""
    asked = asyncio.ensure_future(server.client.get(path))
    while not server.engine.sources[GATE, "main"].channel.viewers:  # noqa: ASYNC110 - the request is on its way
        await asyncio.sleep(0.002)
    await push(server, 0, 90)
    async with await asked as answer:
        assert (answer.status, answer.content_type) == (200, "application/vnd.apple.mpegurl"), await answer.text()
        await answer.text()
    async with server.client.get(path) as answer:
        return await answer.text()


async def test_over_http_with_a_signature_that_is_handed_on(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server.client.post("/api/v1/cameras/gate/live-url", json={"form": "hls"}) as answer:
        url = (await answer.json())["url"]
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", Principal("nobody", frozenset()))
    text = await begin(server, url)
    folder = url.split("?")[0].rpartition("/")[0]
    pieces = [line for line in text.splitlines() if line and line[0] != "#"] + re.findall(r'URI="([^"]+)"', text)
    assert len(pieces) == 5
    for piece in pieces:
        assert piece.startswith(f"{folder}/live/")
        async with server.client.get(piece) as answer:
            assert answer.status == 200, await answer.text()
        await server.problem(piece.split("&exp=")[0], "forbidden")
    server.clock.advance(3601 * S)
    await server.problem(pieces[0], "signature-expired")


async def test_refusals_and_the_end(server: Scene) -> None:
    await server.problem("/api/v1/cameras/away/hls/live.m3u8", "not-live")
    await server.problem(f"{PLAYLIST}?stream=third", "not-found")
    await server.problem("/api/v1/cameras/gate/hls/live/1.m4s", "segment-gone")
    text = await begin(server)
    assert len(window_of(server)) == 1
    await server.problem(f"/api/v1/cameras/gate/hls/live/{listed(text)[0] - 1}.m4s", "segment-gone")
    for name in ("init-9.mp4", "init-9999999999.mp4"):
        await server.problem(f"/api/v1/cameras/gate/hls/live/{name}", "segment-gone")
    for name in ("x", "1.mp4", "init-1.m4s", "-1.m4s", "1.m4s.m4s"):
        await server.problem(f"/api/v1/cameras/gate/hls/live/{name}", "not-found")
    server.clock.advance(int(IDLE_S * S) + 1)
    await push(server, 90, 91)
    async with asyncio.timeout(30):
        while len(window_of(server)):  # noqa: ASYNC110 - the window ends by itself
            await asyncio.sleep(0.002)
    assert server.engine.sources[GATE, "main"].channel.viewers == []


GSTREAMER = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
sinks = 'video-sink="fakesink num-buffers=20" audio-sink=fakesink'
play = Gst.parse_launch(f"playbin3 uri={sys.argv[1]} {sinks}")
play.set_state(Gst.State.PLAYING)
message = play.get_bus().timed_pop_filtered(50 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
play.set_state(Gst.State.NULL)
if message is None or message.type != Gst.MessageType.EOS:
    sys.exit(str(message.parse_error() if message else "nothing for 50 s"))
"""
PLAYERS = {
    "ffmpeg": ["ffprobe", "-v", "error", "-live_start_index", "0", "-read_intervals", "%+#60", "-count_packets",
               "-select_streams", "v", "-show_entries", "stream=codec_name,nb_read_packets", "-of", "csv=p=0", "URL"],
    "gstreamer": ["/usr/bin/python3", "-c", GSTREAMER, "URL"],
}  # fmt: skip


@pytest.mark.parametrize(
    "player", [pytest.param("ffmpeg", marks=pytest.mark.ffmpeg), pytest.param("gstreamer", marks=pytest.mark.gst)]
)
async def test_players_play_it(server: Scene, player: str) -> None:
    command = PLAYERS[player]
    await begin(server)
    url = str(server.client.make_url(PLAYLIST))
    done = asyncio.get_running_loop().run_in_executor(
        None,
        lambda: subprocess.run(
            [part.replace("URL", url) for part in command], capture_output=True, text=True, timeout=60, check=False
        ),
    )
    begun = 0
    while not done.done():
        await push(server, begun % 100, begun % 100 + 1)
        begun += 1
        await asyncio.sleep(0.1)
    result = await done
    assert result.returncode == 0, result.stderr
    if player == "ffmpeg":
        assert result.stdout.strip().split()[0] == "h264,60", result.stdout + result.stderr
