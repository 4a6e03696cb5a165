"""A stream's units to all its viewers, in one go.

Law: one subscription of the live hub per stream, whoever looks; no task wakes up per viewer and frame. A viewer whose
socket is free gets the unit at once, any other has it queued by the rules of the hub (`engine.live`). Sending is done
in turns of a bounded number of viewers, after recording has taken the unit. Loop thread only. Called by `live_feed`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from recorderd.engine.live import LiveChannel, LiveHub
from recorderd.media.access_unit import AccessUnit, MediaKind
from recorderd.server.stream_tcp.heads import LiveHead, LiveHeads

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.live_feed import LiveFeed

TURN = 128  # viewers served before the loop gets its turn
PUMP_BYTES = 16 * 2**20  # of one stream, while the loop is busy elsewhere


class Due(Protocol):
    """Sends what waits for it; True when it needs another turn."""

    def pump(self) -> bool: ...


class Fan:
    """Those for whom something began to wait, one turn of the loop after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: deque[Due] = deque()
        self._running = False

    def add(self, member: Due) -> None:
        if not self._running:
            self._running = True
            self._loop.call_soon(self._turn)
        self._due.append(member)

    def _turn(self) -> None:
        due = self._due
        for _ in range(min(TURN, len(due))):
            member = due.popleft()
            if member.pump():
                due.appendleft(member)
                break
        self._running = bool(due)
        if due:
            self._loop.call_soon(self._turn)


class LiveShare:
    """`over` is called when the last viewer left or the stream ended: who comes then needs a new one."""

    def __init__(
        self,
        hub: LiveHub,
        stream: tuple[uuid.UUID, str],
        heads: LiveHeads,
        fan: Fan,
        over: Callable[[LiveShare], None],
    ) -> None:
        """Raises NotFoundError."""
        self._hub, self.stream, self.heads, self._fan, self._over = hub, stream, heads, fan, over
        self.channel = LiveChannel()  # the queues of the viewers
        self._viewers: list[LiveFeed] = []
        self._at: tuple[MediaKind, AccessUnit, LiveHead, Sequence[LiveFeed], int] | None = None  # of a turn cut short
        self._skips = 0
        self._source = hub.subscribe(*stream, audio=True, metadata=True, limit_bytes=PUMP_BYTES, notify=self._notify)
        self._source.take_ready()  # every viewer gets the newest GOP by itself

    @property
    def ended(self) -> bool:
        return self._source.reason is not None

    def join(self, feed: LiveFeed) -> list[tuple[MediaKind, AccessUnit]]:
        """From now on `feed` gets every unit; what it begins with."""
        while self.pump():
            pass  # what the others still wait for is part of the newest GOP
        start = self._hub.newest_gop(*self.stream)
        self._viewers = [*self._viewers, feed]  # a new list: a turn may be walking the old one
        self._source.people = len(self._viewers)
        return start

    def leave(self, feed: LiveFeed) -> None:
        """Idempotent."""
        self._viewers = [other for other in self._viewers if other is not feed]
        self._source.people = len(self._viewers)
        if not self._viewers:
            self._source.close()
            self._over(self)

    def pump(self) -> bool:
        """One unit to at most TURN viewers; True when there is more to do."""
        if self._at is None and not self._next():
            return False
        assert self._at is not None
        kind, unit, head, viewers, low = self._at
        high = low + TURN
        self._at = (kind, unit, head, viewers, high) if high < len(viewers) else None
        _send(kind, unit, head, viewers[low:high])
        return self._at is not None or not self._source.idle

    def _next(self) -> bool:
        while (item := self._source.pop()) is not None:
            kind, unit = item
            if self._source.skips != self._skips:
                self._skips = self._source.skips
                for viewer in self._viewers:
                    viewer.skipped = True
            head = self.heads.of(kind, unit)
            if head is not None and self._viewers:
                self._at = kind, unit, head, self._viewers, 0
                return True
        if self._source.reason is not None:
            self._over(self)
            self.channel.close(self._source.reason)
        return False

    def _notify(self) -> None:
        self._fan.add(self)


def _send(kind: MediaKind, unit: AccessUnit, head: LiveHead, viewers: Sequence[LiveFeed]) -> None:
    """The hot path of fan-out: once per viewer and unit."""
    data, coding = unit.data, head.coding.number
    size = len(head.front(1)) + len(data)
    video = kind is MediaKind.VIDEO
    for viewer in viewers:
        if viewer.straight and viewer.outlet.clear and (video or viewer.wants(kind)) and coding in viewer.codings:
            credit = viewer.credit
            if credit is None:
                viewer.outlet.send_pair(head.front(viewer.number), data, size)
                continue
            if credit > 0:
                viewer.credit = credit - head.size
                viewer.outlet.send_pair(head.front(viewer.number), data, size)
                continue
        viewer.queue(kind, unit)
