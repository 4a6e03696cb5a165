"""A `live` subscription: units as they arrive, to one viewer.

Law: what the viewer does not take in time is left out by the rules of the hub (`engine.live`). Nothing is waited for:
the share, the fan or the socket says when to send. Called by `requests`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mediadb.types import TrackKind
from recorderd.engine.storage import CommitLike
from recorderd.engine.stream import track_id
from recorderd.media.access_unit import AccessUnit, MediaKind
from recorderd.server.footage import stream_tracks
from recorderd.server.stream_tcp import fields
from recorderd.server.stream_tcp.request import Request
from recorderd.server.stream_tcp.subscription import Subscription
from recorderd.wire.stream.messages import Type

if TYPE_CHECKING:
    from recorderd.engine.views import CameraView
    from recorderd.server.stream_tcp.session import Session


class LiveFeed(Subscription):
    """Raises RecorderdError for a stream that the camera does not have. A camera that is away is no error."""

    def __init__(self, session: Session, request: Request, view: CameraView) -> None:
        super().__init__(session, request)
        head = request.head
        role = fields.text(head, "stream", "main")
        stream_tracks(view, role)
        audio, metadata, sealed = (fields.flag(head, name) for name in ("audio", "metadata", "sealed"))
        after_us = fields.optional_time_us(head, "after_us") or 0
        kinds = [MediaKind.VIDEO, *([MediaKind.AUDIO] if audio else []), *([MediaKind.METADATA] if metadata else [])]
        self._kinds = frozenset(kinds)
        self.straight = False  # units go past the queue: nothing waits, nothing was left out
        self.skipped = False  # the next unit bears SKIPPED
        self._skips = 0
        self._ending = False
        self._share = session.shared.live(view.id, role)
        start = [(kind, unit) for kind, unit in self._share.join(self) if unit.recv_us > after_us]
        self._units = self._share.channel.subscribe(start, audio, session.live_budget, metadata, self._notify)
        tracks = [track_id(view.id, role, TrackKind[kind.name]) for kind in kinds]
        self._seals = _Seals(self, view.storage, tracks) if sealed else None

    def wants(self, kind: MediaKind) -> bool:
        return kind in self._kinds

    def queue(self, kind: MediaKind, unit: AccessUnit) -> None:
        """Not past the queue, then through it."""
        if not self._ending:
            self.straight = False
            self._units.push(kind, unit)

    def pump(self) -> bool:
        """Send what waits, as far as credit and socket go."""
        units = self._units
        while self.can_send and not self._ending and (item := units.pop()) is not None:
            self._send(*item)
        if units.reason is not None and not self._ending and (self.outlet.clear or units.reason == "too-slow"):
            self.session.end(self.number, units.reason)
        self.straight = units.idle and not self._ending and not self.skipped
        return False

    def ready(self) -> None:
        self.pump()
        if self._seals is not None and self.outlet.clear:
            self._seals.tell()

    def close(self) -> None:
        self._ending = True
        self.straight = False
        self._units.close()
        self._share.leave(self)
        if self._seals is not None:
            self._seals.close()

    def _send(self, kind: MediaKind, unit: AccessUnit) -> None:
        head = self._share.heads.of(kind, unit)
        if head is None:
            return
        self.send_coding(head.coding)
        if self._units.skips != self._skips or self.skipped:
            self._skips, self.skipped = self._units.skips, False
            front = head.front_after_skip(self.number)
        else:
            front = head.front(self.number)
        if self.credit is not None:
            self.credit -= head.size
        self.outlet.send(front, unit.data)  # the config may wait there already

    def _notify(self) -> None:
        self.session.shared.fan.add(self)


class _Seals:
    """Says what became durable of some tracks; while the socket is full, the newest of each."""

    def __init__(self, feed: LiveFeed, storage: str, tracks: list[uuid.UUID]) -> None:
        self._feed = feed
        self._tracks = tracks
        deps = feed.session.shared.deps
        store = deps.stores.get(storage)
        self._run = {} if store is None else {"run": store.run}
        self._waiting: dict[uuid.UUID, dict[str, Any]] = {}
        self._unwatch: Callable[[], None] | None = deps.engine.listener(storage).watch(self._committed)

    def _committed(self, info: CommitLike) -> None:
        for track in self._tracks:
            commit = info.tracks.get(track)
            if commit is not None and commit.last_recv_us is not None:
                self._waiting[track] = {
                    "track": str(track), **self._run, "next_seq": commit.next_seq, "until_us": commit.last_recv_us,
                    "commit": info.number,
                }  # fmt: skip
        if self._feed.outlet.clear:
            self.tell()

    def tell(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for head in waiting.values():
            self._feed.tell(Type.SEALED, head)

    def close(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
