"""A `live` subscription: units as they arrive, to one viewer.

Law: what the viewer does not take in time is left out by the hub (`engine.live`), never queued here. Nothing is waited
for: the fan or the socket says when to send. Called by `requests`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mediadb.types import TrackKind
from recorderd.engine.storage import CommitLike
from recorderd.engine.stream import track_id
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
        head, shared = request.head, session.shared
        role = fields.text(head, "stream", "main")
        stream_tracks(view, role)
        audio, metadata, sealed = (fields.flag(head, name) for name in ("audio", "metadata", "sealed"))
        self._after_us = fields.optional_time_us(head, "after_us")
        self._stream = shared.live_stream(view.id, role)
        self._ending = False
        self._units = shared.deps.engine.live.subscribe(
            view.id, role, audio=audio, metadata=metadata, limit_bytes=session.live_budget, notify=self._notify
        )
        self._skips = 0
        self._backlog = True  # until the first unit later than `after_us`
        kinds = [TrackKind.VIDEO, *([TrackKind.AUDIO] if audio else []), *([TrackKind.METADATA] if metadata else [])]
        self._seals = _Seals(self, view, [(role, kind) for kind in kinds]) if sealed else None

    def pump(self) -> None:
        """Send what waits, as far as credit and socket go."""
        if self._ending:
            return
        units, outlet = self._units, self._outlet
        while outlet.clear and (self.credit is None or self.credit > 0):
            item = units.pop()
            if item is None:
                break
            kind, unit = item
            if self._backlog and self._after_us is not None:
                if unit.recv_us <= self._after_us:
                    continue
                self._backlog = False
            head = self._stream.head(kind, unit)
            if head is None:
                continue
            if head.coding.number not in self._codings:
                self.send_coding(head.coding)
            skipped = units.skips != self._skips
            if skipped:
                self._skips = units.skips
            if self.credit is not None:
                self.credit -= head.size
            outlet.send(head.front(self.number, skipped), unit.data)
        if units.reason is not None and (outlet.clear or units.reason == "too-slow"):
            self.session.end(self.number, units.reason)

    def ready(self) -> None:
        self.pump()
        if self._seals is not None and self._outlet.clear:
            self._seals.tell()

    def close(self) -> None:
        self._ending = True
        self._units.close()
        if self._seals is not None:
            self._seals.close()

    def _notify(self) -> None:
        self.session.shared.fan.add(self)


class _Seals:
    """Says what became durable of some tracks; while the socket is full, the newest of each."""

    def __init__(self, feed: LiveFeed, view: CameraView, tracks: list[tuple[str, TrackKind]]) -> None:
        self._feed = feed
        self._tracks = [track_id(view.id, role, kind) for role, kind in tracks]
        deps = feed.session.shared.deps
        self._store = deps.stores.get(view.storage)
        self._waiting: dict[object, dict[str, Any]] = {}
        self._unwatch: Callable[[], None] | None = deps.engine.listener(view.storage).watch(self._committed)

    def _committed(self, info: CommitLike) -> None:
        for track in self._tracks:
            commit = info.tracks.get(track)
            if commit is not None and commit.last_recv_us is not None:
                self._waiting[track] = {
                    "track": str(track), "next_seq": commit.next_seq, "until_us": commit.last_recv_us,
                    "commit": info.number, **({} if self._store is None else {"run": self._store.run}),
                }  # fmt: skip
        if self._feed.session.link.outlet.clear:
            self.tell()

    def tell(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for head in waiting.values():
            self._feed.tell(Type.SEALED, head)

    def close(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
