"""Live, pull and events against a scripted server: items, credit, cuts, ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import CONFIG, TRACK, Side, scripted

from recorderd.client import (
    Chunk,
    ConnectOptions,
    Damaged,
    Hole,
    LiveOptions,
    Position,
    ProtocolViolation,
    PullOptions,
    Refused,
    Retry,
    Sealed,
    StreamEnded,
    Unit,
    connect,
)
from recorderd.client.stream import MAX_UNREAD, MIN_WINDOW
from recorderd.wire.stream.messages import Type

pytestmark = pytest.mark.fast
SOON = ConnectOptions(retry=Retry(0, 0, 3))


async def take(stream: Any, count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


async def test_live_gives_units_with_their_config_and_what_is_durable() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        assert message.head["camera"] == "gate"
        assert message.head["sealed"] is True
        assert "after_us" not in message.head
        side.config(message.subscription)
        side.unit(message.subscription, 0, 0x01)
        side.unit(message.subscription, 1, 0x16, cam_us=77, cam_q=2, lost=3)
        head = {"track": str(TRACK), "run": 7, "next_seq": 9, "until_us": 1001, "commit": 1}
        side.send(Type.SEALED, message.subscription, head)

    async with (
        scripted(script) as (port, _),
        connect("127.0.0.1", port) as client,
        client.live("gate", LiveOptions(sealed=True)) as live,
    ):
        first, second, sealed = await take(live, 3)
    assert isinstance(first, Unit)
    assert (first.key, first.data, first.config.entry, first.cursor) == (True, b"unit 0", b"entry", None)
    assert (second.discontinuity, second.skipped, second.damaged, second.preroll) == (True, True, True, False)
    assert (second.cam_us, second.cam_quality, second.lost_packets) == (77, 2, 3)
    assert sealed == Sealed(TRACK, 1001, 9)


async def test_live_goes_on_behind_the_last_unit() -> None:
    async def first(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        side.config(message.subscription)
        side.unit(message.subscription, 0, 0x01)
        await side.cut()

    async def second(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        assert message.head["after_us"] == 1000
        side.config(message.subscription, codec="h265")
        side.unit(message.subscription, 1)

    async with (
        scripted(first, second) as (port, _),
        connect("127.0.0.1", port, SOON) as client,
        client.live("gate") as live,
    ):
        units = await take(live, 2)
    assert [unit.pts for unit in units] == [0, 3600]
    assert [unit.config.codec for unit in units] == ["h264", "h265"]
    assert live.reconnects == 1


async def test_live_loses_no_picture_that_was_longer_on_its_way_than_sound() -> None:
    """A picture that began before the last sound comes behind it; what was held already comes only once."""
    sound: dict[str, Any] = {"kind": "audio", "cfg": 2}

    def begin(side: Side, number: int) -> None:
        side.config(number)
        side.config(number, config=2, kind="audio", codec="pcmu")

    async def first(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        assert "after_us" not in message.head
        begin(side, message.subscription)
        side.unit(message.subscription, 0, 0x01)
        side.unit(message.subscription, 5, **sound)
        side.unit(message.subscription, 9, **sound)
        await side.cut()

    async def second(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        assert message.head["after_us"] == 1000
        begin(side, message.subscription)
        side.unit(message.subscription, 5, **sound)
        side.unit(message.subscription, 4)
        side.unit(message.subscription, 9, **sound)
        side.unit(message.subscription, 9)
        side.unit(message.subscription, 3, recv_us=900)  # the recorder's clock was set back: no repeat
        side.unit(message.subscription, 10, **sound)

    async with (
        scripted(first, second) as (port, _),
        connect("127.0.0.1", port, SOON) as client,
        client.live("gate", LiveOptions(audio=True)) as live,
    ):
        units = await take(live, 7)
    assert [(unit.kind.name.lower(), unit.pts // 3600) for unit in units] == [
        ("video", 0), ("audio", 5), ("audio", 9), ("video", 4), ("video", 9), ("video", 3), ("audio", 10),
    ]  # fmt: skip


async def test_repeats_give_their_credit_back() -> None:
    async def first(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        side.config(message.subscription)
        for index in range(300):
            side.unit(message.subscription, index, int(index == 0))
        await side.cut()

    async def second(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.LIVE)
        side.config(message.subscription)
        for index in range(300):
            side.unit(message.subscription, index, int(index == 0))
        await side.credited()
        side.unit(message.subscription, 300)

    async with (
        scripted(first, second) as (port, _),
        connect("127.0.0.1", port, SOON) as client,
        client.live("gate", LiveOptions(window=MIN_WINDOW)) as live,
    ):
        units = await take(live, 301)
    assert [unit.pts // 3600 for unit in units] == list(range(301))


async def test_credit_follows_what_was_read_and_not_what_came() -> None:
    """The window is the most that may ever lie unread; nothing is given back before it was read."""
    size = 1000
    seen: list[int] = []

    async def script(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.PULL)
        assert message.head["credit"] == MIN_WINDOW
        side.config(message.subscription)
        credit, seq = message.head["credit"], 0
        while seq < 300:
            while credit > 0 and seq < 300:
                before = len(side.credits)
                side.chunk(message.subscription, seq, size)
                credit -= size + 250  # about: the head is smaller
                seq += 1
                assert len(side.credits) == before
            seen.append(seq)
            while not side.credits and seq < 300:
                side.send(Type.PONG, 0, {"time_us": 0})
                await side.writer.drain()
                data = await side.reader.read(65536)
                for one in side._decoder.receive(data):
                    side.credits.append(one.head["bytes"])
            credit += sum(side.credits)
            side.credits.clear()
        side.send(Type.POSITION, message.subscription, {"time_us": 5, "end": "end"})
        side.send(Type.ENDED, message.subscription, {"reason": "end"})

    async with (
        scripted(script) as (port, _),
        connect("127.0.0.1", port) as client,
        client.pull("gate", 0, 10, options=PullOptions(window=1)) as pull,
    ):
        await asyncio.sleep(0)
        chunks = [item async for item in pull if isinstance(item, Chunk)]
    assert [chunk.seq for chunk in chunks] == list(range(300))
    assert seen[0] * size <= MIN_WINDOW
    assert len(seen) > 3


async def test_a_pull_that_is_cut_twice_gives_every_chunk_once() -> None:
    def part(start: int, end: int, last: bool) -> Any:
        async def script(side: Side) -> None:
            await side.greet()
            message = await side.grant(Type.PULL)
            wanted = {} if start == 0 else {str(TRACK): f"{TRACK.hex}:{7:016x}:{start - 1}:1"}
            assert message.head["cursor"] == wanted
            assert (message.head["start_us"], message.head["end_us"]) == (0, 10)
            side.config(message.subscription)
            for seq in range(start, end):
                side.chunk(message.subscription, seq)
            if last:
                side.send(Type.ENDED, message.subscription, {"reason": "end"})
                return
            side.writer.write(b"\0\0\1\0\x86\0\0\x20")  # a chunk begins and does not come
            await side.cut()

        return script

    async with (
        scripted(part(0, 3, False), part(3, 3, False), part(3, 8, True)) as (port, sides),
        connect("127.0.0.1", port, SOON) as client,
        client.pull("gate", 0, 10) as pull,
    ):
        chunks = [item async for item in pull]
        with pytest.raises(StopAsyncIteration):
            await anext(pull)
    assert [chunk.seq for chunk in chunks] == list(range(8))
    assert pull.reconnects == 2
    assert len(sides) == 3
    samples = list(chunks[1].samples())
    assert [(s.pts, s.dts, s.key, len(s.data)) for s in samples] == [(7200, 7200, True, 1), (10800, 10800, False, 99)]


async def test_a_pull_that_was_left_goes_on_behind_its_cursors() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.PULL)
        assert message.head["cursor"] == {str(TRACK): "kept"}
        assert message.head["tracks"] == ["video", "audio"]
        side.send(Type.HOLE, message.subscription, {"start_us": 1, "end_us": 5, "causes": [
            {"start_us": 1, "end_us": 5, "state": "groomed", "reason": "age", "params": {}}]})  # fmt: skip
        side.send(Type.POSITION, message.subscription, {"time_us": 5, "end": "live"})
        side.send(Type.ENDED, message.subscription, {"reason": "end"})

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client:
        options = PullOptions(tracks=("video", "audio"))
        async with client.pull("gate", 0, 10, {str(TRACK): "kept"}, options) as pull:
            hole, position = [item async for item in pull]
    assert isinstance(hole, Hole)
    assert hole.causes[0].state == "groomed"
    assert position == Position(5, None, "live")


async def test_a_chunk_with_another_hash_is_not_given_out() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.PULL)
        side.config(message.subscription)
        side.chunk(message.subscription, 0, sha256=bytes(32))
        await side.expect(Type.STOP)
        message = await side.grant(Type.PULL)
        side.config(message.subscription)
        side.chunk(message.subscription, 0, sha256=bytes(32))

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client:
        async with client.pull("gate", 0, 10) as pull:
            with pytest.raises(Damaged):
                await anext(pull)
        async with client.pull("gate", 0, 10, options=PullOptions(check=False)) as pull:
            assert not (await anext(pull)).whole  # type: ignore[union-attr]


async def test_events_come_once_and_in_order_across_a_cut() -> None:
    def event(side: Side, number: int, ident: int) -> None:
        head = {"id": ident, "time_us": ident, "code": "x", "camera": None, "hardware": None, "params": {"n": ident}}
        side.send(Type.EVENT, number, head)

    async def first(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.EVENTS)
        assert message.head["after"] == 4
        for ident in (5, 6):
            event(side, message.subscription, ident)
        await side.cut()

    async def second(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.EVENTS)
        assert message.head["after"] == 6
        for ident in (6, 7):
            event(side, message.subscription, ident)

    async with (
        scripted(first, second) as (port, _),
        connect("127.0.0.1", port, SOON) as client,
        client.events(4) as events,
    ):
        assert [event.id for event in await take(events, 3)] == [5, 6, 7]


async def test_events_that_nobody_reads_are_asked_for_again_later() -> None:
    """No credit bounds them: the client leaves at its limit and goes on behind what it holds."""
    stopped = asyncio.Event()

    def event(side: Side, number: int, ident: int) -> None:
        head = {"id": ident, "time_us": 0, "code": "x", "camera": None, "hardware": None, "params": {}}
        side.send(Type.EVENT, number, head)

    async def script(side: Side) -> None:
        await side.greet()
        message = await side.grant(Type.EVENTS)
        for ident in range(1, MAX_UNREAD + 100):
            event(side, message.subscription, ident)
        await side.expect(Type.STOP)
        stopped.set()
        message = await side.grant(Type.EVENTS)
        assert message.head["after"] == MAX_UNREAD
        event(side, message.subscription, MAX_UNREAD + 1)

    async with (
        scripted(script) as (port, sides),
        connect("127.0.0.1", port, SOON) as client,
        client.events() as events,
    ):
        async with asyncio.timeout(30):
            await stopped.wait()
        found = await take(events, MAX_UNREAD + 1)
        assert len(sides) == 1
    assert [event.id for event in found] == list(range(1, MAX_UNREAD + 2))


@pytest.mark.parametrize(
    ("messages", "error", "text"),
    [
        ([(Type.ENDED, {"reason": "too-slow"})], StreamEnded, "too-slow"),
        ([(Type.ERROR, {"code": "busy", "message": "m"}), (Type.ENDED, {"reason": "error"})], Refused, "busy"),
        ([(Type.UNIT, {"cfg": 4})], ProtocolViolation, "before their config"),
        ([(Type.CONFIG, CONFIG | {"kind": "smell"})], ProtocolViolation, "config"),
        ([(Type.CONFIG, CONFIG), (Type.UNIT, {"cfg": 1, "pts": 1})], ProtocolViolation, "unit"),
    ],
)  # fmt: skip
async def test_what_ends_a_stream_is_told_by_type(messages: Any, error: type[Exception], text: str) -> None:
    async def script(side: Side) -> None:
        await side.greet()
        number = (await side.grant(Type.LIVE)).subscription
        for kind, head in messages:
            side.send(kind, number, head)

    async with scripted(script) as (port, _), connect("127.0.0.1", port, SOON) as client, client.live("gate") as live:
        for _ in range(2):
            with pytest.raises(error, match=text):
                await anext(live)


async def test_a_server_without_regard_for_credit_is_left() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        number = (await side.grant(Type.LIVE)).subscription
        side.config(number)
        for index in range(20):
            side.send(Type.UNIT, number, {"kind": "video", "cfg": 1, "pts": index, "dts": index, "type": 0,
                                          "recv_us": 1, "time_us": 1}, bytes(1 << 20))  # fmt: skip

    async with (
        scripted(script) as (port, _),
        connect("127.0.0.1", port, SOON) as client,
        client.live("gate", LiveOptions(window=1)) as live,
    ):
        link = live._link
        assert link is not None
        async with asyncio.timeout(30):
            await asyncio.shield(link._closed)
        assert isinstance(link.lost, ProtocolViolation)


async def test_leaving_a_stream_stops_it_and_the_rest_is_dropped() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        number = (await side.grant(Type.LIVE)).subscription
        side.config(number)
        side.unit(number, 0, 1)
        assert (await side.expect(Type.STOP)).subscription == number
        side.unit(number, 1)
        side.send(Type.ENDED, number, {"reason": "stopped"})
        second = await side.grant(Type.LIVE)
        assert second.subscription != number
        side.config(second.subscription)
        side.unit(second.subscription, 7, 1)

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client:
        async with client.live("gate") as live:
            await anext(live)
        async with client.live("gate") as live:
            assert (await anext(live)).pts == 7 * 3600  # type: ignore[union-attr]


async def test_cancelling_a_reader_leaves_the_client_usable() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        await side.grant(Type.LIVE)
        await side.expect(Type.STOP)
        await side.grant(Type.LIVE)

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client:

        async def watch() -> None:
            async with client.live("gate") as live:
                opened.set()
                await anext(live)

        opened = asyncio.Event()
        task = asyncio.create_task(watch())
        await opened.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with client.live("gate"):
            pass
