"""What all connections of the stream API have in common.

Law: references only. Made by the listener.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recorderd.aio.supervisor import Supervisor
from recorderd.server.deps import ServerDeps
from recorderd.server.stream_tcp.heads import Codings, LiveHeads
from recorderd.server.stream_tcp.limits import StreamLimits
from recorderd.server.stream_tcp.live_share import Fan, LiveShare
from recorderd.wire.stream.messages import Type

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.connection import Connection
    from recorderd.server.stream_tcp.requests import MessageSpec


@dataclass(slots=True)
class Counts:
    """Since the start. `sent_bytes`: of connections that are over."""

    sent_bytes: int = 0
    dropped: int = 0  # live viewers that were too slow
    refused: int = 0  # connections that were said goodbye to for what they did, or for want of room
    untold: Counter[str] = field(default_factory=Counter)  # of them by reason, not in the log yet

    def refuse(self, reason: str) -> None:
        self.refused += 1
        self.untold[reason] += 1


@dataclass(eq=False)
class Shared:
    """`tree` owns every task of the stream API."""

    deps: ServerDeps
    limits: StreamLimits
    tree: Supervisor
    messages: Mapping[Type, MessageSpec]
    fan: Fan = field(default_factory=Fan)
    codings: Codings = field(default_factory=Codings)
    counts: Counts = field(default_factory=Counts)
    connections: set[Connection] = field(default_factory=set)
    silent: dict[Connection, None] = field(default_factory=dict)  # those that have not said hello, oldest first
    leaving: dict[Connection, None] = field(default_factory=dict)  # those that were said goodbye to, oldest first
    empty: asyncio.Event = field(default_factory=asyncio.Event)  # set when the last connection has gone
    _live: dict[tuple[uuid.UUID, str], LiveShare] = field(default_factory=dict)

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.silent[connection] = None

    def leaves(self, connection: Connection) -> None:
        """It was said goodbye to."""
        self.silent.pop(connection, None)
        self.leaving[connection] = None

    def forget(self, connection: Connection) -> None:
        self.silent.pop(connection, None)
        self.leaving.pop(connection, None)
        if connection in self.connections:
            self.connections.discard(connection)
            self.counts.sent_bytes += connection.outlet.sent_bytes
        if not self.connections:
            self.empty.set()

    def live(self, camera: uuid.UUID, role: str) -> LiveShare:
        """What all viewers of a stream share; begun with the first of them. Raises NotFoundError."""
        share = self._live.get((camera, role))
        if share is None or share.ended:
            heads = LiveHeads(self.codings, camera, role)
            share = LiveShare(self.deps.engine.live, (camera, role), heads, self.fan, self._live_over)
            self._live[camera, role] = share
        return share

    def _live_over(self, share: LiveShare) -> None:
        if self._live.get(share.stream) is share:
            del self._live[share.stream]
