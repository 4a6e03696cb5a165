"""Fragments are made once per stream, and every viewer's movie is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, Scene, audio_clip, units, video_clip
from test_live import Page, base_dts, demux

from recorderd.aio.supervisor import Supervisor
from recorderd.engine.live import LiveChannel
from recorderd.media.access_unit import MediaKind
from recorderd.server.http.fragments import Fragmenter, Init
from recorderd.server.http.live_share import FragmentViewer, LiveFragment, LiveShares, ViewerClock
from recorderd.server.http.ws_channel import frame_head
from recorderd.server.http.ws_feeds import LiveFeed
from recorderd.server.http.ws_protocol import MEDIA_HEAD, MediaFlag, MediaType

GATE = CAMERAS["gate"]


async def take(viewer: FragmentViewer, count: int) -> list[LiveFragment]:
    taken = []
    for _ in range(count):
        part = await asyncio.wait_for(viewer.next(), 30)
        assert part is not None
        taken.append(part)
    return taken


@pytest.fixture
async def shares(server: Scene) -> AsyncIterator[LiveShares]:
    async with Supervisor("live") as tree:
        yield LiveShares(server.engine.live, tree)


def look(server: Scene, shares: LiveShares, **more: Any) -> FragmentViewer:
    return shares.view(server.engine.camera("gate"), "main", more.pop("audio", False), **more)


async def test_all_viewers_get_the_same_bytes_made_once(
    server: Scene, shares: LiveShares, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[Any] = []
    real = Fragmenter.feed
    monkeypatch.setattr(Fragmenter, "feed", lambda self, kind, unit: fed.append(unit) or real(self, kind, unit))
    source = server.engine.sources[GATE, "main"]
    viewers = [look(server, shares) for _ in range(5)]
    assert (len(source.channel.viewers), source.channel.people(), len(shares)) == (1, 5, 1)
    items = units(video_clip(), 0, 15)
    for kind, unit in items:
        source.push(kind, unit)
    got = [await take(viewer, 15) for viewer in viewers]
    assert len(fed) == 15
    assert all(one.fragment is other.fragment for taken in got for one, other in zip(taken, got[0], strict=True))
    assert all(one.data is unit.data for one, (_, unit) in zip(got[0], items, strict=True))


async def test_who_comes_later_starts_at_the_newest_key_with_a_movie_from_zero(
    server: Scene, shares: LiveShares, tmp_path: Path
) -> None:
    source = server.engine.sources[GATE, "main"]
    sound = units(audio_clip(), 0, 100, MediaKind.AUDIO)
    mixed = sorted(units(video_clip(), 0, 35) + sound, key=lambda item: item[1].recv_us)
    first = look(server, shares, audio=True)
    for kind, unit in mixed:
        source.push(kind, unit)
    await take(first, 80)
    late, clock = look(server, shares, audio=True), ViewerClock()
    assert len(source.channel.viewers) == 1
    held = await take(late, late._queue.__len__())
    heads = [(part, clock.head(part.fragment)) for part in held]
    data = held[0].init.data + b"".join(head + part.data for part, head in heads if head is not None)
    video = demux(data, tmp_path / "late.mp4")
    assert [dts for dts, _ in video] == [n * 9000 for n in range(5)]
    assert [sample for _, sample in video] == [s[0] for s in video_clip().samples[30:35]]
    heard = demux(data, tmp_path / "sound.mp4", "audio")
    assert heard
    assert all(dts >= 0 for dts, _ in heard)
    assert held[0].fragment.base_dts == 270_000


async def test_the_last_viewer_ends_the_share_and_the_next_begins_another(server: Scene, shares: LiveShares) -> None:
    source = server.engine.sources[GATE, "main"]
    one, two = look(server, shares), look(server, shares)
    one.close()
    assert len(shares) == 1
    two.close()
    two.close()
    assert (len(shares), source.channel.viewers) == (0, [])
    again = look(server, shares)
    for kind, unit in units(video_clip(), 10, 12):
        source.push(kind, unit)
    assert [part.fragment.base_dts for part in await take(again, 2)] == [0, 9000]
    source.channel.close("camera-removed")
    assert await asyncio.wait_for(again.next(), 30) is None
    assert again.reason == "camera-removed"
    source.channel = LiveChannel()
    assert look(server, shares).reason is None


async def test_a_slow_viewer_is_skipped_and_the_others_are_not(server: Scene, shares: LiveShares) -> None:
    source = server.engine.sources[GATE, "main"]
    slow, quick = look(server, shares, limit_bytes=3_000), look(server, shares)
    for kind, unit in units(video_clip(), 0, 40):
        source.push(kind, unit)
    assert len(await take(quick, 40)) == 40
    assert slow.skips
    assert (await take(slow, 1))[0].is_key


async def test_a_coding_that_no_movie_takes_ends_the_viewers_with_its_code(
    server: Scene, shares: LiveShares, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorderd.core.errors import UsageError

    def refuse(*_: object) -> list[Init]:
        raise UsageError("no such coding")

    monkeypatch.setattr(Fragmenter, "feed", refuse)
    viewer = look(server, shares)
    server.engine.sources[GATE, "main"].push(*units(video_clip(), 0, 1)[0])
    assert await asyncio.wait_for(viewer.next(), 30) is None
    assert viewer.reason == UsageError.code


async def test_two_pages_of_one_camera(server: Scene, tmp_path: Path) -> None:
    """Through the short way: the second page comes in the middle and both get each later frame."""
    source = server.engine.sources[GATE, "main"]
    async with server.client.ws_connect("/api/v1/ws") as one, server.client.ws_connect("/api/v1/ws") as two:
        pages = [Page(one), Page(two)]
        await pages[0].command("live", camera="gate")
        for kind, unit in units(video_clip(), 0, 15):
            source.push(kind, unit)
        first = [await pages[0].receive() for _ in range(17)]
        assert [one["type"] for one in first[1:]] == [MediaType.INIT, *[MediaType.VIDEO] * 15]
        await pages[1].command("live", camera="gate")
        second = [await pages[1].receive() for _ in range(7)]
        for kind, unit in units(video_clip(), 15, 30):
            source.push(kind, unit)
        first += [await pages[0].receive() for _ in range(15)]
        second += [await pages[1].receive() for _ in range(15)]
        assert source.channel.people() == 2
        for got, start in ((first, 0), (second, 10)):
            body = b"".join(one["data"] for one in got[1:])
            video = demux(body, tmp_path / f"{start}.mp4")
            assert [sample for _, sample in video] == [s[0] for s in video_clip().samples[start:30]]
            assert [dts for dts, _ in video] == [n * 9000 for n in range(30 - start)]
            assert [one["sequence"] for one in got[1:]] == list(range(1, len(got)))
            assert not any(one["flags"] & MediaFlag.SKIPPED for one in got[1:])


@pytest.mark.fast
def test_the_frame_head_of_each_length() -> None:
    assert frame_head(5) == b"\x82\x05"
    assert frame_head(126) == b"\x82\x7e\x00\x7e"
    assert frame_head(65_535) == b"\x82\x7e\xff\xff"
    assert frame_head(65_536) == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


@pytest.mark.fast
def test_a_viewers_head_differs_in_its_time_alone() -> None:
    maker = Fragmenter(audio=False)
    parts = [p for k, u in units(video_clip(), 0, 20) for p in maker.feed(k, u) if not isinstance(p, Init)]
    clock = ViewerClock()
    heads = [clock.head(part) for part in parts[10:]]
    for number, (head, part) in enumerate(zip(heads, parts[10:], strict=True)):
        assert head is not None
        assert len(head) == len(part.head)
        assert (head[:60], head[68:]) == (part.head[:60], part.head[68:])
        assert int.from_bytes(head[60:68], "big") == number * 9000
        assert base_dts(part) == part.base_dts


class BusySocket:
    """A session whose socket is busy whenever `busy` is set."""

    def __init__(self) -> None:
        self.busy = False
        self.refused = 0
        self.heads: list[bytes] = []
        self.sent = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None: ...

    async def send_media(self, head: bytes, *parts: bytes) -> None:
        self._take(head)

    def send_media_now(self, head: bytes, *parts: bytes) -> bool:
        if self.busy:
            self.refused += 1
            return False
        self._take(head)
        return True

    def _take(self, head: bytes) -> None:
        self.heads.append(head)
        self.sent.set()

    async def count(self, number: int) -> None:
        while len(self.heads) < number:
            self.sent.clear()
            await asyncio.wait_for(self.sent.wait(), 30)


async def test_a_busy_socket_costs_no_number_and_no_flag(server: Scene, shares: LiveShares) -> None:
    source = server.engine.sources[GATE, "main"]
    viewer, socket = look(server, shares), BusySocket()
    feed = LiveFeed(viewer)
    async with Supervisor("feed") as tree:
        tree.start("feed", feed.run(socket, 1))  # type: ignore[arg-type]
        sent = 1  # its init
        for number, (kind, unit) in enumerate(units(video_clip(), 0, 9)):
            source.push(kind, unit)
            sent += 1
            await socket.count(sent)
            await asyncio.sleep(0)
            socket.busy = number % 2 == 0
            if number == 3:
                viewer.skips += 1  # frames were left out: the next one says so, and only it
                socket.busy = True
        feed.close()
    assert socket.refused >= 3, "the short way was tried and the socket was busy"
    heads = [MEDIA_HEAD.unpack(head) for head in socket.heads]
    assert [head[4] for head in heads] == list(range(1, sent + 1))
    assert [n for n, head in enumerate(heads) if head[2] & MediaFlag.SKIPPED] == [5]
