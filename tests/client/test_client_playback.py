"""Playback against a scripted server: moves, steps, the end of footage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import TRACK, Side, scripted

from recorderd.client import (
    ConnectionLost,
    ConnectOptions,
    PlayOptions,
    Position,
    Refused,
    Retry,
    connect,
)
from recorderd.wire.stream.messages import Type

pytestmark = pytest.mark.fast
SOON = ConnectOptions(retry=Retry(0, 0, 3))


async def take(stream: Any, count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


async def play_script(side: Side) -> None:
    """A player whose moves are answered as documented: stale units before the position, the new ones behind it."""
    await side.greet()
    message = await side.grant(Type.PLAY)
    number = message.subscription
    assert message.head["cursor" if ":" in str(message.head.get("cursor")) else "time_us"]
    side.config(number)
    side.send(Type.POSITION, number, {"id": message.head["id"], "time_us": 1000})
    side.unit(number, 0, 0x01, run=7, seq=3, i=0)
    while (kind := await peek(side)) not in (Type.STOP, Type.BYE):
        message = await side.grant(kind)
        if message.type == Type.SPEED:
            continue
        side.unit(number, 90, run=7, seq=9, i=0)  # stale
        if message.head.get("frames", 0) > 100:
            side.send(Type.POSITION, number, {"id": message.head["id"], "time_us": 1000, "end": "end"})
            continue
        side.send(Type.POSITION, number, {"id": message.head["id"], "time_us": 1042, "cursor": "c"})
        side.unit(number, 40, 0x09, run=7, seq=4, i=0)
        side.unit(number, 41, 0x08, run=7, seq=4, i=1)
        side.unit(number, 42, run=7, seq=4, i=2)


async def peek(side: Side) -> Type:
    """The type of the next message, which stays."""
    message = await side.read()
    side._ready.insert(0, message)
    return Type(message.type)


async def test_a_move_drops_what_was_on_its_way() -> None:
    async with (
        scripted(play_script) as (port, _),
        connect("127.0.0.1", port) as client,
        client.play("gate", 1000, PlayOptions(paused=True)) as player,
    ):
        place, unit = await take(player, 2)
        assert place == Position(1000)
        assert unit.cursor == player.cursor == f"{TRACK.hex}:{7:016x}:3:0"
        place = await player.seek(1042)
        assert place == Position(1042, "c")
        assert [(one.pts // 3600, one.preroll) for one in await take(player, 3)] == [
            (40, True),
            (41, True),
            (42, False),
        ]
        assert [one.pts // 3600 for one in await player.show(1042)] == [40, 41, 42]
        assert [one.pts // 3600 for one in await player.step(-1)] == [40, 41, 42]
        assert await player.step(101) == []
        await player.set_speed(2)


@pytest.mark.parametrize("prerolls", [0, 2])
async def test_a_step_to_a_picture_that_cannot_be_read_shows_nothing(prerolls: int) -> None:
    async def script(side: Side) -> None:
        await side.greet()
        number = (await side.grant(Type.PLAY)).subscription
        side.config(number)
        message = await side.grant(Type.STEP)
        side.send(Type.POSITION, number, {"id": message.head["id"], "time_us": 1042, "cursor": "c"})
        side.send(Type.HOLE, number, {"start_us": 900, "end_us": 1000, "causes": []})  # passed on the way
        for index in range(prerolls):
            side.unit(number, index, 0x08, run=7, seq=4, i=index)
        side.send(Type.HOLE, number, {"start_us": 1002, "end_us": 2000, "causes": []})

    async with (
        scripted(script) as (port, _),
        connect("127.0.0.1", port) as client,
        client.play("gate", 1000, PlayOptions(paused=True)) as player,
        asyncio.timeout(30),
    ):
        assert await player.step(1) == []


async def test_a_player_does_not_go_on_by_itself() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        await side.grant(Type.PLAY)
        await side.cut()

    async with scripted(script) as (port, sides), connect("127.0.0.1", port, SOON) as client:
        async with client.play("gate", "begin") as player:
            with pytest.raises(ConnectionLost):
                await anext(player)
            with pytest.raises(ConnectionLost):
                await player.seek(3)
        assert len(sides) == 1


async def test_a_seek_without_footage_is_refused_and_playback_goes_on() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        number = (await side.grant(Type.PLAY)).subscription
        side.config(number)
        message = await side.expect(Type.SEEK)
        error = {"id": message.head["id"], "code": "bad-request", "message": "nothing", "params": {}}
        side.send(Type.ERROR, number, error)
        message = await side.grant(Type.SEEK)
        side.send(Type.ERROR, number, {"code": "no-footage", "message": "nothing", "params": {}})  # found out later
        side.unit(number, 5, 1)

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client, client.play("gate", 1) as player:
        with pytest.raises(Refused, match="bad-request"):
            await player.seek(3)
        with pytest.raises(Refused, match="no-footage"):
            await player.seek(3)
        assert (await anext(player)).pts == 5 * 3600  # type: ignore[union-attr]
