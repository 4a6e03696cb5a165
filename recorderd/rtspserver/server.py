"""The listening RTSP server: accepts connections, ends silent ones, closes all at the end.

Law: knows no mount and no media. One timer for all connections; no task of its own.
"""

from __future__ import annotations

import asyncio

from recorderd.core.clock import Clock
from recorderd.rtspserver.connection import RtspConnection
from recorderd.rtspserver.session import SessionContext

_SWEEP_S = 5.0
_GRACE_S = 10


class RtspServer:
    """Serves `context.mounts`. Not restartable."""

    def __init__(self, context: SessionContext, clock: Clock, max_connections: int = 10_000) -> None:
        self.clock = clock
        self._context = context
        self._max_connections = max_connections
        self._connections: set[RtspConnection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port (useful with port 0). Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: RtspConnection(self, self._context), host, port, backlog=1024)
        self._arm()
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    @property
    def connections(self) -> int:
        return len(self._connections)

    def admit(self, connection: RtspConnection) -> bool:
        """Called by a new connection; False when there are too many or the server is stopping."""
        self._connections.add(connection)
        return self._server is not None and len(self._connections) <= self._max_connections

    def forget(self, connection: RtspConnection) -> None:
        """Called by a connection that is gone."""
        self._connections.discard(connection)
        if self._server is None and not self._connections:
            self._closed.set()

    def sweep(self, now_us: int) -> None:
        """End connections that were silent longer than the announced timeout, or that never came to PLAY in it."""
        limit_us = (self._context.timeout_s + _GRACE_S) * 1_000_000
        for connection in list(self._connections):
            since_us = connection.heard_us if connection.playing else connection.opened_us
            if now_us - since_us > limit_us:
                connection.end("timeout")

    async def stop(self) -> None:
        """Stop listening, close every connection and wait until each visit was told."""
        server, self._server = self._server, None
        if self._timer is not None:
            self._timer.cancel()
        if server is not None:
            server.close()
        for connection in list(self._connections):
            connection.end("stopped")
        if self._connections:
            await self._closed.wait()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._on_timer)

    def _on_timer(self) -> None:
        self.sweep(self.clock.monotonic_us())
        self._arm()
