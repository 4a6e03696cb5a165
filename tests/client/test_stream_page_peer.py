"""The peer that was written from the protocol's page alone, against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from footage_rig import Recipe, number_of, record

from tests.peers import stream_peer as page
from tests.server.server_scene import CAMERAS, T0, MediaKind, S, units, video_clip
from tests.stream_tcp.stream_scene import StreamScene, stream_scene

HOUR = Recipe(CAMERAS["gate"], T0 - 3600 * S, 60, holes=((100, 150),))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[StreamScene]:
    await asyncio.to_thread(record, folder / "volume", [HOUR])
    async with stream_scene(folder) as scene:
        yield scene


async def converse(scene: StreamScene, talk: Callable[[page.Peer], Any]) -> Any:
    """Run a blocking conversation beside the server's loop."""
    host, port = scene.server.addresses[0]

    def whole() -> Any:
        with page.Peer(host, port) as peer:
            return talk(peer)

    return await asyncio.wait_for(asyncio.to_thread(whole), 60)


async def test_greeting_questions_and_errors(tmp_path: Path) -> None:
    def talk(peer: page.Peer) -> None:
        hello = peer.hello.head
        assert (hello["version"], hello["server"]["name"]) == (1, "hq")
        assert hello["limits"]["message"] == 16 << 20
        assert hello["limits"]["idle_s"] == 30
        names = [camera["name"] for camera in peer.ask(page.CAMERAS)["cameras"]]
        assert names == ["away", "gate", "yard"]
        answer = peer.ask(page.TIMELINE, camera="gate", start_us=HOUR.start_us, end_us=HOUR.time_us(300))
        spans = next(track["spans"] for track in answer["tracks"] if track["id"] == str(HOUR.track))
        assert spans == [[HOUR.start_us, HOUR.time_us(100)], [HOUR.time_us(150), HOUR.time_us(300)]]
        answer = peer.ask(page.COVERAGE, cameras=["gate"], start_us=HOUR.start_us, end_us=HOUR.time_us(300))
        states = [interval["state"] for interval in answer["cameras"][0]["intervals"]]
        assert states[0] == states[-1] == "recorded"
        assert len(states) == 3
        refused = peer.request(page.TIMELINE, camera="nobody", start_us=1, end_us=2)
        assert (refused.type, refused.head["code"]) == (page.ERROR, "not-found")
        unknown = peer.request(0x55)
        assert (unknown.type, unknown.head["code"]) == (page.ERROR, "unknown-message")
        peer.say(page.PING)
        assert peer.hear().type == page.PONG
        peer.say(page.BYE, reason="enough")
        assert peer.hear().head["reason"] == "goodbye"

    async with serving(tmp_path) as scene:
        await converse(scene, talk)


async def test_playback_by_the_page(tmp_path: Path) -> None:
    def shown(found: list[page.Heard]) -> list[int]:
        assert [bool(one.flags & page.PREROLL) for one in found] == [True] * (len(found) - 1) + [False]
        return [number_of(one.payload) for one in found]

    def talk(peer: page.Peer) -> None:
        number = peer.open(page.PLAY, camera="gate", time_us=HOUR.time_us(5), paused=True, credit=1 << 20)
        first = [peer.next(number) for _ in range(8)]
        kinds = [one.type for one in first]
        assert kinds == [page.POSITION, page.CONFIG, *[page.UNIT] * 6]
        assert first[1].payload[4:8] == b"avc1"
        assert first[1].head["timebase_hz"] == 90_000
        assert shown(first[2:]) == [0, 1, 2, 3, 4, 5]
        assert shown(peer.show(page.SEEK, number, mode="exact", time_us=HOUR.time_us(152))) == [150, 151, 152]
        assert shown(peer.show(page.STEP, number, frames=-3))[-1] == 99
        assert shown(peer.show(page.STEP, number, frames=1))[-1] == 150
        assert shown(peer.show(page.SEEK, number, mode="next-key")) == [160]
        assert shown(peer.show(page.SEEK, number, mode="previous-sequence"))[-1] == 0
        peer.request(page.STOP, number)
        assert peer.next(number).head["reason"] == "stopped"

    async with serving(tmp_path) as scene:
        await converse(scene, talk)


async def test_a_pull_by_the_page_resumes_by_its_cursor(tmp_path: Path) -> None:
    def read(peer: page.Peer, chunks: int, cursor: dict[str, str]) -> tuple[list[int], dict[str, str]]:
        number = peer.open(page.PULL, camera="gate", start_us=HOUR.start_us, end_us=HOUR.time_us(300), credit=2000,
                           cursor=cursor)  # fmt: skip
        found: list[int] = []
        while chunks:
            heard = peer.next(number)
            if heard.type == page.CHUNK:
                found += [number_of(sample.data) for sample in page.samples(heard, 90_000)]
                cursor = {heard.head["track"]: heard.head["cursor"]}
                peer.say(page.CREDIT, number, bytes=heard.length)
                chunks -= 1
            if heard.type == page.POSITION:
                assert heard.head["end"] == "end"
            if heard.type == page.ENDED:
                assert heard.head["reason"] == "end"
                break
        return found, cursor

    async with serving(tmp_path) as scene:
        first, cursor = await converse(scene, lambda peer: read(peer, 7, {}))
        second, _ = await converse(scene, lambda peer: read(peer, 10**6, cursor))
    assert first
    assert first + second == [number for number in range(300) if not HOUR.missing(number)]


async def test_live_and_events_by_the_page(tmp_path: Path) -> None:
    clip = units(video_clip(), 0, 12)

    def talk(peer: page.Peer) -> None:
        events = peer.open(page.EVENTS, newest=0)
        number = peer.open(page.LIVE, camera="gate")
        loop.call_soon_threadsafe(push)
        heard = peer.next(number)
        assert (heard.type, heard.head["codec"]) == (page.CONFIG, "h264")
        for kind, unit in clip:
            heard = peer.next(number)
            assert (heard.type, heard.head["kind"], heard.head["cfg"] > 0) == (page.UNIT, str(kind), True)
            assert (heard.payload, heard.head["pts"], heard.head["recv_us"]) == (unit.data, unit.pts, unit.recv_us)
            assert bool(heard.flags & page.KEY) == unit.is_key
        loop.call_soon_threadsafe(lambda: emit("noticed"))
        heard = peer.next(events)
        assert (heard.type, heard.head["code"], heard.head["params"]) == (page.EVENT, "noticed", {"by": "test"})

    async with serving(tmp_path) as scene:
        loop = asyncio.get_running_loop()

        def push() -> None:
            for kind, unit in clip:
                assert kind is MediaKind.VIDEO
                scene.source().push(kind, unit)

        def emit(code: str) -> None:
            scene.deps.events.emit(code, params={"by": "test"})

        await converse(scene, talk)
