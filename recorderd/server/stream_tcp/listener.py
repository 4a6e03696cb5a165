"""The TCP port of the stream API.

Law: accepts, limits, sweeps, stops; what is said on a connection is `session`'s business. Called by the composition
root.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

import structlog

from recorderd.core.errors import UsageError
from recorderd.server.deps import ServerDeps
from recorderd.server.stream_tcp.connection import Connection
from recorderd.server.stream_tcp.limits import StreamLimits
from recorderd.server.stream_tcp.requests import MESSAGES, check_messages
from recorderd.server.stream_tcp.shared import Shared

BACKLOG = 512
SWEEP_S = 1.0
STOP_S = 1.0  # goodbyes may take so long
REFUSED_AT_ONCE = 64  # connections beyond the limit that are told why; more are closed without a word
NO_FILES_S = 1.0  # no accepting for so long when the process has no file left

_log = structlog.get_logger("stream")


class ListenFailed(UsageError):
    """The address cannot be used."""

    code = "listen-failed"


class StreamServer:
    """`start`, then `addresses`, then `stop`."""

    def __init__(self, deps: ServerDeps, limits: StreamLimits | None = None) -> None:
        """Raises MessageTableError when a message declares no Right."""
        check_messages(MESSAGES)
        self._deps = deps
        self._limits = limits or StreamLimits()
        self._sockets: list[socket.socket] = []
        self._shared: Shared | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(host, port) actually bound: port 0 became a real one."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    def gauges(self) -> Mapping[str, float]:
        """Figures for /metrics."""
        shared = self._shared
        if shared is None:
            return {}
        held, counts = shared.connections, shared.counts
        return {
            "stream_connections": float(len(held)),
            "stream_subscriptions": float(sum(one.session.subscriptions for one in held)),
            "stream_sent_bytes_total": float(counts.sent_bytes + sum(one.outlet.sent_bytes for one in held)),
            "stream_dropped_viewers_total": float(counts.dropped),
            "stream_refused_total": float(counts.refused),
        }

    async def start(self, listen: tuple[str, int]) -> None:
        """Bind and accept. Raises ListenFailed."""
        loop = asyncio.get_running_loop()
        tree = self._deps.supervisor.child("stream api", together=True)
        self._shared = Shared(self._deps, self._limits, tree, MESSAGES)
        try:
            found = await loop.getaddrinfo(*listen, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_bound(family, address))
        except OSError as error:
            await self.stop()
            host, port = listen
            raise ListenFailed(
                f"cannot listen on {host}:{port}: {error.strerror or error}", host=host, port=port
            ) from error
        for sock in self._sockets:
            loop.add_reader(sock, self._accept, sock)
        tree.start("sweep", self._sweep_for_ever())

    async def stop(self) -> None:
        """Stop accepting, say goodbye to everybody, and let go within STOP_S."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()
        shared, self._shared = self._shared, None
        if shared is None:
            return
        for connection in list(shared.connections):
            connection.close("server-stopping", "connect again later")
        if shared.connections:
            shared.empty.clear()
            try:
                await asyncio.wait_for(shared.empty.wait(), STOP_S)
            except TimeoutError:
                pass  # they had their time
        for connection in list(shared.connections):
            connection.abort()
        await shared.tree.stop()

    def sweep(self) -> None:
        """End what takes too long; called once a second."""
        if self._shared is not None:
            now_us = self._deps.clock.monotonic_us()
            for connection in list(self._shared.connections):
                connection.sweep(now_us)
            untold = self._shared.counts.untold
            if untold:  # one line for a crowd, which would hold up everybody with a line each
                _log.info("peers-refused", reasons=dict(untold))
                untold.clear()

    # -- inside ----------------------------------------------------------------------------------------------

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("accept-failed", error=str(error))
                self._rest(listening)
                return
            self._welcome(sock, address[0])

    def _rest(self, listening: socket.socket) -> None:
        """Out of files: look again in a moment instead of in every turn of the loop."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)

        def again() -> None:
            if listening in self._sockets:
                loop.add_reader(listening, self._accept, listening)

        loop.call_later(NO_FILES_S, again)

    def _welcome(self, sock: socket.socket, peer: str) -> None:
        shared = self._shared
        highest = self._limits.connections
        if shared is None:
            sock.close()
            return
        placed = self._make_room(shared)
        if len(shared.connections) >= highest + REFUSED_AT_ONCE:
            sock.close()
            return
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError:
            sock.close()  # it has gone already
            return
        connection = Connection(shared, sock, peer)
        shared.add(connection)
        if not placed:
            connection.close("too-many-connections", f"at most {highest} connections are held")

    def _make_room(self, shared: Shared) -> bool:
        """Whether a newcomer has a place. For want of one the oldest goes that is only waited for to leave, or else
        the oldest that has not said hello: a crowd of them shuts nobody out."""
        highest = self._limits.connections
        if len(shared.connections) < highest:
            return True
        yielding = shared.leaving if len(shared.connections) - len(shared.leaving) < highest else shared.silent
        if not yielding:
            return False
        oldest = next(iter(yielding))
        oldest.close("too-many-connections", "it had not said hello, and made room")
        oldest.abort()
        return True


def _bound(family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
