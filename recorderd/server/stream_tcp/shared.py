"""What all connections of the stream API have in common.

Law: references, and the one turn in which live units are sent to all viewers that wait for them: no task wakes up per
viewer and frame, and recording goes on between two turns. Made by the listener.
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mediadb.types import TrackKind
from recorderd.aio.supervisor import Supervisor
from recorderd.engine.stream import track_id
from recorderd.server.deps import ServerDeps
from recorderd.server.stream_tcp.heads import Codings, LiveStream
from recorderd.server.stream_tcp.limits import StreamLimits
from recorderd.wire.stream.messages import Type

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.connection import Connection
    from recorderd.server.stream_tcp.requests import MessageSpec

TURN = 128  # viewers served before the loop gets its turn


class Viewer(Protocol):
    """Sends what waits for it, as far as its peer takes it."""

    def pump(self) -> None: ...


class Fan:
    """Viewers for whom something began to wait."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: deque[Viewer] = deque()

    def add(self, viewer: Viewer) -> None:
        if not self._due:
            self._loop.call_soon(self._turn)
        self._due.append(viewer)

    def _turn(self) -> None:
        due = self._due
        for _ in range(min(TURN, len(due))):
            due.popleft().pump()
        if due:
            self._loop.call_soon(self._turn)


@dataclass(eq=False)
class Shared:
    """`tree` owns every task of the stream API."""

    deps: ServerDeps
    limits: StreamLimits
    tree: Supervisor
    messages: Mapping[Type, MessageSpec]
    fan: Fan = field(default_factory=Fan)
    codings: Codings = field(default_factory=Codings)
    connections: set[Connection] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)  # set when the last connection has gone
    _streams: weakref.WeakValueDictionary[tuple[uuid.UUID, str], LiveStream] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    def live_stream(self, camera: uuid.UUID, role: str) -> LiveStream:
        """The heads of a stream's units: the same object for all its viewers."""
        stream = self._streams.get((camera, role))
        if stream is None:

            def track_of(kind: TrackKind) -> uuid.UUID:
                return track_id(camera, role, kind)

            stream = self._streams[camera, role] = LiveStream(self.codings, track_of, role)
        return stream
