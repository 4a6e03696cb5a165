"""The words of the TCP stream API: message types, flags, limits and the 16 bytes in front of each message.

Law: names and numbers only; docs/api/stream.md describes exactly these, and a test compares the two. Used by the
server, by the client and by tests of both.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PROTOCOL_VERSION: Final = 1
DEFAULT_PORT: Final = 7563
MAX_CLIENT_BYTES: Final = 64 * 1024  # head and payload of a client's message
MAX_SERVER_BYTES: Final = 16 * 2**20
MAX_DEPTH: Final = 8  # maps and lists inside each other in a head
IDLE_S: Final = 30
HELLO_S: Final = 10

FRAME: Final = struct.Struct(">IBBHII")
"""u32 length of what follows these 16 bytes, u8 type, u8 flags, u16 length of the msgpack map, u32 subscription,
u32 zero."""
FRAME_BYTES: Final = FRAME.size


class Type(enum.IntEnum):
    """Client messages are below 0x80, server messages from it on."""

    HELLO = 0x01
    AUTH = 0x02
    LIVE = 0x03
    PLAY = 0x04
    SEEK = 0x05
    SPEED = 0x06
    STEP = 0x07
    PULL = 0x08
    CREDIT = 0x09
    STOP = 0x0A
    TIMELINE = 0x0B
    COVERAGE = 0x0C
    EVENTS = 0x0D
    CAMERAS = 0x0E
    PING = 0x0F
    BYE = 0x10

    SERVER_HELLO = 0x81
    OK = 0x82
    ERROR = 0x83
    CONFIG = 0x84
    UNIT = 0x85
    CHUNK = 0x86
    SEALED = 0x87
    HOLE = 0x88
    POSITION = 0x89
    EVENT = 0x8A
    ANSWER = 0x8B
    PONG = 0x8C
    ENDED = 0x8D
    SERVER_BYE = 0x8F


CLIENT_TYPES: Final = frozenset(kind for kind in Type if kind < 0x80)
SERVER_TYPES: Final = frozenset(kind for kind in Type if kind >= 0x80)
PAID_TYPES: Final = frozenset((Type.UNIT, Type.CHUNK))
"""What takes credit: the length in front of it, that is head and payload."""


class UnitFlag(enum.IntFlag):
    """Flags of a `unit` and of a `chunk`."""

    KEY = 0x01  # a decoder may start here
    DISCONTINUITY = 0x02  # media time does not continue from what came before
    SKIPPED = 0x04  # units before this one were left out because the reader was slow
    PREROLL = 0x08  # decode it, do not show it
    DAMAGED = 0x10  # part of it was lost on the way from the camera


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was read. `type` may be a number that `Type` does not know."""

    type: int
    flags: int
    subscription: int
    head: Mapping[str, Any] = field(default_factory=dict)
    payload: memoryview = field(default_factory=lambda: memoryview(b""))
    head_bytes: int = 0

    @property
    def wire_bytes(self) -> int:
        """Head and payload as they were sent: what a `unit` or `chunk` takes of the credit."""
        return self.head_bytes + len(self.payload)
