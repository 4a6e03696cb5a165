"""One TCP connection of the RTSP server: bytes to the session, responses and media to the socket.

Law: moves bytes, decides nothing about RTSP. Media goes straight from the shared slices to the kernel with one
`writev` while nothing is queued: no copy, no join. What the kernel does not take waits in the transport. Requests are
answered one after the other: while an answer is being found, the next ones wait unread.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recorderd.rtspserver.later import Later
from recorderd.rtspserver.mount import HangUp
from recorderd.rtspserver.session import RtspSession, SessionContext
from recorderd.rtspserver.statuses import REASONS
from recorderd.rtspserver.udp import UdpMedia
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import InterleavedFrame, MessageDecoder, RtspRequest, RtspResponse

if TYPE_CHECKING:
    from recorderd.rtspserver.server import RtspServer

_MAX_BODY_BYTES = 64 * 1024
_MAX_REQUESTS = 100  # that came and wait: they are worked off in one turn of the loop
_MAX_RESPONSE_BACKLOG_BYTES = 1024 * 1024
_HIGH_BYTES, _LOW_BYTES = 256 * 1024, 64 * 1024  # where `drain` begins and ends to wait
_LINGER_S = 1.0
# Whoever does not read, or was told nothing yet, gets no farewell.
_AT_ONCE = frozenset({"timeout", "too-slow", "made-room", "too-many-connections", "too-many-of-address"})


class RtspConnection(asyncio.Protocol):
    """Made by the server per accepted socket; the `Wiring` of its session."""

    def __init__(self, server: RtspServer, context: SessionContext) -> None:
        self._server = server
        self._session = RtspSession(context, self)
        self._decoder = MessageDecoder(_MAX_BODY_BYTES)
        self._transport: asyncio.Transport | None = None
        self._udp: UdpMedia | None = None
        self._fd = -1
        self._cause = "closed"
        self._ending = self._asked = False  # asked: a whole request came
        self._linger: asyncio.TimerHandle | None = None
        self._requests: deque[RtspRequest] = deque()
        self._asking = False  # an answer is being found
        self._blocked = False
        self._drained: list[asyncio.Future[None]] = []
        self.peer = ""
        self.opened_us = self.heard_us = server.clock.monotonic_us()

    # -- what the server and the session see ----------------------------------------------------------------------

    @property
    def idle_since_us(self) -> int:
        """When (monotonic) it last did what keeps it: a whole request or a report; without a session only that it
        came, or that its session ended."""
        return self.heard_us if self._session.established else self.opened_us

    @property
    def established(self) -> bool:
        return self._session.established

    @property
    def yields(self) -> bool:
        """Has it asked nothing yet, or is it only waited for to leave?"""
        return self._ending or not self._asked

    @property
    def has_udp(self) -> bool:
        return self._server.udp is not None

    @property
    def backlog_bytes(self) -> int:
        if self._udp is not None:
            return self._udp.backlog_bytes
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def open_udp(self, track: int, client_ports: tuple[int, int]) -> tuple[int, int]:
        assert self._server.udp is not None
        assert self._transport is not None
        local = self._transport.get_extra_info("sockname")[0]
        pair = self._server.udp.open(local, self._transport.get_extra_info("peername"), client_ports)
        if self._udp is None:
            self._udp = UdpMedia(self._server.udp, self._report)
        self._udp.add(track, pair)
        return pair.ports

    def close_udp(self) -> None:
        udp, self._udp = self._udp, None
        if udp is not None:
            self._server.tally.ended["udp-unreachable"] += udp.unreachable
            udp.close()

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(_HIGH_BYTES, _LOW_BYTES)
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = connected.fileno()
        refusal = self._server.admit(self)
        if refusal:
            self.end(refusal)

    def data_received(self, data: bytes) -> None:
        if self._fd < 0:
            return
        try:
            for message in self._decoder.feed(data):
                if isinstance(message, RtspRequest):
                    self._asked = True
                    if len(set(message.headers.all("Content-Length"))) > 1:
                        raise ProtocolError("a request with two lengths: where the next one begins is anybody's guess")
                    self._requests.append(message)
                    if len(self._requests) > _MAX_REQUESTS:
                        raise ProtocolError("more requests at once than anybody means", highest=_MAX_REQUESTS)
                elif isinstance(message, InterleavedFrame):
                    self._report(message.channel, message.data)
        except ProtocolError:
            self._go_on()
            self._answer(RtspResponse(400, REASONS[400]))
            self.end("protocol-error")
            return
        self._go_on()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fd = -1
        if self._linger is not None:
            self._linger.cancel()
        self._server.forget(self, self._cause)
        self._session.closed(self._cause)
        self._wake()

    # -- media -------------------------------------------------------------------------------------------------------

    def send(self, parts: Sequence[bytes]) -> None:
        transport, fd = self._transport, self._fd
        if fd < 0 or transport is None:
            return
        if self._udp is not None:
            self._udp.send(parts)
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

    async def drain(self) -> None:
        if self._udp is not None:
            await self._udp.drain()
        elif self._blocked and self._fd >= 0:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(waiting)
            await waiting

    def close(self) -> None:
        self.end("hang-up")

    def drop(self, cause: str) -> None:
        self.end(cause)

    def end(self, cause: str) -> None:
        """Close; the cause is told to the visit. What was sent so far still reaches a client that reads: the sending
        side ends first, and the socket goes when the client has closed or after a second. Closing at once would
        reset the connection and throw away what is on its way."""
        self._fd = -1
        self._wake()
        if self._transport is None or self._ending:
            return
        self._ending, self._cause = True, cause
        self.close_udp()
        if cause in _AT_ONCE:
            self._transport.abort()
            return
        self._transport.resume_reading()
        self._transport.write_eof()
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def make_room(self) -> None:
        """Go at once: somebody else needs the place."""
        self.end("made-room")
        if self._transport is not None:
            self._transport.abort()

    # -- requests ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Answer what waits, as far as answers are known."""
        while self._requests and not self._asking and self._fd >= 0:
            request = self._requests.popleft()
            self.heard_us = self._server.clock.monotonic_us()
            was = self._session.established
            try:
                reply = self._session.handle(request, self.heard_us)
            except HangUp:
                self.end("hang-up")
                return
            if was and not self._session.established:
                self.opened_us = self.heard_us
            if isinstance(reply, Later):
                self._wait_for(reply)
                continue
            self._answer(reply)
            if reply.status == 505:  # another protocol: a browser would wait for ever
                self.end("protocol-error")

    def _wait_for(self, reply: Later[RtspResponse]) -> None:
        self._asking, late = True, False

        def answer(response: RtspResponse) -> None:
            self._asking = False
            self._answer(response)
            if late and self._transport is not None and self._fd >= 0:
                self._transport.resume_reading()
                self._go_on()

        reply.when(answer, lambda refusal: answer(refusal.response()))
        if self._asking and self._transport is not None:
            late = True
            self._transport.pause_reading()

    def _report(self, channel: int, data: bytes) -> None:
        self.heard_us = self._server.clock.monotonic_us()
        self._session.receiver_report(channel, data)

    def _answer(self, response: RtspResponse) -> None:
        if self._transport is None or self._fd < 0:
            return
        if self._transport.get_write_buffer_size() > _MAX_RESPONSE_BACKLOG_BYTES and not self._session.playing:
            self.end("protocol-error")  # asks without ever reading the answers
            return
        self._transport.write(response.encode())

    def _wake(self) -> None:
        waiting, self._drained = self._drained, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
