"""The way out of one WebSocket past the HTTP library: a whole message in one call of the transport.

Law: server frames are neither masked nor compressed (RFC 6455 §5.1, §5.2), so a message is its frame head and its
parts. Only an idle socket is written to; who finds it busy goes the library's way, which waits. Called by `ws_session`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

from aiohttp import web

_BINARY_FINAL = 0x82
_SHORT = struct.Struct(">BB")
_MIDDLE = struct.Struct(">BBH")
_LONG = struct.Struct(">BBQ")


class Channel:
    """A socket and the transport under it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self._transport = transport

    def send_now(self, parts: Sequence[bytes]) -> bool:
        """One binary message of all parts, if the socket is open and nothing that was written waits for the reader."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() or transport.is_closing() or self.socket.closed:
            return False
        transport.write(b"".join((frame_head(sum(map(len, parts))), *parts)))
        return True


def frame_head(payload_bytes: int) -> bytes:
    """The head of a final binary frame from a server (RFC 6455 §5.2)."""
    if payload_bytes < 126:
        return _SHORT.pack(_BINARY_FINAL, payload_bytes)
    if payload_bytes < 65_536:
        return _MIDDLE.pack(_BINARY_FINAL, 126, payload_bytes)
    return _LONG.pack(_BINARY_FINAL, 127, payload_bytes)
