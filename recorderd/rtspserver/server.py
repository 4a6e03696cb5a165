"""The listening RTSP server: accepts connections, ends silent ones, closes all at the end.

Law: knows no mount and no media. One timer for all connections; no task of its own. What it refuses is counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from recorderd.core.clock import Clock
from recorderd.rtspserver.connection import RtspConnection
from recorderd.rtspserver.session import SessionContext, Tally
from recorderd.rtspserver.udp import UdpPorts

_SWEEP_S = 5.0
GRACE_S = 10


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """`connections` at once, and of one address; `setup_s`: a connection that has no session by then is ended."""

    connections: int = 10_000
    per_address: int = 10_000
    setup_s: int = 70


class RtspServer:
    """Serves `context.mounts`. Without `udp` only TCP interleaved is offered. Not restartable."""

    def __init__(
        self, context: SessionContext, clock: Clock, limits: ServerLimits = ServerLimits(), udp: UdpPorts | None = None
    ) -> None:
        self.clock = clock
        self.udp = udp
        self._context = context
        self._limits = limits
        self._connections: set[RtspConnection] = set()
        self._places: dict[RtspConnection, None] = {}  # those of them that were not cut, oldest first
        self._addresses: Counter[str] = Counter()
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

    @property
    def tally(self) -> Tally:
        return self._context.tally

    def admit(self, connection: RtspConnection) -> str:
        """Called by a new connection; gives why it may not stay, "" when it may. When all places are taken, the
        oldest connection that asked nothing yet makes room: a crowd of them shuts nobody out."""
        self._connections.add(connection)
        if self._server is None:
            return "stopped"
        peer = connection.peer
        if self._addresses[peer] >= self._limits.per_address and not self._make_room(peer):
            return "too-many-of-address"
        if len(self._places) >= self._limits.connections and not self._make_room(None):
            return "too-many-connections"
        self._places[connection] = None
        self._addresses[peer] += 1
        return ""

    def forget(self, connection: RtspConnection, cause: str) -> None:
        """Called by a connection that is gone."""
        self._connections.discard(connection)
        self.tally.ended[cause] += 1
        self._free(connection)
        if self._server is None and not self._connections:
            self._closed.set()

    def sweep(self, now_us: int) -> None:
        """End connections that were silent longer than the announced timeout, or that never came to a session."""
        limit_us = (self._context.timeout_s + GRACE_S) * 1_000_000
        for connection in list(self._connections):
            allowed_us = limit_us if connection.established else self._limits.setup_s * 1_000_000
            if now_us - connection.idle_since_us > allowed_us:
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

    def _make_room(self, peer: str | None) -> bool:
        """End the oldest connection (of an address) that yields; False when all have asked something."""
        for connection in self._places:
            if connection.yields and peer in (None, connection.peer):
                self._free(connection)  # now: that it has gone is told in a later turn of the loop
                connection.make_room()
                return True
        return False

    def _free(self, connection: RtspConnection) -> None:
        if connection in self._places:
            del self._places[connection]
            self._addresses[connection.peer] -= 1
            if self._addresses[connection.peer] <= 0:
                del self._addresses[connection.peer]

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._on_timer)

    def _on_timer(self) -> None:
        self.sweep(self.clock.monotonic_us())
        self._arm()
