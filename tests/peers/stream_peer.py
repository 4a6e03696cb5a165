"""A peer of the TCP stream API, written from docs/api/stream.md alone: a socket, struct and msgpack.

It imports nothing of the project, so that a mistake which server and client share is seen here. Blocking; for tests.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgpack

HELLO, AUTH, LIVE, PLAY, SEEK, SPEED, STEP, PULL, CREDIT, STOP = range(0x01, 0x0B)
TIMELINE, COVERAGE, EVENTS, CAMERAS, PING, BYE = range(0x0B, 0x11)
S_HELLO, OK, ERROR, CONFIG, UNIT, CHUNK, SEALED, HOLE, POSITION, EVENT, ANSWER, PONG, ENDED = range(0x81, 0x8E)
S_BYE = 0x8F
KEY, DISCONTINUITY, SKIPPED, PREROLL, DAMAGED = 1, 2, 4, 8, 16


@dataclass
class Heard:
    """One message of the server."""

    type: int
    flags: int
    subscription: int
    head: dict[str, Any]
    payload: bytes
    length: int


@dataclass
class Sample:
    data: bytes
    pts: int
    dts: int
    type: int
    recv_us: int


@dataclass
class Peer:
    """One connection that has said hello."""

    host: str
    port: int
    rest: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection((self.host, self.port), timeout=30)
        self.number = 0
        self.ident = 0
        try:
            self.say(HELLO, 0, version=1, client="peer from the page")
            self.hello = self.hear()
            assert self.hello.type == S_HELLO, self.hello
        except BaseException:  # a server that is killed just then
            self.socket.close()
            raise

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, kind: int, subscription: int = 0, **head: Any) -> None:
        packed = msgpack.packb(head) if head else b""
        self.socket.sendall(struct.pack(">IBBHII", len(packed), kind, 0, len(packed), subscription, 0) + packed)

    def read(self, count: int) -> bytes:
        parts = []
        while count:
            data = self.socket.recv(min(count, 1 << 20))
            if not data:
                raise EOFError
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def hear(self) -> Heard:
        length, kind, flags, head_length, subscription, zero = struct.unpack(">IBBHII", self.read(16))
        assert zero == 0
        assert head_length <= length <= 16 << 20
        body = self.read(length)
        head = msgpack.unpackb(body[:head_length], strict_map_key=True) if head_length else {}
        assert isinstance(head, dict)
        return Heard(kind, flags, subscription, head, body[head_length:], length)

    def request(self, kind: int, subscription: int = 0, **head: Any) -> Heard:
        """The ok, answer or error; what came before it is kept in `rest`."""
        self.ident += 1
        self.say(kind, subscription, id=self.ident, **head)
        while True:
            heard = self.hear()
            if heard.type in (OK, ANSWER, ERROR) and heard.head.get("id") == self.ident:
                return heard
            self.rest.append(heard)

    def ask(self, kind: int, **head: Any) -> Any:
        """The value of a long answer."""
        heard = self.request(kind, 0, **head)
        assert heard.type == ANSWER, heard
        return msgpack.unpackb(heard.payload)

    def open(self, kind: int, **head: Any) -> int:
        self.number += 1
        heard = self.request(kind, self.number, **head)
        assert heard.type == OK, heard
        return self.number

    def next(self, subscription: int) -> Heard:
        """The next message of a subscription; others are dropped."""
        while True:
            heard = self.rest.pop(0) if self.rest else self.hear()
            if heard.subscription == subscription:
                return heard

    def show(self, kind: int, subscription: int, **head: Any) -> list[Heard]:
        """A move of a paused player: the units behind its `position`, up to the one to show."""
        heard = self.request(kind, subscription, **head)
        assert heard.type == OK, heard
        while True:
            place = self.next(subscription)
            if place.type == POSITION and place.head.get("id") == self.ident:
                break
        units: list[Heard] = []
        if "end" in place.head:
            return units
        while not units or units[-1].flags & PREROLL:
            heard = self.next(subscription)
            if heard.type == POSITION and "end" in heard.head:
                return units
            if heard.type == UNIT:
                units.append(heard)
        return units


def samples(chunk: Heard, timebase_hz: int) -> list[Sample]:
    """The samples of a `chunk`, after its SHA-256 was compared."""
    head, count = chunk.head, chunk.head["n"]
    assert hashlib.sha256(head["salt"] + chunk.payload).digest() == head["sha256"]
    table, at = head["table"], 0
    columns: list[tuple[int, ...]] = []
    for rows in (max(count - 1, 1), count, count, count, count):
        code = table[at]
        letter = {0x01: "B", 0x81: "b", 0x02: "H", 0x82: "h", 0x04: "I", 0x84: "i"}[code & ~0x40]
        stored = 1 if code & 0x40 else rows
        form = f"<{stored}{letter}"
        values = struct.unpack_from(form, table, at + 1)
        columns.append(values * rows if code & 0x40 else values)
        at += 1 + struct.calcsize(form)
    assert at == len(table)
    deltas, cts, sizes, marks, _ = columns
    assert sum(sizes) == len(chunk.payload)
    out, dts, place = [], head["base_dts"], 0
    for k in range(count):
        dts += deltas[k - 1] if k else 0
        recv_us = head["recv_us"] + (dts - head["base_dts"]) * 1_000_000 // timebase_hz
        out.append(Sample(chunk.payload[place : place + sizes[k]], dts + cts[k], dts, marks[k] >> 1 & 7, recv_us))
        place += sizes[k]
    return out


def cursor_of(unit: Heard, track: str) -> str:
    head = unit.head
    return f"{uuid.UUID(track).hex}:{head['run']:016x}:{head['seq']}:{head['i']}"
