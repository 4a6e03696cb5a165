"""One TCP connection to an RTSP camera: bytes between the transport and the sans-IO cores.

Law: owns the transport and the partial packet between two reads; knows no session and no policy. An answer is
matched to its request here; media goes to the receiver without leaving the callback. Inside an HTTP tunnel it is the
connection that receives, and writes go where `tunnel` says. Called by `rtsp_handshake`, `rtsp_tunnel`, `rtsp_stream`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from recorderd.core.errors import RecorderdError
from recorderd.driverapi.errors import DriverError, StreamLost
from recorderd.driverkit.ingest import shared_ingest
from recorderd.wire import http_tunnel
from recorderd.wire.errors import ProtocolError
from recorderd.wire.interleaved import InterleavedReceiver
from recorderd.wire.rtsp_message import (
    DOLLAR,
    Headers,
    InterleavedFrame,
    RtspRequest,
    RtspResponse,
    parse,
)

MAX_BODY_BYTES = 256 * 1024
Taken = Callable[[RtspResponse], None]
_HARMLESS = frozenset(("OPTIONS", "GET_PARAMETER", "SET_PARAMETER"))


class RtspConnection(asyncio.BufferedProtocol):
    """Use: dial with this as protocol, `exchange` requests, assign tracks to `receiver`, watch `closed`."""

    def __init__(self) -> None:
        self.receiver = InterleavedReceiver()
        self.bytes_received = 0
        self.closed = asyncio.Event()
        self.error: DriverError | None = None
        self._ingest = shared_ingest()
        self._view = self._ingest.view
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._answers: dict[int, tuple[asyncio.Future[RtspResponse], Taken | None]] = {}
        self._gathered_fd = -1
        self._write: Callable[[bytes], None] | None = None
        self._up: asyncio.Transport | None = None  # the other half of a tunnel
        self._http: asyncio.Future[int] | None = None  # the answer to a tunnel's GET is awaited

    @property
    def peer(self) -> str:
        """The camera's address."""
        return self._end_name("peername")

    @property
    def own_address(self) -> str:
        """This machine's address on the way to the camera."""
        return self._end_name("sockname")

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._write = self._transport.write

    def connection_lost(self, error: Exception | None) -> None:
        self._ungather()
        if self._up is not None:
            self._up.abort()
        self._end(StreamLost("the camera closed the connection", reason="closed"))

    def get_buffer(self, sizehint: int) -> memoryview:
        view, tail = self._view, self._tail
        if not tail:
            return view
        view[: len(tail)] = tail
        return view[len(tail) :]

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        view, end = self._view, len(self._tail) + nbytes
        if self._http is not None:
            self._tail = bytes(view[:end])
            self._take_http(self._http)
            return
        try:
            pos = self.receiver.receive(view, 0, end)
            if pos < end and view[pos] != DOLLAR:
                pos = self._consume(view, pos, end)
        except ProtocolError as error:
            self._tail = b""
            self.abort(StreamLost(f"unreadable data: {error.message}", reason="protocol"))
            return
        self._tail = bytes(view[pos:end]) if pos < end else b""

    def eof_received(self) -> bool:
        return False  # close the transport too

    # Called by the stream.

    async def exchange(self, request: RtspRequest, timeout_s: float, taken: Taken | None = None) -> RtspResponse:
        """Send a request and give its answer. Raises TimeoutError, or the error that ended the connection.

        `taken(answer)` runs before any byte behind the answer is looked at: media may follow in the same read
        and needs what the answer says. What it raises is raised here.
        """
        if self._write is None or self.closed.is_set():
            raise self.error or StreamLost("the connection is closed", reason="closed")
        answer: asyncio.Future[RtspResponse] = asyncio.get_running_loop().create_future()
        key = request.cseq or 0
        self._answers[key] = (answer, taken)
        try:
            self._write(request.encode())
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            self._answers.pop(key, None)

    def send_control(self, channel: int, packet: bytes) -> None:
        """Send RTCP; nothing is lost if the connection just closed."""
        if self._write is not None and not self.closed.is_set():
            self._write(InterleavedFrame(channel, packet).encode())

    async def ask_http(self, head: bytes, timeout_s: float) -> int:
        """Send the head of a tunnel's GET; gives the answer's status. What follows it is RTSP."""
        if self._write is None or self.closed.is_set():
            raise self.error or StreamLost("the connection is closed", reason="closed")
        self._http = asyncio.get_running_loop().create_future()
        self._write(head)
        async with asyncio.timeout(timeout_s):
            return await self._http

    def tunnel(self, up: asyncio.Transport) -> None:
        """From now on write base64 to `up`, which ends with this connection."""
        self._up = up
        self._write = lambda data: up.write(http_tunnel.encode(data))

    def gather(self, tick_us: int) -> None:
        """Read in shared ticks of `tick_us`, or at once when it is 0."""
        if not tick_us:
            if self._gathered_fd >= 0:
                self._ungather()
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.resume_reading()
            return
        self._ingest.tick_us = tick_us
        if self._gathered_fd < 0 and self._transport is not None and not self._transport.is_closing():
            socket = self._transport.get_extra_info("socket")
            if socket is not None and self._transport.get_extra_info("ssl_object") is None:
                self._transport.pause_reading()
                self._gathered_fd = socket.fileno()
                self._ingest.gather(self._gathered_fd, partial(self._ingest.read_stream, self._gathered_fd, self))

    def read_failed(self) -> None:
        """The ticker met the end or an error: the transport reads again and reports it."""
        self.gather(0)

    def abort(self, error: DriverError) -> None:
        """Close now; `error` is what everybody who waits gets."""
        self._ungather()
        self._end(error)
        if self._transport is not None:
            self._transport.abort()
        if self._up is not None:
            self._up.abort()

    def close(self) -> None:
        """Close after what was written went out."""
        self._ungather()
        if self._transport is not None:
            self._transport.close()
        if self._up is not None:
            self._up.close()

    def _take_http(self, answer: asyncio.Future[int]) -> None:
        try:
            found = http_tunnel.answer_end(self._tail, 0, len(self._tail))
        except ProtocolError as error:
            self.abort(StreamLost(error.message, reason="protocol"))
            return
        if found is None:
            return
        self._http, tail, self._tail = None, self._tail[found[1] :], b""
        if not answer.done():
            answer.set_result(found[0])
        if tail:
            self._view[: len(tail)] = tail
            self.bytes_received -= len(tail)
            self.buffer_updated(len(tail))

    def _end_name(self, which: str) -> str:
        name = self._transport.get_extra_info(which) if self._transport is not None else None
        return str(name[0]) if name else ""

    def _consume(self, view: memoryview, pos: int, end: int) -> int:
        """Text begins at `pos`; media may follow it."""
        while pos < end and view[pos] != DOLLAR:
            message, after = parse(view, pos, end, MAX_BODY_BYTES)
            if message is None:
                return after
            pos = after
            if isinstance(message, RtspResponse):
                self._answered(message)
            elif isinstance(message, RtspRequest):
                self._asked(message)
            pos = self.receiver.receive(view, pos, end)
        return pos

    def _answered(self, response: RtspResponse) -> None:
        key = response.cseq
        if key is None:
            key = next(iter(self._answers), None)  # a camera without CSeq answers in order
        answer, taken = self._answers.get(key if key is not None else -1, (None, None))
        if answer is None or answer.done():
            return
        try:
            if taken is not None:
                taken(response)
        except RecorderdError as error:
            answer.set_exception(error)
        else:
            answer.set_result(response)

    def _asked(self, request: RtspRequest) -> None:
        """The camera asks: liveness is granted, everything else declined."""
        if self._write is None:
            return
        known = request.method in _HARMLESS
        headers = Headers([("CSeq", request.headers.get("CSeq"))])
        status, reason = (200, "OK") if known else (501, "Not Implemented")
        self._write(RtspResponse(status, reason, headers).encode())

    def _ungather(self) -> None:
        if self._gathered_fd >= 0:
            fd, self._gathered_fd = self._gathered_fd, -1
            self._ingest.release(fd)

    def _end(self, error: DriverError) -> None:
        if self.closed.is_set():
            return
        self.error = error
        self.closed.set()
        waiting: list[asyncio.Future[RtspResponse] | asyncio.Future[int]] = [one for one, _ in self._answers.values()]
        if self._http is not None:
            waiting.append(self._http)
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)
