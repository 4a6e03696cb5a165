"""A peer of the stream API written from its document alone: no line of the product's codec."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

PATIENCE_S = 30.0

HELLO, AUTH, LIVE, PLAY, SEEK, SPEED, STEP, PULL = range(0x01, 0x09)
CREDIT, STOP, TIMELINE, COVERAGE, EVENTS, CAMERAS, PING, BYE = range(0x09, 0x11)
S_HELLO, OK, ERROR, CONFIG, UNIT, CHUNK, SEALED, HOLE = range(0x81, 0x89)
POSITION, EVENT, ANSWER, PONG, ENDED = range(0x89, 0x8E)
S_BYE = 0x8F
KEY, DISCONTINUITY, SKIPPED, PREROLL, DAMAGED = 1, 2, 4, 8, 16


class Got(NamedTuple):
    type: int
    flags: int
    sub: int
    head: dict[str, Any]
    payload: bytes
    length: int


def message(kind: int, sub: int = 0, payload: bytes = b"", **head: Any) -> bytes:
    packed = msgpack.packb(head) if head else b""
    return struct.pack(">IBBHII", len(packed) + len(payload), kind, 0, len(packed), sub, 0) + packed + payload


async def becomes(true: Callable[[], bool]) -> None:
    """Wait until it is so; 30 s of patience."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what is looked at belongs to the product and sets no event
            await asyncio.sleep(0.001)


class Peer:
    """A connection; `inbox` keeps what was read while something else was waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, address: tuple[str, int], hello: bool = True, **limits: Any) -> Peer:
        peer = cls(*await asyncio.open_connection(*address, limit=1 << 25))
        if hello:
            peer.send(HELLO, version=1, client="raw peer", **limits)
            assert (await peer.next()).type == S_HELLO
        return peer

    def send(self, kind: int, sub: int = 0, **head: Any) -> None:
        self.writer.write(message(kind, sub, **head))

    async def next(self) -> Got:
        """The next message; EOFError when the server has closed."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                front = await self.reader.readexactly(16)
                length, kind, flags, head_length, sub, zero = struct.unpack(">IBBHII", front)
                assert zero == 0
                assert head_length <= length
                body = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                raise EOFError from None
        head = msgpack.unpackb(body[:head_length]) if head_length else {}
        return Got(kind, flags, sub, head, body[head_length:], length)

    async def until(self, *kinds: int, sub: int | None = None) -> list[Got]:
        """Everything up to and with the first message of one of these types."""
        found = []
        while True:
            got = await self.next()
            found.append(got)
            if got.type in kinds and sub in (None, got.sub):
                return found

    async def expect(self, kind: int, sub: int | None = None) -> Got:
        """The next message of this type; others are skipped, an error fails."""
        while True:
            got = await self.next()
            if got.type == kind and sub in (None, got.sub):
                return got
            assert got.type != ERROR, got

    async def refused(self, code: str) -> Got:
        """The next message is an error with this code."""
        got = (await self.until(ERROR, S_BYE))[-1]
        assert got.type == ERROR, got
        assert got.head["code"] == code, got
        return got

    async def goodbye(self, reason: str) -> list[Got]:
        """The server says bye for this reason and closes; what came before it."""
        found = await self.until(S_BYE)
        assert found[-1].head["reason"] == reason, found[-1]
        try:
            while True:
                await self.next()
        except EOFError:
            return found[:-1]

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass
