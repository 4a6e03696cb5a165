"""Live fan-out: every viewer of a stream gets the same unit objects, and none of them slows anybody down.

Law: `push` never waits and never raises. A viewer that falls behind loses whole stretches up to the next key;
one that stays behind is closed with a reason. Recording does not know that viewers exist. Subscribed to by the
servers, fed by one stream's recorder.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from recorderd.core.errors import NotFoundError
from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType

LIMIT_BYTES = 8 * 2**20
SKIPS_UNTIL_DROPPED = 8  # skips without once catching up
STUCK_US = 20_000_000  # nothing taken for so long while units wait

Item = tuple[MediaKind, AccessUnit]


@dataclass(slots=True)
class Budget:
    """How many bytes may wait for one reader, over all its subscriptions."""

    limit_bytes: int = LIMIT_BYTES
    used_bytes: int = 0


class LiveSubscription:
    """One viewer: an async iterator of (kind, unit), starting at the newest key held. It ends when closed;
    `reason` then says why ('unsubscribed', 'too-slow', 'camera-removed', 'server-stopping')."""

    def __init__(
        self,
        channel: LiveChannel,
        audio: bool,
        limit_bytes: int | Budget,
        metadata: bool = False,
        notify: Callable[[], None] | None = None,
    ) -> None:
        """`notify` is called when something begins to wait and when it ends: cheap, never raises; whoever gives it
        takes units with `pop`."""
        self._channel = channel
        self._audio, self._metadata, self._notify = audio, metadata, notify
        self._budget = limit_bytes if isinstance(limit_bytes, Budget) else Budget(limit_bytes)
        self._queue: deque[Item] = deque()
        self._bytes = 0
        self._waiting: asyncio.Future[None] | None = None
        self._skipping = False
        self._video = False
        self._skips_behind = 0  # since the queue last ran empty
        self._waiting_since_us: int | None = None
        self.people = 1  # who looks through this subscription
        self.skips = 0
        self.skipped_units = 0
        self.reason: str | None = None

    def __aiter__(self) -> LiveSubscription:
        return self

    async def __anext__(self) -> Item:
        while not self._queue:
            if self.reason is not None:
                raise StopAsyncIteration
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._take()

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is left out: the next unit may as well be handed over past the queue."""
        return not self._queue and not self._skipping and self.reason is None

    def pop(self) -> Item | None:
        """The next unit if one waits."""
        return self._take() if self._queue else None

    def take_ready(self) -> list[Item]:
        """Everything that waits, without waiting: lets a server write several units in one call."""
        items = list(self._queue)
        self._forget_waiting()
        self._waiting_since_us = None
        self._skips_behind = 0
        return items

    def push(self, kind: MediaKind, unit: AccessUnit) -> None:
        if kind is MediaKind.VIDEO:
            self._video = True
        elif not (self._audio if kind is MediaKind.AUDIO else self._metadata):
            return
        if self._skipping:
            if not (UnitType.DELTA < unit.type < UnitType.AUDIO):
                self.skipped_units += 1
                return
            self._skipping = False
        size = len(unit.data)
        budget = self._budget
        if budget.used_bytes and budget.used_bytes + size > budget.limit_bytes and not self._fall_behind(unit):
            return
        if self._waiting_since_us is None:
            self._waiting_since_us = unit.recv_mono_us
        self._queue.append((kind, unit))
        self._bytes += size
        budget.used_bytes += size
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if self._notify is not None and len(self._queue) == 1:
            self._notify()

    def close(self, reason: str = "unsubscribed") -> None:
        """End the iteration, at once when the viewer left or is too slow, else after what is queued; idempotent, the
        first reason stays."""
        if self.reason is None:
            self.reason = reason
            self._channel.forget(self)
            if reason in ("too-slow", "unsubscribed"):  # nobody takes it: its bytes are others' room again
                self._forget_waiting()
            if self._notify is not None:
                self._notify()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _take(self) -> Item:
        item = self._queue.popleft()
        size = len(item[1].data)
        self._bytes -= size
        self._budget.used_bytes -= size
        self._waiting_since_us = None
        if not self._queue:
            self._skips_behind = 0
        return item

    def _forget_waiting(self) -> None:
        self._queue.clear()
        self._budget.used_bytes -= self._bytes
        self._bytes = 0

    def _fall_behind(self, unit: AccessUnit) -> bool:
        """There is no room: what waits is stale. Begin again at this unit (True) if it is a key and what other
        subscriptions of the same reader hold leaves room, else at the next key."""
        self.skips += 1
        self._skips_behind += 1
        self.skipped_units += len(self._queue)
        self._forget_waiting()
        stuck_us = unit.recv_mono_us - (self._waiting_since_us or unit.recv_mono_us)
        if self._skips_behind >= SKIPS_UNTIL_DROPPED or stuck_us >= STUCK_US:
            self.close("too-slow")
            return False
        others = self._budget.used_bytes
        if (unit.is_key or not self._video) and (not others or others + len(unit.data) <= self._budget.limit_bytes):
            return True
        self.skipped_units += 1
        self._skipping = self._video
        return False


class LiveChannel:
    """The viewers of one stream. `viewers` is read on the hot path by the recorder that owns this channel."""

    def __init__(self) -> None:
        self.viewers: list[LiveSubscription] = []

    def subscribe(
        self,
        start: Iterable[Item],
        audio: bool,
        limit_bytes: int | Budget,
        metadata: bool = False,
        notify: Callable[[], None] | None = None,
    ) -> LiveSubscription:
        viewer = LiveSubscription(self, audio, limit_bytes, metadata, notify)
        for kind, unit in start:
            viewer.push(kind, unit)
        self.viewers = [*self.viewers, viewer]  # a new list: `push` may be walking the old one
        return viewer

    def people(self) -> int:
        """How many look at this stream; a subscription may serve many."""
        return sum(viewer.people for viewer in self.viewers)

    def forget(self, viewer: LiveSubscription) -> None:
        self.viewers = [other for other in self.viewers if other is not viewer]

    def close(self, reason: str) -> None:
        for viewer in list(self.viewers):
            viewer.close(reason)


class LiveSource(Protocol):
    """What a stream's recorder offers to viewers."""

    channel: LiveChannel

    def newest_gop(self) -> list[Item]: ...


class LiveHub:
    """Finds a stream to look at by camera and role."""

    def __init__(self) -> None:
        self._sources: dict[tuple[uuid.UUID, str], LiveSource] = {}

    def offer(self, camera: uuid.UUID, role: str, source: LiveSource) -> None:
        self._sources[camera, role] = source

    def withdraw(self, camera: uuid.UUID, role: str, reason: str) -> None:
        """The stream is gone: its viewers end with `reason`."""
        source = self._sources.pop((camera, role), None)
        if source is not None:
            source.channel.close(reason)

    def subscribe(
        self,
        camera: uuid.UUID,
        role: str = "main",
        *,
        audio: bool = True,
        limit_bytes: int | Budget = LIMIT_BYTES,
        metadata: bool = False,
        notify: Callable[[], None] | None = None,
    ) -> LiveSubscription:
        """Look at a stream from its newest key on. Raises NotFoundError. Close the subscription when done. A reader of
        several streams gives the same Budget for each."""
        source = self._source(camera, role)
        return source.channel.subscribe(source.newest_gop(), audio, limit_bytes, metadata, notify)

    def newest_gop(self, camera: uuid.UUID, role: str) -> list[Item]:
        """What a subscription made now would begin with. Raises NotFoundError."""
        return self._source(camera, role).newest_gop()

    def _source(self, camera: uuid.UUID, role: str) -> LiveSource:
        source = self._sources.get((camera, role))
        if source is None:
            raise NotFoundError(f"camera {camera} has no stream {role!r}", camera=str(camera), stream=role)
        return source

    def viewers(self, camera: uuid.UUID) -> int:
        """How many look at any stream of this camera."""
        return sum(s.channel.people() for (id, _), s in self._sources.items() if id == camera)
