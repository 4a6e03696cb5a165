"""What a WebSocket can be told to send: live media, events, camera states, coverage.

Law: a feed sends through its session and waits only there. Each ends by returning a reason word or by being cancelled;
`close` lets go of what it held. Feeds know nothing of each other. Called by `ws_session`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from mediadb.types import Interval
from recorderd.core.rights import Principal
from recorderd.engine.views import CameraView
from recorderd.media.access_unit import MediaKind
from recorderd.server.deps import ServerDeps
from recorderd.server.footage import main_track, store_of, stream_tracks
from recorderd.server.http.fragments import Init
from recorderd.server.http.live_share import FragmentViewer, LiveFragment, LiveShares, ViewerClock
from recorderd.server.http.ws_protocol import MediaFlag, MediaType, media_head
from recorderd.server.shapes import camera_json, event_json, interval_json
from recorderd.server.timespan import show_time

if TYPE_CHECKING:
    from recorderd.server.http.ws_session import Session

LIMIT_BYTES = 4 * 2**20
STATE_EVERY_S = 1.0
EVENT_PAGE = 500
_KEY, _DISCONTINUITY, _SKIPPED = (
    int(MediaFlag(1 << bit)) for bit in range(3)
)  # plain numbers: packed for each frame and viewer
_VIDEO, _AUDIO = int(MediaType.VIDEO), int(MediaType.AUDIO)
MAX_INTERVALS = 2_000  # of one camera in one message; the oldest are left out and `from` says so


class Feed(Protocol):
    """One stream of messages."""

    async def run(self, session: Session, number: int) -> str:
        """Send until there is no more; returns why it ended."""
        ...

    def close(self) -> None:
        """Let go; idempotent."""
        ...


class LiveFeed:
    """One camera's stream: fragments that all its viewers share, each behind a head of this socket's own."""

    def __init__(self, viewer: FragmentViewer) -> None:
        self._viewer = viewer
        self._clock = ViewerClock()
        self._init: Init | None = None
        self._sequence = 0
        self._skips = 0

    @classmethod
    def open(cls, shares: LiveShares, view: CameraView, role: str, audio: bool) -> LiveFeed:
        """Raises Refusal (not-found) for a stream that the camera does not have. A camera that is away is no
        error: its media follow when it comes back."""
        stream_tracks(view, role)
        return cls(shares.view(view, role, audio, LIMIT_BYTES))

    async def run(self, session: Session, number: int) -> str:
        self._viewer.sink = lambda part: self._send_now(session, number, part)
        while (part := await self._viewer.next()) is not None:
            if part.init is not self._init:
                await self._begin(session, number, part)
            head = self._clock.head(part.fragment)
            if head is not None:
                fragment_head = self._fragment_head(part, number)
                self._count()
                await session.send_media(fragment_head, head, part.data)
        return self._viewer.reason or "unsubscribed"

    def close(self) -> None:
        self._viewer.close()

    async def _begin(self, session: Session, number: int, part: LiveFragment) -> None:
        init = self._init = part.init
        await session.send({"type": "media", "feed": number, "mime": init.mime, "init_bytes": len(init.data)})
        init_head = self._head(MediaType.INIT, 0, number, part.recv_us)
        self._sequence += 1
        await session.send_media(init_head, init.data)

    def _send_now(self, session: Session, number: int, part: LiveFragment) -> bool:
        """The short way, taken while the socket is empty: no task wakes up for a frame. A fragment that it does not
        take comes again by the queue and is counted there."""
        if part.init is not self._init:
            return False
        head = self._clock.head(part.fragment)
        if head is None:
            return True
        sent = session.send_media_now(self._fragment_head(part, number), head, part.data)
        if sent:
            self._count()
        return sent

    def _count(self) -> None:
        """The fragment whose head was made last is on its way."""
        self._sequence += 1
        self._skips = self._viewer.skips

    def _fragment_head(self, part: LiveFragment, number: int) -> bytes:
        flags = _KEY if part.fragment.key else 0
        if part.discontinuity:
            flags |= _DISCONTINUITY
        if part.skipped or self._viewer.skips != self._skips:
            flags |= _SKIPPED
        kind = _VIDEO if part.kind is MediaKind.VIDEO else _AUDIO
        return self._head(kind, flags, number, part.recv_us)

    def _head(self, kind: int, flags: int, number: int, recv_us: int) -> bytes:
        return media_head(kind, flags, number, self._sequence + 1, recv_us)


class EventFeed:
    """Stored events after an id, then new ones, without a hole between the two."""

    def __init__(self, deps: ServerDeps, principal: Principal, after: int) -> None:
        self._events = deps.events
        self._principal = principal
        self._after = after
        self._subscription = deps.events.subscribe()

    async def run(self, session: Session, number: int) -> str:
        while page := await self._events.list(after=self._after, limit=EVENT_PAGE):
            for event in page:
                await self._send(session, number, event)
        async for event in self._subscription:
            if event.id > self._after:
                await self._send(session, number, event)
        return "too-slow"

    def close(self) -> None:
        self._events.unsubscribe(self._subscription)

    async def _send(self, session: Session, number: int, event: Any) -> None:
        self._after = event.id
        if event.camera is None or self._principal.cameras is None or event.camera in self._principal.cameras:
            await session.send({"type": "event", "feed": number, "event": event_json(event)})


class StateFeed:
    """All cameras at first, then those whose state, reason, connection or alarm changed, and names of removed ones."""

    def __init__(self, deps: ServerDeps, principal: Principal) -> None:
        self._deps = deps
        self._principal = principal
        self._known: dict[uuid.UUID, tuple[object, ...]] = {}

    async def run(self, session: Session, number: int) -> str:
        first = True
        while True:
            changed, removed = self._changes()
            if first or changed or removed:
                await session.send(
                    {"type": "state", "feed": number, "time": show_time(self._deps.clock.utc_us()),
                     "cameras": [camera_json(view) for view in changed], "removed": removed}
                )  # fmt: skip
            first = False
            await asyncio.sleep(STATE_EVERY_S)

    def close(self) -> None:
        self._known.clear()

    def _changes(self) -> tuple[list[CameraView], list[str]]:
        seen = self._principal.cameras
        views = {view.id: view for view in self._deps.engine.cameras() if seen is None or view.id in seen}
        removed = [str(camera) for camera in self._known if camera not in views]
        marks = {camera: _mark(view) for camera, view in views.items()}
        changed = [view for camera, view in views.items() if self._known.get(camera) != marks[camera]]
        self._known = marks
        return changed, removed


def _mark(view: CameraView) -> tuple[object, ...]:
    """What makes a camera's state news; counters and rates do not."""
    streams = tuple((stream.role, stream.connected, stream.codec_string) for stream in view.streams)
    recording = view.recording
    return view.name, view.state, view.reason, view.connected, recording.not_recording, recording.since_us, streams


class CoverageFeed:
    """Coverage of the last `window_s` seconds: the whole window first, then from the last change on. `names` None:
    every camera the caller may see, also those added later."""

    def __init__(
        self, deps: ServerDeps, principal: Principal, names: list[str] | None, timing: tuple[int, int]
    ) -> None:
        self._deps = deps
        self._principal = principal
        self._names = names
        self._window_us, self._every_s = timing[0] * 1_000_000, timing[1]
        self._from_us: dict[uuid.UUID, int] = {}

    async def run(self, session: Session, number: int) -> str:
        while True:
            by_storage: dict[str, list[CameraView]] = defaultdict(list)
            for view in self._views():
                by_storage[view.storage].append(view)
            for members in by_storage.values():
                await self._tick(session, number, members)
            await asyncio.sleep(self._every_s)

    def close(self) -> None:
        self._from_us.clear()

    def _views(self) -> list[CameraView]:
        """Raises NotFoundError when a camera that was named is gone."""
        if self._names is not None:
            return [self._deps.engine.camera(name) for name in self._names]
        seen = self._principal.cameras
        return [view for view in self._deps.engine.cameras() if seen is None or view.id in seen]

    async def _tick(self, session: Session, number: int, members: list[CameraView]) -> None:
        store = store_of(self._deps, members[0])
        now_us = self._deps.clock.utc_us()
        begin_us = now_us - self._window_us
        starts = {view.id: max(begin_us, self._from_us.get(view.id, begin_us)) for view in members}
        tracks = [main_track(view) for view in members]
        found = await store.read(store.reader.coverage, tracks, min(starts.values()), now_us)
        cameras = []
        for view in members:
            intervals = [one for one in found.get(main_track(view), []) if one.end_us > starts[view.id]]
            intervals = intervals[-MAX_INTERVALS:]
            if intervals:
                cameras.append(self._shown(view, intervals, max(starts[view.id], intervals[0].start_us)))
        message = {"type": "coverage", "feed": number, "start": show_time(begin_us), "end": show_time(now_us)}
        await session.send({**message, "cameras": cameras})

    def _shown(self, view: CameraView, intervals: list[Interval], from_us: int) -> dict[str, Any]:
        """What the client puts in place of everything from `from` on. Next time begins two stretches back: the
        newest may still grow, and the one before may be explained a moment later."""
        self._from_us[view.id] = intervals[-2].start_us if len(intervals) > 1 else intervals[-1].start_us
        return {
            "id": str(view.id),
            "from": show_time(from_us),
            "intervals": [interval_json(one) for one in intervals],
        }
