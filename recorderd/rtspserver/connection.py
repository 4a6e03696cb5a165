"""One TCP connection of the RTSP server: bytes to the session, responses and media to the socket.

Law: moves bytes, decides nothing about RTSP. Media goes straight from the shared slices to the kernel with one
`writev` while nothing is queued: no copy, no join. What the kernel does not take waits in the transport.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recorderd.rtspserver.mount import HangUp
from recorderd.rtspserver.session import REASONS, RtspSession, SessionContext
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import InterleavedFrame, MessageDecoder, RtspRequest, RtspResponse

if TYPE_CHECKING:
    from recorderd.rtspserver.server import RtspServer

_MAX_BODY_BYTES = 64 * 1024
_MAX_RESPONSE_BACKLOG_BYTES = 1024 * 1024
_LINGER_S = 1.0


class RtspConnection(asyncio.Protocol):
    """Made by the server per accepted socket; an `Outlet` for the mount that is played."""

    def __init__(self, server: RtspServer, context: SessionContext) -> None:
        self._server = server
        self._session = RtspSession(context, self)
        self._decoder = MessageDecoder(_MAX_BODY_BYTES)
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._cause = "closed"
        self._ending = False
        self._linger: asyncio.TimerHandle | None = None
        self.opened_us = self.heard_us = server.clock.monotonic_us()

    @property
    def playing(self) -> bool:
        return self._session.playing

    @property
    def backlog_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = connected.fileno()
        if not self._server.admit(self):
            self.end("stopped")

    def data_received(self, data: bytes) -> None:
        if self._fd < 0:
            return
        self.heard_us = self._server.clock.monotonic_us()
        try:
            for message in self._decoder.feed(data):
                if isinstance(message, RtspRequest):
                    self._answer(self._session.handle(message, self.heard_us))
                elif isinstance(message, InterleavedFrame):
                    self._session.receiver_report(message.channel, message.data)
                if self._fd < 0:
                    return
        except HangUp:
            self.end("hang-up")
        except ProtocolError:
            self._answer(RtspResponse(400, REASONS[400]))
            self.end("protocol-error")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fd = -1
        if self._linger is not None:
            self._linger.cancel()
        self._server.forget(self)
        self._session.closed(self._cause)

    def send(self, parts: Sequence[bytes]) -> None:
        transport, fd = self._transport, self._fd
        if fd < 0 or transport is None:
            return
        if transport.get_write_buffer_size():
            transport.write(b"".join(parts))
            return
        try:
            taken = os.writev(fd, parts)
        except BlockingIOError:
            taken = 0
        except OSError:  # reset by the peer: the transport finds the same and calls connection_lost
            transport.abort()
            self._fd = -1
            return
        for part in parts:
            if taken >= len(part):
                taken -= len(part)
            else:
                transport.write(part[taken:])
                taken = 0

    def close(self) -> None:
        self.end("hang-up")

    def end(self, cause: str) -> None:
        """Close; the cause is told to the visit. What was sent so far still reaches a client that reads: the sending
        side ends first, and the socket goes when the client has closed or after a second. Closing at once would
        reset the connection and throw away what is on its way."""
        self._fd = -1
        if self._transport is None or self._ending:
            return
        self._ending, self._cause = True, cause
        if cause == "timeout":
            self._transport.abort()
            return
        self._transport.write_eof()
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def _answer(self, response: RtspResponse) -> None:
        if self._transport is None or self._fd < 0:
            return
        if self.backlog_bytes > _MAX_RESPONSE_BACKLOG_BYTES and not self.playing:
            self.end("protocol-error")  # asks without ever reading the answers
            return
        self._transport.write(response.encode())
