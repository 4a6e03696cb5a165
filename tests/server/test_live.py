"""Live: fragments of one viewer, live.mp4, and the WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import av
import msgpack
import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType
from server_scene import CAMERAS, T0, S, Scene, audio_clip, record, units, video_clip

from mediadb.types import Sample, TrackKind
from recorderd.core.rights import Principal, Right
from recorderd.core.timerange import format_time
from recorderd.engine.sample_entry import track_config
from recorderd.media.access_unit import MediaKind
from recorderd.server.http.fragments import Fragment, Fragmenter, Init
from recorderd.server.http.live_share import SHARES
from recorderd.server.http.ws_movie import RecordedFragment, RecordedMovie
from recorderd.server.http.ws_protocol import (
    MAX_COMMAND_BYTES,
    MEDIA_HEAD,
    MEDIA_MAGIC,
    MediaFlag,
    MediaType,
)
from recorderd.server.http.ws_session import COMMANDS
from recorderd.services.playback.types import Frame

GATE = CAMERAS["gate"]


def base_dts(fragment: Fragment) -> int:
    return int(struct.unpack_from(">Q", fragment.head, 60)[0])


def demux(data: bytes, path: Path, kind: str = "video") -> list[tuple[int, bytes]]:
    path.write_bytes(data)
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(packet.dts, bytes(packet)) for packet in container.demux(stream) if packet.size]


@pytest.mark.fast
def test_nothing_comes_out_before_the_first_key() -> None:
    maker = Fragmenter(audio=False)
    items = units(video_clip(), 5, 13)
    out = [part for kind, unit in items for part in maker.feed(kind, unit)]
    assert isinstance(out[0], Init)
    assert out[0].mime == f'video/mp4; codecs="{video_clip().config.codec_string}"'
    assert [part.data for part in out[1:]] == [unit.data for _, unit in items[5:]]  # type: ignore[union-attr]
    assert [part.key for part in out[1:]] == [True, False, False]  # type: ignore[union-attr]
    assert all(part.data is unit.data for part, (_, unit) in zip(out[1:], items[5:], strict=True))


@pytest.mark.fast
def test_a_break_in_media_time_goes_on_by_arrival() -> None:
    maker = Fragmenter(audio=False)
    before = units(video_clip(), 0, 10)
    after = units(video_clip(), 10, 20)
    for _, unit in after:
        unit.dts += 10**9  # another RTP base after a reconnect 3 s later; nothing is flagged
        unit.pts += 10**9
        unit.recv_us += 3 * S
    out = [part for kind, unit in before + after for part in maker.feed(kind, unit) if isinstance(part, Fragment)]
    times = [base_dts(part) for part in out]
    assert times[:10] == [n * 9000 for n in range(10)]
    assert times[10:] == [90_000 + 270_000 + n * 9000 for n in range(10)]
    for _, unit in (back := units(video_clip(), 0, 5)):
        unit.recv_us += 6 * S
        unit.discontinuity = unit.is_key
    more = [part for kind, unit in back for part in maker.feed(kind, unit) if isinstance(part, Fragment)]
    assert base_dts(more[0]) == 540_000
    assert more[0].discontinuity


@pytest.mark.fast
@pytest.mark.parametrize("announced", [0, 3_600, 9_000])
@pytest.mark.parametrize("slower", [1, 2, 5])
def test_pictures_last_long_enough_for_mse_whatever_the_camera_announces(slower: int, announced: int) -> None:
    """Media Source Extensions §3.5.8: a decode time more than two frame durations behind the last one waits for a
    key."""
    live, recorded = Fragmenter(audio=False), RecordedMovie(T0)
    config = replace(video_clip().config, frame_ticks=announced)
    stored = track_config(config)
    heads: tuple[list[bytes], list[bytes]] = ([], [])
    for number, (kind, unit) in enumerate(units(video_clip(), 0, 60, config=config)):
        unit.dts, unit.pts = unit.dts * slower, unit.pts * slower
        unit.recv_us += (slower - 1) * unit.recv_mono_us
        heads[0].extend(part.head for part in live.feed(kind, unit) if isinstance(part, Fragment))
        sample = Sample(unit.data, unit.pts, unit.dts, int(unit.is_key), unit.recv_us)
        frame = Frame(UUID(int=1), TrackKind.VIDEO, sample, stored, unit.recv_us, 1, number, 0, unit.is_key, False)
        heads[1].extend(part.head for part in recorded.feed(frame) if isinstance(part, RecordedFragment))
    for some in heads:
        assert len(some) == 60
        lasted = [(int.from_bytes(head[60:68], "big"), int.from_bytes(head[88:92], "big")) for head in some]
        assert all(later - at <= 2 * length for (at, length), (later, _) in pairwise(lasted))
        assert max(length for _, length in lasted[2:]) <= max(announced, slower * 9_000)


@pytest.mark.fast
def test_a_change_of_coding_gives_a_new_init_at_the_key() -> None:
    maker = Fragmenter(audio=False)
    other = replace(video_clip().config, width=320)
    sets = (*video_clip().config.parameter_sets[:1], video_clip().config.parameter_sets[1] + b"\x00")
    changed = replace(other, parameter_sets=sets)
    first = [p for kind, unit in units(video_clip(), 0, 3) for p in maker.feed(kind, unit)]
    same = [
        p
        for kind, unit in units(video_clip(), 3, 5, config=replace(video_clip().config))
        for p in maker.feed(kind, unit)
    ]
    deltas = [p for kind, unit in units(video_clip(), 5, 10, config=changed) for p in maker.feed(kind, unit)]
    key = [p for kind, unit in units(video_clip(), 10, 12, config=changed) for p in maker.feed(kind, unit)]
    kinds = [[type(part).__name__ for part in parts] for parts in (first, same, deltas, key)]
    assert kinds == [["Init", *["Fragment"] * 3], [], [], ["Init", "Fragment", "Fragment"]]


@pytest.mark.fast
def test_a_damaged_unit_without_a_picture_is_left_out() -> None:
    maker = Fragmenter(audio=False)
    items = units(video_clip(), 0, 4)
    lost = items[2][1]
    lost.damaged, lost.data = True, b"\x00\x00\x00\x02\x06\x80"
    items[3][1].damaged = True
    out = [part for kind, unit in items for part in maker.feed(kind, unit)]
    assert [base_dts(part) for part in out[1:]] == [0, 9000, 27_000]  # type: ignore[arg-type]


def interleaved(start: int, end: int) -> list[Any]:
    sound = units(audio_clip(), start * 16_000 // 10240, end * 16_000 // 10240, MediaKind.AUDIO)
    return sorted(units(video_clip(), start, end) + sound, key=lambda item: item[1].recv_us)


@pytest.mark.fast
def test_sound_and_picture_start_together(tmp_path: Path) -> None:
    maker = Fragmenter(audio=True)
    out = [part for kind, unit in interleaved(0, 20) for part in maker.feed(kind, unit)]
    assert isinstance(out[0], Init)
    assert "mp4a.40.2" in out[0].mime
    data = b"".join(p.data if isinstance(p, Init) else p.head + p.data for p in out)
    assert [data for _, data in demux(data, tmp_path / "x.mp4")] == [s[0] for s in video_clip().samples[:20]]
    sound = demux(data, tmp_path / "y.mp4", "audio")
    assert [dts for dts, _ in sound] == [n * 1024 for n in range(len(sound))]


@pytest.mark.fast
def test_announced_sound_that_never_comes_does_not_hold_the_picture_back() -> None:
    maker = Fragmenter(audio=True)
    out = [part for kind, unit in units(video_clip(), 0, 60) for part in maker.feed(kind, unit)]
    assert len(out) == 61


async def test_live_mp4_begins_at_the_key_and_ends_with_the_stream(server: Scene, tmp_path: Path) -> None:
    source = server.engine.sources[GATE, "main"]
    source.gop = units(video_clip(), 10, 15)
    async with server.client.get("/api/v1/cameras/gate/live.mp4?audio=no") as answer:
        assert (answer.status, answer.content_type) == (200, "video/mp4")
        for kind, unit in units(video_clip(), 15, 30):
            source.push(kind, unit)
        source.channel.close("camera-removed")
        data = await answer.read()
    assert [sample for _, sample in demux(data, tmp_path / "live.mp4")] == [s[0] for s in video_clip().samples[10:30]]
    assert source.channel.viewers == []


async def test_live_mp4_refusals(server: Scene) -> None:
    away = await server.problem("/api/v1/cameras/away/live.mp4", "not-live")
    assert away["params"] == {"state": "camera-offline", "reason": "refused"}
    await server.problem("/api/v1/cameras/gate/live.mp4?stream=x", "not-found")
    await server.problem("/api/v1/cameras/gate/live.mp4?audio=maybe", "bad-request")
    async with server.client.head("/api/v1/cameras/gate/live.mp4") as answer:
        assert answer.status == 200


async def test_a_viewer_who_leaves_is_forgotten(server: Scene) -> None:
    source = server.engine.sources[GATE, "main"]
    source.gop = units(video_clip(), 0, 5)
    async with server.client.get("/api/v1/cameras/gate/live.mp4?audio=no") as answer:
        await answer.content.readany()
        assert len(source.channel.viewers) == 1
    for kind, unit in units(video_clip(), 5, 100) * 20:
        source.push(kind, unit)
        await asyncio.sleep(0)
        if not source.channel.viewers:
            return
    raise AssertionError("the viewer is still there")


class Page:
    """A client of the WebSocket."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.number = 0

    async def receive(self) -> Any:
        message = await self.socket.receive(timeout=30)
        if message.type is WSMsgType.TEXT:
            return json.loads(message.data)
        assert message.type is WSMsgType.BINARY, message
        if message.data[0] != MEDIA_MAGIC:
            return msgpack.unpackb(message.data)
        _, kind, flags, feed, sequence, recv_us = MEDIA_HEAD.unpack_from(message.data)
        body = message.data[MEDIA_HEAD.size :]
        return {
            "type": MediaType(kind),
            "flags": flags,
            "feed": feed,
            "sequence": sequence,
            "time": recv_us,
            "data": body,
        }

    async def command(self, cmd: str, **params: Any) -> Any:
        self.number += 1
        await self.socket.send_json({"id": self.number, "cmd": cmd, **params})
        while True:
            reply = await self.receive()
            if reply["type"] == "reply":
                assert reply["id"] == self.number
                return reply

    async def refusal(self, code: str, cmd: str, **params: Any) -> None:
        reply = await self.command(cmd, **params)
        assert (reply["ok"], reply["error"]["code"]) == (False, code), reply


async def test_live_over_the_socket(server: Scene, tmp_path: Path) -> None:
    source = server.engine.sources[GATE, "main"]
    source.gop = units(video_clip(), 0, 3)
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        feed = (await page.command("live", camera="gate"))["feed"]
        told = await page.receive()
        assert told["mime"].startswith("video/mp4")
        got = [await page.receive() for _ in range(4)]
        for kind, unit in units(video_clip(), 3, 12):
            source.push(kind, unit)
        got += [await page.receive() for _ in range(9)]
        assert [one["type"] for one in got] == [MediaType.INIT, *[MediaType.VIDEO] * 12]
        assert [one["sequence"] for one in got] == list(range(1, 14))
        assert [one["flags"] & MediaFlag.KEY for one in got[1:]] == [1, *[0] * 9, 1, 0]
        assert {one["feed"] for one in got} == {feed}
        assert got[1]["time"] == T0
        body = b"".join(one["data"] for one in got)
        assert [sample for _, sample in demux(body, tmp_path / "w.mp4")] == [s[0] for s in video_clip().samples[:12]]
        assert (await page.command("stop", feed=feed))["ok"]
        assert source.channel.viewers == []
        await page.refusal("not-found", "stop", feed=feed)
    assert socket.compress == 0


async def test_a_lone_surrogate_is_refused_and_the_socket_lives(server: Scene) -> None:
    async with server.client.ws_connect("/api/v1/ws") as socket:
        await socket.send_str('{"id": 1, "cmd": "live", "camera": "\\ud800"}')
        reply = await socket.receive_json()
        assert (reply["ok"], reply["error"]["code"]) == (False, "bad-request")
        assert (await Page(socket).command("hello"))["ok"]


async def test_a_bug_in_a_socket_puts_no_answer_into_it(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    async with server.client.ws_connect("/api/v1/ws") as socket:
        monkeypatch.setattr("recorderd.server.http.ws_session.encode_message", fail)
        await socket.send_str('{"id": 1, "cmd": "hello"}')
        ended = await socket.receive()
        assert ended.type in (WSMsgType.CLOSED, WSMsgType.CLOSE)
        assert socket.close_code == WSCloseCode.ABNORMAL_CLOSURE


async def test_a_feed_says_why_it_ended(server: Scene) -> None:
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        feed = (await page.command("live", camera="yard", stream="sub"))["feed"]
        server.engine.sources[CAMERAS["yard"], "sub"].channel.close("camera-removed")
        assert await page.receive() == {"type": "ended", "feed": feed, "reason": "camera-removed"}


async def test_a_stalled_viewer_is_bounded_and_dropped(server: Scene) -> None:
    """Nothing is read from the socket: what waits never exceeds the limit, and in the end the viewer is gone."""
    source = server.engine.sources[GATE, "main"]
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        await page.command("live", camera="gate")
        ((share, _),) = server.client.app[SHARES]._shares.values()
        viewer = share._channel.viewers[0]
        big = units(video_clip(), 0, 10)
        for _, unit in big:
            unit.data += b"\x00" * 200_000
        highest, pushed = 0, 0
        while viewer.reason is None and pushed < 5_000:
            for kind, unit in big:
                source.push(kind, unit)
                highest = max(highest, viewer._bytes)
                pushed += 1
            await asyncio.sleep(0)
        assert viewer.reason == "too-slow"
        assert highest <= 4 * 2**20


async def test_events_without_a_hole(server: Scene) -> None:
    for number in range(3):
        server.events.emit("config-changed", camera=GATE, params={"n": number})
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        first = server.events.last_id - 2
        await page.command("events", after=first)
        server.events.emit("camera-offline", camera=GATE, params={"n": 3})
        got = [await page.receive() for _ in range(3)]
        assert [one["event"]["params"]["n"] for one in got] == [1, 2, 3]
        assert [one["event"]["id"] for one in got] == [first + 1, first + 2, first + 3]


async def test_states_and_what_changes(server: Scene) -> None:
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        await page.command("state")
        first = await page.receive()
        assert [camera["name"] for camera in first["cameras"]] == ["away", "gate", "yard"]
        server.engine.views["gate"] = replace(server.engine.views["gate"], state="camera-offline", reason="stall")
        del server.engine.views["yard"]
        change = await page.receive()
        assert [(camera["name"], camera["reason"]) for camera in change["cameras"]] == [("gate", "stall")]
        assert change["removed"] == [str(CAMERAS["yard"])]


async def test_coverage_grows(server: Scene) -> None:
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        await page.command("coverage", cameras=["gate"], window_s=60, every_s=1)
        first = await page.receive()
        assert first["end"] == format_time(T0 + 11 * S)
        states = [one["state"] for one in first["cameras"][0]["intervals"]]
        assert "recorded" in states
        server.clock.advance(2 * S)
        await record(server.store, "gate", start=10, end=30, shift_us=10 * S, new_run=True)
        then = await page.receive()
        known = first["cameras"][0]["intervals"]
        assert then["cameras"][0]["from"] >= known[0]["start"]
        assert then["cameras"][0]["intervals"][-1]["end"] == then["end"] == format_time(T0 + 13 * S)


async def test_bad_commands_are_answered_and_the_socket_lives(server: Scene) -> None:
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        for text in ("", "{", "[]", '{"id":1}', '{"cmd":"hello"}', '{"id":-1,"cmd":"hello"}', '{"id":true,"cmd":"x"}'):
            await socket.send_str(text)
            reply = await page.receive()
            assert (reply["ok"], reply["error"]["code"], reply["id"]) == (False, "bad-request", None), text
        await socket.send_bytes(b"\xc1")
        assert (await page.receive())["error"]["code"] == "bad-request"
        await page.refusal("not-found", "nonsense")
        await page.refusal("not-found", "live", camera="nobody")
        await page.refusal("bad-request", "live")
        await page.refusal("bad-request", "live", camera="gate", audio="yes")
        await page.refusal("bad-request", "coverage", window_s=5)
        await page.refusal("bad-request", "coverage", cameras="gate")
        await page.refusal("not-found", "live", camera="gate", stream="third")
        assert (await page.command("hello"))["protocol"] == 1
        await socket.send_bytes(msgpack.packb({"id": 99, "cmd": "hello"}))
        assert (await page.receive())["id"] == 99
        await socket.send_str("x" * (MAX_COMMAND_BYTES + 1))
        assert (await socket.receive(timeout=30)).type is WSMsgType.CLOSE


async def test_each_command_needs_its_right(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", Principal("nobody", frozenset()))
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        for name, spec in COMMANDS.items():
            reply = await page.command(name, camera="gate", feed=1)
            if spec.right is Right.PUBLIC:
                assert reply["ok"] or reply["error"]["code"] == "not-found", name
            else:
                assert reply["error"]["code"] == "forbidden", name


async def test_leaving_ends_every_feed(server: Scene) -> None:
    tree = server.deps.supervisor
    async with server.client.ws_connect("/api/v1/ws") as socket:
        page = Page(socket)
        for cmd in ("state", "events", "coverage"):
            await page.command(cmd)
        await page.command("live", camera="gate")
        assert tree.census() == 5  # four feeds and what makes the fragments
    while tree.census():  # noqa: ASYNC110 - the end of the connection is what is waited for
        await asyncio.sleep(0.002)
    assert server.engine.sources[GATE, "main"].channel.viewers == []
