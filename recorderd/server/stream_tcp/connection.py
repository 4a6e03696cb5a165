"""One socket: bytes in to messages, messages out to bytes, and its end.

Law: the only place of the stream API that reads sockets. It reads no further while answers wait to be taken or too many
questions are open, so a peer that does not listen is not listened to; in one turn of the loop it works off a bounded
number of messages. What a message means is `session`'s business. Loop thread only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from recorderd.server.stream_tcp.outlet import Outlet, Piece
from recorderd.server.stream_tcp.session import Session
from recorderd.wire.errors import ProtocolError
from recorderd.wire.stream.codec import Decoder, encode
from recorderd.wire.stream.messages import MAX_CLIENT_BYTES, Type

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.shared import Shared

_TURN = 64  # messages worked off before the loop gets its turn
_DISCARD_BYTES = 64 * 1024

_log = structlog.get_logger("stream")


class Connection:
    """Made by the listener for an accepted, non-blocking socket."""

    def __init__(self, shared: Shared, sock: socket.socket, peer: str) -> None:
        self._shared = shared
        self._sock = sock
        self.peer = peer  # its address
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(MAX_CLIENT_BYTES)
        self._reading = self._draining = self._closed = False
        self._owed_bytes = 0
        self._goodbye_us: int | None = None  # since when it is only waited for the end
        self.heard_us = shared.deps.clock.monotonic_us()
        self.outlet = Outlet(sock, self._on_clear, self.abort)
        self.session = Session(shared, self)
        self._read(True)

    # -- out -------------------------------------------------------------------------------------------------

    def send(self, *pieces: Piece) -> None:
        """A media message, its head first: only while `outlet.clear`."""
        self.outlet.send(*pieces)

    def tell(self, kind: Type, subscription: int, head: Mapping[str, Any], payload: Piece = b"") -> None:
        """Anything else. What the peer does not take is counted, and nothing more is read from it."""
        message = encode(kind, subscription, head, payload)
        if not self.outlet.clear:
            self._owed_bytes += len(message)
        self.outlet.send(message)

    def _on_clear(self) -> None:
        self._owed_bytes = 0
        if self._goodbye_us is not None:
            self._half_close()
            return
        self.session.ready()
        self.resume()

    # -- in --------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Something that held reading up may be over."""
        if not self._reading and not self._draining and not self._held and self._goodbye_us is None:
            self._draining = True
            self._loop.call_soon(self._drain)

    @property
    def _held(self) -> bool:
        return self._owed_bytes > self._shared.limits.owed_bytes or self.session.questioned

    def _read(self, on: bool) -> None:
        if on is self._reading or self._closed:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._sock, self._readable)
        else:
            self._loop.remove_reader(self._sock)

    def _readable(self) -> None:
        try:
            count = self._sock.recv_into(self._decoder.buffer())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if count == 0:
            self.abort()
            return
        self._decoder.filled(count)
        self._drain()

    def _drain(self) -> None:
        """Work off what was read; read on when nothing is left."""
        self._draining = False
        for _ in range(_TURN):
            if self._goodbye_us is not None or self._closed:
                return
            if self._held:
                self._read(False)
                return
            try:
                message = self._decoder.next_message()
            except ProtocolError as error:
                self.close("protocol-error", error.message)
                return
            if message is None:
                self._read(True)
                return
            self.heard_us = self._shared.deps.clock.monotonic_us()
            self.session.message(message)
        self._read(False)
        self._draining = True
        self._loop.call_soon(self._drain)

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self, reason: str, message: str = "") -> None:
        """Say why, let what waits go out, and wait a little for the peer to close; idempotent."""
        if self._goodbye_us is not None or self._closed:
            return
        if reason not in ("goodbye", "server-stopping"):
            _log.debug("peer-refused", reason=reason, detail=message)
            self._shared.counts.refuse(reason)
        self._shared.leaves(self)
        self.session.close()
        self._goodbye_us = self._shared.deps.clock.monotonic_us()
        self._read(False)
        self.outlet.send(encode(Type.SERVER_BYE, 0, {"reason": reason, "message": message[:1000]}))
        if self._closed:
            return
        # What still comes in is read and dropped: closing over unread bytes would throw away the goodbye as well.
        self._loop.add_reader(self._sock, self._discard)
        if self.outlet.clear:
            self._half_close()

    def abort(self) -> None:
        """Let go at once; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self.outlet.close()
        self._sock.close()
        self.session.close()
        self._shared.forget(self)

    def sweep(self, now_us: int) -> None:
        """Once a second: what takes too long ends."""
        limits = self._shared.limits
        if self._goodbye_us is not None:
            if now_us - self._goodbye_us > limits.linger_us:
                self.abort()
        elif not self.session.opened:
            if now_us - self.heard_us > limits.hello_us:
                self.close("hello-timeout", "no whole hello came")
        elif self.session.questioned:
            self.heard_us = now_us  # it waits for us
        elif now_us - self.heard_us > limits.idle_us:
            self.close("idle", "no whole message came; send `ping`")

    def _half_close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def _discard(self) -> None:
        try:
            if self._sock.recv(_DISCARD_BYTES):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass  # the peer has reset the connection: the same end
        self.abort()
