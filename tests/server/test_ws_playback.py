"""Recorded playback over the WebSocket: one clock, seeks, steps, holes, stalled viewers."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, GOP, T0, S, Scene, record, scene, video_clip
from test_live import Page

from mediadb.types import Names, Sample, TrackKind, TrackSpec
from recorderd.core.timerange import parse_time
from recorderd.engine.stream import track_id
from recorderd.server.http.ws_protocol import MediaFlag, MediaType
from recorderd.server.timespan import show_time

FRAME_US = 100_000


class RunningClock:
    """Wall time of the scene that moves on, as fast as `rate` says."""

    def __init__(self, rate: int = 1) -> None:
        self.began = time.monotonic_ns()
        self.rate = rate

    def monotonic_us(self) -> int:
        return (time.monotonic_ns() - self.began) // 1_000 * self.rate

    def utc_us(self) -> int:
        return T0 + 3600 * S + self.monotonic_us()


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Scene]:
    """Two cameras: 5 s, 4 s nothing, 5 s; the clock runs 20 times as fast."""
    async with scene(tmp_path, clock=RunningClock(20)) as made:
        for name in ("gate", "yard"):
            await record(made.store, name, end=50, audio=name == "gate")
            await record(made.store, name, start=50, end=100, audio=name == "gate", shift_us=4 * S, new_run=True)
        yield made


def at(us: int) -> str:
    return str(show_time(T0 + us))


def us_of(text: str) -> int:
    return parse_time(text, 0)


def movie_us(data: bytes, hz: int = 90_000) -> int:
    """Presentation time of a fragment's frame in its movie."""
    (base,) = struct.unpack(">Q", data[data.index(b"tfdt") + 8 :][:8])
    run = data[data.index(b"trun") + 4 :]
    (cts,) = struct.unpack(">i", run[4 + 4 + 4 + 4 + 4 + 4 :][:4])
    return round((base + cts) * S / hz)


class Listener(Page):
    """A page that keeps what came while it waited for replies."""

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
        self.kept: list[Any] = []

    async def receive(self) -> Any:
        self.kept.append(await super().receive())
        return self.kept[-1]


async def until(page: Page, kind: Any, **members: Any) -> list[Any]:
    """Messages up to the first of that kind with those members."""
    out: list[Any] = []
    while True:
        message = await page.receive()
        out.append(message)
        if message["type"] == kind and all(message.get(key) == value for key, value in members.items()):
            return out


def pictures(messages: list[Any], feed: int) -> list[Any]:
    return [one for one in messages if one["type"] is MediaType.VIDEO and one["feed"] == feed]


def number_of(message: Any) -> int:
    """Which picture of the clip it is."""
    samples = [sample[0] for sample in video_clip().samples]
    return samples.index(message["data"][message["data"].index(b"mdat") + 4 :])


async def test_play_gives_every_picture_on_wall_clock_with_the_hole_told(played: Scene) -> None:
    async with played.client.ws_connect("/api/v1/ws") as socket:
        page = Listener(socket)
        reply = await page.command("play", camera="gate", time=at(0), audio=True, gaps="keep", paused=True)
        assert reply["ok"], reply
        (told,) = reply["feeds"]
        assert (told["time"], us_of(reply["epoch"]), reply["speed"]) == (at(0), 0, 0)
        await page.command("resume", clock=reply["clock"])
        await until(page, "end", feed=told["feed"])
        got = page.kept
        shown = pictures(got, told["feed"])
        assert [number_of(one) for one in shown] == list(range(100))
        for one in shown:
            number = number_of(one)
            assert one["time"] == T0 + number * FRAME_US + (4 * S if number >= 50 else 0)
            assert abs(movie_us(one["data"]) - one["time"]) < 20, "movie time is wall time"
        holes = [one for one in got if one["type"] == "hole"]
        assert [(one["start"], one["end"]) for one in holes] == [(at(5 * S), at(9 * S))]
        assert [cause["state"] for cause in holes[0]["causes"]]
        assert [one for one in got if one["type"] is MediaType.AUDIO]
        inits = [one for one in got if one["type"] == "media"]
        assert inits
        assert "mp4a" in inits[-1]["mime"]
        assert us_of(inits[-1]["epoch"]) == 0


async def test_two_cameras_stand_at_the_same_time_and_step_together(played: Scene) -> None:
    async with played.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        reply = await page.command("play", cameras=["gate", "yard"], time=at(2_350_000), paused=True)
        first, second = (place["feed"] for place in reply["feeds"])
        assert {place["time"] for place in reply["feeds"]} == {at(2_300_000)}
        seen: dict[int, Any] = {}
        while len(seen) < 2:
            message = await page.receive()
            if message["type"] is MediaType.VIDEO and not message["flags"] & MediaFlag.PREROLL:
                seen[message["feed"]] = message
        assert [number_of(seen[feed]) for feed in (first, second)] == [23, 23]
        number = 23
        for frames in (1, 1, -1, 5, -7, 30, -30):
            page.number += 1
            await socket.send_json({"id": page.number, "cmd": "step", "clock": reply["clock"], "frames": frames})
            number += frames
            got = await until(page, "reply", id=page.number)
            assert got[-1]["ok"], got[-1]
            assert len({place["time"] for place in got[-1]["feeds"]}) == 1
            own = pictures(got, first)
            assert number_of(own[-1]) == number
            assert not own[-1]["flags"] & MediaFlag.PREROLL
            assert [number_of(one) for one in own] == list(range(number - number % GOP, number + 1))
            assert all(one["flags"] & MediaFlag.PREROLL for one in own[:-1])


async def test_a_camera_joins_a_clock_where_it_is(played: Scene) -> None:
    async with played.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        clock = (await page.command("play", camera="gate", time=at(S), paused=True))["clock"]
        await page.command("seek", clock=clock, time=at(3_150_000))
        joined = await page.command("play", camera="yard", clock=clock)
        assert joined["ok"], joined
        assert joined["clock"] == clock
        assert [place["time"] for place in joined["feeds"]] == [at(3_100_000)] * 2
        for place in joined["feeds"]:
            assert (await page.command("stop", feed=place["feed"]))["ok"]
        await page.refusal("not-found", "resume", clock=clock)


async def test_seeks_by_key_and_sequence(played: Scene) -> None:
    async with played.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        clock = (await page.command("play", camera="gate", time=at(2_350_000), paused=True))["clock"]

        async def goes(mode: str, **params: Any) -> int:
            reply = await page.command("seek", clock=clock, mode=mode, **params)
            assert reply["ok"], reply
            return us_of(reply["feeds"][0]["time"]) - T0

        assert await goes("next-key") == 3 * S
        assert await goes("previous-key", time=at(2_350_000)) == 2 * S
        assert await goes("next-sequence") == 9 * S
        assert await goes("previous-sequence", time=at(10 * S)) == 0
        assert await goes("end") == 13_900_000
        assert await goes("begin") == 0
        await page.refusal("no-footage", "seek", clock=clock, mode="exact", time=at(-3600 * S))
        await page.refusal("no-footage", "seek", clock=clock, mode="next-key", time=at(3000 * S))


async def test_what_cannot_be_meant_is_refused_by_name(played: Scene) -> None:
    async with played.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        await page.refusal("not-found", "play", camera="nobody", time=at(0))
        await page.refusal("not-found", "play", camera="gate", time=at(0), stream="third")
        await page.refusal("bad-request", "play", camera="gate")
        await page.refusal("bad-request", "play", camera="gate", time="yesterday")
        await page.refusal("bad-request", "play", camera="gate", time=at(0), end=at(-S))
        await page.refusal("bad-request", "play", camera="gate", time=at(0), speed=17)
        await page.refusal("bad-request", "play", camera="gate", time=at(0), gaps="sometimes")
        await page.refusal("bad-request", "play", camera="gate", time=at(0), mode="cursor")
        await page.refusal("no-footage", "play", camera="away", time=at(0))
        await page.refusal("not-found", "seek", clock=99, time=at(0))
        clock = (await page.command("play", camera="gate", time=at(0), paused=True))["clock"]
        for speed in (float("1e9"), -17, "fast", True, None):
            await page.refusal("bad-request", "speed", clock=clock, speed=speed)
        for frames in (0, 1001, 1.5, None):
            await page.refusal("bad-request", "step", clock=clock, frames=frames)
        assert (await page.command("speed", clock=clock, speed=-2))["speed"] == -2


async def test_backwards_and_key_frames_only(played: Scene) -> None:
    async with played.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        reply = await page.command("play", camera="gate", mode="end", speed=-16)
        feed = reply["feeds"][0]["feed"]
        got = await until(page, "end", feed=feed)
        assert got[-1]["end"] == "begin"
        shown = [number_of(one) for one in pictures(got, feed) if not one["flags"] & MediaFlag.PREROLL]
        assert shown[0] == 99
        assert shown[1:] == list(range(90, -1, -GOP))
        assert len([one for one in got if one["type"] == "hole"]) == 1


async def test_a_stalled_viewer_stops_its_clock_and_holds_little(tmp_path: Path) -> None:
    """Large pictures, a viewer that reads nothing for a while: play waits, and then nothing is missing."""
    async with scene(tmp_path, clock=RunningClock(50)) as server:
        view = server.engine.camera("gate")
        track = TrackSpec(track_id(view.id, "main", TrackKind.VIDEO), CAMERAS["gate"], CAMERAS["gate"], TrackKind.VIDEO)
        await record(server.store, "gate", end=1, audio=False)
        writer = server.store.track(track, Names("gate", "box"))
        samples = video_clip().samples
        for number in range(1, 400):
            key = number % 10 == 0
            data = number.to_bytes(4, "big") + bytes(60_000)
            ticks = samples[0][2] + number * 9_000
            writer.append(Sample(data, ticks, ticks, 1 if key else 0, T0 + number * FRAME_US))
            if number % 10 == 0:
                await server.store.flush()
        await server.store.flush()
        reads: list[int] = []
        original = server.store.reader.read

        def counted(ref: Any) -> Any:
            reads.append(ref.data_len)
            return original(ref)

        server.store.reader.read = counted  # type: ignore[method-assign]
        async with server.client.ws_connect("/api/v1/ws", max_msg_size=0) as socket:
            page = Page(socket)
            socket._reader._protocol.pause_reading()  # type: ignore[attr-defined]  # the viewer's side stands still
            await socket.send_json({"id": 1, "cmd": "play", "camera": "gate", "time": at(0)})
            for _ in range(200):
                await asyncio.sleep(0.01)
            stalled = sum(reads)
            assert 0 < stalled <= 8 * 2**20, "the clock stands: one batch and what the sockets hold, of 24 MB"
            socket._reader._protocol.resume_reading()  # type: ignore[attr-defined]
            await socket.send_json({"id": 2, "cmd": "pause", "clock": 1})
            got = await until(page, "reply", id=2)
            assert us_of(got[-1]["time"]) < T0 + 25 * S, "a hundred seconds of the clock were not let pass"
            await socket.send_json({"id": 3, "cmd": "resume", "clock": 1})
            got += await until(page, "end")
            numbers = [
                int.from_bytes(one["data"][one["data"].index(b"mdat") + 4 :][:4], "big")
                for one in got
                if one["type"] is MediaType.VIDEO and one["time"] > T0
            ]
            assert numbers == list(range(1, 400))
