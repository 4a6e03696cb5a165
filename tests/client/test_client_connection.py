"""Greeting, questions, errors and the end of a connection, against a server that follows a script."""

from __future__ import annotations

import asyncio

import pytest
from scripted import HELLO, Side, scripted

from recorderd.client import (
    CannotConnect,
    ConnectionLost,
    ConnectOptions,
    ProtocolViolation,
    Reconnect,
    Refused,
    Retry,
    Timing,
    connect,
)
from recorderd.wire.stream.codec import pack
from recorderd.wire.stream.messages import Type

pytestmark = pytest.mark.fast
ONCE = ConnectOptions(retry=Retry(0, 0, 3))


async def answer(side: Side, kind: Type, value: object) -> None:
    message = await side.expect(kind)
    side.send(Type.ANSWER, 0, {"id": message.head["id"]}, pack(value))


async def test_the_greeting_tells_who_answers() -> None:
    async def script(side: Side) -> None:
        hello = await side.expect(Type.HELLO)
        assert hello.head == {"version": 1, "client": "night copy"}
        side.send(Type.SERVER_HELLO, 0, HELLO)

    async with (
        scripted(script) as (port, _),
        connect("127.0.0.1", port, ConnectOptions("night copy")) as client,
    ):
        assert (client.server.name, client.server.limits["idle_s"]) == ("hq", 30)


async def test_answers_find_their_questions_in_any_order() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        first, second = await side.expect(Type.TIMELINE), await side.expect(Type.CAMERAS)
        cameras = {"cameras": [{"id": "i", "name": "gate", "state": "recorded", "more": 1}]}
        side.send(Type.ANSWER, 0, {"id": second.head["id"]}, pack(cameras))
        spans = [{"id": "0" * 32, "stream": "main", "kind": "video", "spans": [[1, 2], [5, 9]]}]
        side.send(Type.ANSWER, 0, {"id": first.head["id"]}, pack({"tracks": spans}))

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client:
        tracks, cameras = await asyncio.gather(client.timeline("gate", 0, 10), client.cameras())
    assert [(span.start_us, span.end_us) for span in tracks[0].spans] == [(1, 2), (5, 9)]
    assert (cameras[0].name, cameras[0].about["more"]) == ("gate", 1)


async def test_coverage_is_by_camera() -> None:
    interval = {"start_us": 1, "end_us": 2, "state": "recorded", "reason": "", "params": {}, "damaged_packets": 3}

    async def script(side: Side) -> None:
        await side.greet()
        await answer(side, Type.COVERAGE, {"cameras": [{"id": "i", "name": "gate", "intervals": [interval]}]})

    async with scripted(script) as (port, _), connect("127.0.0.1", port) as client:
        found = await client.coverage(["gate"], 1, 2)
    assert found["i"][0].state == "recorded"
    assert found["i"][0].damaged_packets == 3


async def test_a_refusal_carries_the_servers_code_and_leaves_the_connection() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        message = await side.expect(Type.TIMELINE)
        error = {"id": message.head["id"], "code": "not-found", "message": "no such camera", "params": {"camera": "x"}}
        side.send(Type.ERROR, 0, error)
        await answer(side, Type.CAMERAS, {"cameras": []})

    async with scripted(script) as (port, sides), connect("127.0.0.1", port) as client:
        with pytest.raises(Refused) as caught:
            await client.timeline("x", 0, 1)
        assert (caught.value.server_code, caught.value.params) == ("not-found", {"camera": "x"})
        assert await client.cameras() == []
        assert len(sides) == 1


async def test_a_question_that_a_cut_interrupts_is_asked_again() -> None:
    async def first(side: Side) -> None:
        await side.greet()
        await side.expect(Type.CAMERAS)
        await side.cut()

    async def second(side: Side) -> None:
        await side.greet()
        await answer(side, Type.CAMERAS, {"cameras": []})

    told: list[Reconnect] = []
    options = ConnectOptions(retry=Retry(0, 0, 3), on_reconnect=told.append)
    async with scripted(first, second) as (port, sides), connect("127.0.0.1", port, options) as client:
        assert await client.cameras() == []
        assert len(sides) == 2
    assert [one.tries for one in told] == [1]


async def test_the_policy_gives_up() -> None:
    async def script(side: Side) -> None:
        await side.greet()
        await side.read()
        await side.cut()

    async with scripted(script) as (port, sides), connect("127.0.0.1", port, ONCE) as client:
        with pytest.raises(ConnectionLost, match="given up"):
            await client.cameras()
        assert len(sides) == 4


@pytest.mark.parametrize(
    ("reason", "error", "connections"),
    [("protocol-error", ProtocolViolation, 1), ("server-stopping", ConnectionLost, 4)],
)
async def test_goodbyes_are_told_apart(reason: str, error: type[Exception], connections: int) -> None:
    async def script(side: Side) -> None:
        await side.greet()
        await side.read()
        side.send(Type.SERVER_BYE, 0, {"reason": reason, "message": "so long"})

    async with scripted(script) as (port, sides), connect("127.0.0.1", port, ONCE) as client:
        with pytest.raises(error, match=reason):
            await client.cameras()
        assert len(sides) == connections


async def test_nobody_there_is_an_error_of_its_own() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(CannotConnect):
        async with connect("127.0.0.1", port):
            pass


async def test_a_server_that_does_not_greet_is_not_waited_for() -> None:
    async def script(side: Side) -> None:
        await side.expect(Type.HELLO)

    options = ConnectOptions(timing=Timing(connect_s=0.1))
    with pytest.raises(CannotConnect, match="does not answer"):
        async with scripted(script) as (port, _), connect("127.0.0.1", port, options):
            pass


async def test_another_protocol_is_called_so() -> None:
    async def script(side: Side) -> None:
        side.writer.write(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")

    with pytest.raises(ProtocolViolation):
        async with scripted(script) as (port, _), connect("127.0.0.1", port):
            pass


@pytest.mark.parametrize("hello", [{"server": None}, {"limits": {}}, {"time_us": "x", "limits": 1}])
async def test_a_wrong_hello_is_a_violation(hello: dict[str, object]) -> None:
    async def script(side: Side) -> None:
        await side.greet(**hello)

    with pytest.raises(ProtocolViolation):
        async with scripted(script) as (port, _), connect("127.0.0.1", port):
            pass


async def test_closing_says_goodbye() -> None:
    said: list[int] = []

    async def script(side: Side) -> None:
        await side.greet()
        said.append((await side.expect(Type.BYE)).type)

    async with scripted(script) as (port, _), connect("127.0.0.1", port):
        pass
    assert said == [Type.BYE]


@pytest.mark.looptime
async def test_an_idle_connection_is_kept_alive_and_a_dead_one_noticed() -> None:
    """By the protocol's own clock: pings at a third of the idle time, three without an answer are too many."""
    from recorderd.client.connection import Connection

    class Transport(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.written: list[bytes] = []
            self.aborted = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written.append(bytes(data))

        def abort(self) -> None:
            self.aborted = True

    transport, connection = Transport(), Connection("x", Timing())
    connection.connection_made(transport)
    await asyncio.sleep(31)
    assert [data[4] for data in transport.written] == [Type.HELLO, Type.PING, Type.PING, Type.PING]
    assert not transport.aborted
    from recorderd.wire.stream.codec import encode

    pong = encode(Type.PONG, 0, {"time_us": 1})
    connection.get_buffer(-1)[: len(pong)] = pong
    connection.buffer_updated(len(pong))
    await asyncio.sleep(29)
    assert not transport.aborted
    await asyncio.sleep(11)
    assert transport.aborted
    assert isinstance(connection.lost, ConnectionLost)
