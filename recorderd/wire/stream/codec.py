"""From messages to bytes and back.

Law: sans-IO. `Decoder` takes bytes as they come and gives whole messages; what breaks a rule of docs/api/stream.md
raises ProtocolError, after which the connection is of no more use. It never holds more than one message of the limit
it was made with, and allocates nothing before the 16 bytes in front of a message were found to be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no type information

from recorderd.wire.errors import ProtocolError
from recorderd.wire.stream.messages import FRAME, FRAME_BYTES, MAX_DEPTH, Message

_SMALL: Final = 64 * 1024  # bytes are gathered here; a longer rest of a message goes straight to its place
_DIRECT: Final = 32 * 1024
_PLAIN: Final = frozenset((type(None), bool, int, float, str, bytes))
_MAX_HEAD: Final = 0xFFFF
_MUTE: Final = {  # errors of the library that say nothing themselves
    msgpack.StackError: "maps and lists lie too deep inside each other",
    msgpack.FormatError: "a byte that begins no value",
}


def pack(value: object) -> bytes:
    """msgpack of a head or of a long answer; what msgpack does not know (a UUID) becomes text."""
    packed: bytes = msgpack.packb(value, use_bin_type=True, default=str)
    return packed


def frame(kind: int, subscription: int, head: bytes, payload_bytes: int = 0, flags: int = 0) -> bytes:
    """The 16 bytes in front of a packed head. Raises ValueError for a head that belongs into the payload."""
    if len(head) > _MAX_HEAD:
        raise ValueError(f"a head of {len(head)} bytes: long answers travel in the payload")
    return FRAME.pack(len(head) + payload_bytes, kind, flags, len(head), subscription, 0)


def encode(
    kind: int,
    subscription: int = 0,
    head: Mapping[str, Any] | None = None,
    payload: bytes | memoryview = b"",
    flags: int = 0,
) -> bytes:
    """A whole message in one piece: for everything but media, whose payload is sent from where it lies."""
    packed = pack(head) if head else b""
    return b"".join((frame(kind, subscription, packed, len(payload), flags), packed, payload))


def unpack(raw: bytes | memoryview) -> Any:
    """msgpack to plain values. Raises ProtocolError for anything else, extension types and depth included."""
    try:
        value = msgpack.unpackb(raw, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises several unrelated types on hostile bytes
        cause = str(error) or _MUTE.get(type(error)) or type(error).__name__
        raise ProtocolError(f"not msgpack: {cause}") from None
    _check_plain(value, MAX_DEPTH)
    return value


def unpack_head(raw: bytes | memoryview) -> dict[str, Any]:
    """The map in front of a payload; nothing is the empty map. Raises ProtocolError."""
    if not raw:
        return {}
    value = unpack(raw)
    if type(value) is not dict:
        raise ProtocolError("the head of a message is a msgpack map")
    for key in value:
        if type(key) is not str:
            raise ProtocolError("the keys of a head are texts")
    return value


def _check_plain(value: object, depth: int) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if depth == 0:
        raise ProtocolError(f"maps and lists lie more than {MAX_DEPTH} deep inside each other")
    if kind is dict:
        for one in value.values():  # type: ignore[attr-defined]
            if type(one) not in _PLAIN:
                _check_plain(one, depth - 1)
    elif kind is list:
        for one in value:  # type: ignore[attr-defined]
            if type(one) not in _PLAIN:
                _check_plain(one, depth - 1)
    else:
        raise ProtocolError("extension types of msgpack are not used")


class Decoder:
    """Reads messages of at most `limit_bytes` behind their first 16.

    Either `receive(data)`, or without a copy: read into `buffer()`, tell `filled(count)`, and take `next_message()`
    until it is None.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._small = bytearray(_SMALL)
        self._view = memoryview(self._small)
        self._start = self._end = 0  # unread bytes of `_small`
        self._front: tuple[int, int, int, int, int, int] | None = None  # of the message being gathered
        self._body = bytearray()
        self._have = 0  # bytes of `_body`
        self._direct = False

    def receive(self, data: bytes | memoryview) -> list[Message]:
        """All messages that these bytes complete. Raises ProtocolError."""
        messages, at = [], 0
        while at < len(data):
            place = self.buffer()
            count = min(len(place), len(data) - at)
            place[:count] = data[at : at + count]
            self.filled(count)
            at += count
            while (message := self.next_message()) is not None:
                messages.append(message)
        return messages

    def buffer(self) -> memoryview:
        """Where the next bytes may be written to: at least one. All messages must have been taken before."""
        self._direct = self._front is not None and len(self._body) - self._have >= _DIRECT
        return memoryview(self._body)[self._have :] if self._direct else self._view[self._end :]

    def filled(self, count: int) -> None:
        """So many bytes were written to `buffer()`."""
        if self._direct:
            self._have += count
        else:
            self._end += count

    def next_message(self) -> Message | None:
        """One whole message, or None until there are more bytes. Raises ProtocolError."""
        if self._front is None and not self._begin():
            return None
        assert self._front is not None
        missing = len(self._body) - self._have
        if missing and self._end > self._start:
            count = min(missing, self._end - self._start)
            self._body[self._have : self._have + count] = self._view[self._start : self._start + count]
            self._have += count
            self._start += count
            missing -= count
        if missing:
            self._start = self._end = 0
            return None
        _, kind, flags, head_bytes, subscription, _ = self._front
        body = memoryview(self._body)
        self._front = None
        return Message(kind, flags, subscription, unpack_head(body[:head_bytes]), body[head_bytes:], head_bytes)

    def _begin(self) -> bool:
        """Read the 16 bytes in front of a message; False until they are there."""
        held = self._end - self._start
        if held < FRAME_BYTES:
            self._view[:held] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, held
            return False
        front = FRAME.unpack_from(self._small, self._start)
        length, _, _, head_bytes, _, reserved = front
        if length > self._limit_bytes:
            raise ProtocolError(f"a message of {length} bytes; at most {self._limit_bytes}", bytes=length)
        if head_bytes > length:
            raise ProtocolError(f"a head of {head_bytes} bytes in a message of {length}", bytes=length)
        if reserved:
            raise ProtocolError("the last four of the 16 bytes are zero", reserved=reserved)
        self._start += FRAME_BYTES
        self._front = front
        self._body = bytearray(length)
        self._have = 0
        return True
