"""Messages between a parent and its child processes over a pipe: a msgpack head and a raw payload.

Law: bytes in, messages out; no file descriptors, no processes, no meaning of the heads. Sizes are checked
before memory is spent. Called by the worker pool on the parent's side and by `recorderd.workers` on the
child's.

Layout, big-endian: u32 head bytes, u32 payload bytes, head (a msgpack map with text keys), payload. Nothing
else travels on the pipe, so after a `PipeError` there is no safe place to go on: end the child.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgpack  # type: ignore[import-untyped]  # it ships no type information

from recorderd.core.errors import RecorderdError

MAX_HEAD_BYTES = 1024 * 1024
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024

_PREFIX = struct.Struct(">II")


class PipeError(RecorderdError):
    """The other side of a pipe sent what cannot be read; close the pipe."""

    code: ClassVar[str] = "pipe-error"


@dataclass(frozen=True, slots=True)
class PipeMessage:
    """One message; `head` holds msgpack's types only, `payload` is opaque."""

    head: dict[str, Any]
    payload: bytes = b""


def encode_pipe_message(head: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Bytes of one message. Raises PipeError when it is above the limits of `PipeDecoder`."""
    packed: bytes = msgpack.packb(dict(head), use_bin_type=True)
    if len(packed) > MAX_HEAD_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise PipeError(
            f"a pipe message of {len(packed)} + {len(payload)} bytes is above the limit",
            head_bytes=len(packed),
            payload_bytes=len(payload),
        )
    return _PREFIX.pack(len(packed), len(payload)) + packed + payload


class PipeDecoder:
    """Incremental reader of one direction of a pipe; holds at most one incomplete message."""

    def __init__(self, max_head_bytes: int = MAX_HEAD_BYTES, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._buffer = bytearray()
        self._max_head_bytes = max_head_bytes
        self._max_payload_bytes = max_payload_bytes
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """Bytes held for a message that is not complete: more than 0 at EOF means it was cut off."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[PipeMessage]:
        """Yield the messages that these bytes complete. Raises PipeError on sizes above the limits or a head
        that is no msgpack map, and for every call after that. Consume the iterator before the next call."""
        if self._broken:
            raise PipeError("bytes after a pipe error: end the child")
        self._buffer += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> PipeMessage | None:
        if len(self._buffer) < _PREFIX.size:
            return None
        head_bytes, payload_bytes = _PREFIX.unpack_from(self._buffer)
        if head_bytes > self._max_head_bytes or payload_bytes > self._max_payload_bytes:
            raise self._break(f"a pipe message claims {head_bytes} + {payload_bytes} bytes")
        head_end = _PREFIX.size + head_bytes
        end = head_end + payload_bytes
        if len(self._buffer) < end:
            return None
        view = memoryview(self._buffer)
        packed, payload = bytes(view[_PREFIX.size : head_end]), bytes(view[head_end:end])
        view.release()
        del self._buffer[:end]
        return PipeMessage(self._head(packed), payload)

    def _head(self, packed: bytes) -> dict[str, Any]:
        try:
            head = msgpack.unpackb(packed, raw=False, strict_map_key=True)
        except Exception as error:  # msgpack raises several unrelated types on hostile bytes
            raise self._break(f"the head of a pipe message is no msgpack: {error}") from None
        if not isinstance(head, dict) or not all(isinstance(key, str) for key in head):
            raise self._break("the head of a pipe message is no map with text keys")
        return head

    def _break(self, message: str) -> PipeError:
        self._broken = True
        self._buffer.clear()
        return PipeError(message)
