"""A stream's fragments made once, and the same bytes given to every viewer of it.

Law: one Fragmenter per camera, role and choice of sound, begun with the first viewer and ended with the last. Who comes
later starts at the newest key held. A viewer that falls behind is skipped and dropped by the rules of the live hub
(`engine.live`), and none waits for another. Nothing is written here: viewers are drained by live.mp4, the WebSocket
and live HLS.

Movie time is counted by the share; `ViewerClock` moves it so that each viewer's own movie begins at 0.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Callable
from typing import cast

import structlog
from aiohttp import web

from recorderd.aio.supervisor import Supervisor
from recorderd.core.errors import RecorderdError
from recorderd.engine.live import LiveChannel, LiveHub, LiveSubscription
from recorderd.engine.views import CameraView
from recorderd.media.access_unit import AccessUnit, MediaKind
from recorderd.server.http.fragments import BASE_DTS_AT, Fragment, Fragmenter, Init

VIEWER_BYTES = 4 * 2**20
PUMP_BYTES = 8 * 2**20
GOP_BYTES = 32 * 2**20  # of the newest GOP, kept for who comes later; the prebuffer's own limit
TURN = 64  # viewers served before the loop gets its turn

_BASE_DTS = struct.Struct(">Q")
_log = structlog.get_logger("live")


class LiveFragment(AccessUnit):
    """An access unit with the fragment made of it. `init`: what a player must have had before; the same object as long
    as the coding stays."""

    __slots__ = ("fragment", "init", "kind", "skipped")

    def __init__(self, unit: AccessUnit, fragment: Fragment, init: Init, skipped: bool) -> None:
        super().__init__(
            unit.data, unit.pts, unit.dts, unit.type, unit.recv_us, unit.recv_mono_us, unit.config,
            discontinuity=fragment.discontinuity,
        )  # fmt: skip
        self.kind = fragment.kind
        self.fragment = fragment
        self.init = init
        self.skipped = skipped


class ViewerClock:
    """Movie time of one viewer: 0 is its first picture."""

    __slots__ = ("_origin", "_shifts")

    def __init__(self) -> None:
        self._origin: tuple[int, int] | None = None  # decode time and time scale of the first picture
        self._shifts: dict[int, int] = {}  # by time scale

    def head(self, fragment: Fragment) -> bytes | None:
        """The fragment's head with this viewer's decode time; None for sound before the first picture."""
        shift = self._shifts.get(fragment.timescale)
        if shift is None:
            if self._origin is None:
                if fragment.kind is not MediaKind.VIDEO:
                    return None
                self._origin = fragment.base_dts, fragment.timescale
            shift = self._shifts[fragment.timescale] = self._origin[0] * fragment.timescale // self._origin[1]
        if not shift:
            return fragment.head
        at = fragment.base_dts - shift
        if at < 0:
            return None
        return fragment.head[:BASE_DTS_AT] + _BASE_DTS.pack(at) + fragment.head[BASE_DTS_AT + 8 :]


class FragmentViewer(LiveSubscription):
    """One viewer of a share: an async iterator of (kind, LiveFragment), and a short way past its queue: while nothing
    waits, `sink` is offered each fragment first and tells whether it took it."""

    def __init__(self, channel: LiveChannel, limit_bytes: int, left: Callable[[], None]) -> None:
        super().__init__(channel, True, limit_bytes)
        self.sink: Callable[[LiveFragment], bool] | None = None
        self._left = left

    def push(self, kind: MediaKind, unit: AccessUnit) -> None:
        if self.sink is not None and self._waiting is not None and not self._queue and not self._skipping:
            self._video = self._video or kind is MediaKind.VIDEO
            if not self._waiting.done() and self.sink(cast(LiveFragment, unit)):
                return
        super().push(kind, unit)

    def close(self, reason: str = "unsubscribed") -> None:
        open_until_now = self.reason is None
        super().close(reason)
        if open_until_now:
            self._left()

    async def next(self) -> LiveFragment | None:
        """The next fragment; None at the end, and `reason` says why."""
        try:
            return cast(LiveFragment, (await self.__anext__())[1])
        except StopAsyncIteration:
            return None


class Share:
    """The fragments of one stream, and who looks at them."""

    def __init__(self, source: LiveSubscription, audio: bool) -> None:
        self._source = source
        self._fragmenter = Fragmenter(audio=audio)
        source.people = 0
        self._channel = LiveChannel()
        self._gop: list[LiveFragment] = []
        self._gop_bytes = 0
        self._init: Init | None = None
        self._skips = 0
        self.ended: str | None = None

    def join(self, limit_bytes: int, left: Callable[[], None]) -> FragmentViewer:
        viewer = FragmentViewer(self._channel, limit_bytes, left)
        for part in self._gop:
            viewer.push(part.kind, part)
        self._channel.viewers = [*self._channel.viewers, viewer]  # a new list: the pump may be walking the old one
        self._source.people += 1
        return viewer

    def left(self) -> bool:
        """Somebody went; whether nobody is left."""
        self._source.people -= 1
        return not self._channel.viewers

    async def pump(self) -> None:
        """Make fragments until the source ends; then every viewer ends for the same reason."""
        try:
            async for kind, unit in self._source:
                for part in self._made(kind, unit):
                    await self._give(part)
            self.ended = self._source.reason
        except RecorderdError as error:
            _log.warning("live-unusable", code=error.code, error=error.message)
            self.ended = error.code
        except Exception:
            self.ended = "internal"
            raise
        finally:
            self.end("server-stopping")

    def end(self, reason: str) -> None:
        """No more fragments; idempotent, the first reason stays."""
        self.ended = self.ended or reason
        self._source.close()
        self._channel.close(self.ended)

    def _made(self, kind: MediaKind, unit: AccessUnit) -> list[LiveFragment]:
        made: list[LiveFragment] = []
        for part in self._fragmenter.feed(kind, unit):
            if isinstance(part, Init):
                self._init = part
                continue
            assert self._init is not None
            skipped = self._source.skips != self._skips
            self._skips = self._source.skips
            made.append(LiveFragment(part.unit, part, self._init, skipped))
        return made

    async def _give(self, part: LiveFragment) -> None:
        """Remember, then to every viewer that is there now; who comes while the loop has its turn finds it held."""
        if part.is_key:
            self._gop.clear()
            self._gop_bytes = 0
        self._gop.append(part)
        self._gop_bytes += len(part.data)
        if self._gop_bytes > GOP_BYTES:
            self._gop.clear()  # not decodable in part: who comes now waits for the next key
            self._gop_bytes = 0
        for number, viewer in enumerate(self._channel.viewers):
            if viewer.reason is None:
                viewer.push(part.kind, part)
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)


class LiveShares:
    """All shares of a server, by camera, role and whether sound is wanted."""

    def __init__(self, hub: LiveHub, supervisor: Supervisor) -> None:
        self._hub = hub
        self._supervisor = supervisor
        self._shares: dict[tuple[uuid.UUID, str, bool], tuple[Share, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._shares)

    def view(self, view: CameraView, role: str, audio: bool, limit_bytes: int = VIEWER_BYTES) -> FragmentViewer:
        """Look at a stream from its newest key on. Raises NotFoundError. Close the viewer when done."""
        sound = audio and any(
            track.kind == "audio" for stream in view.streams if stream.role == role for track in stream.tracks
        )
        key = (view.id, role, sound)
        held = self._shares.get(key)
        if held is None or held[0].ended is not None:
            share = Share(self._hub.subscribe(view.id, role, audio=sound, limit_bytes=PUMP_BYTES), sound)
            held = self._shares[key] = (share, self._supervisor.start(f"live share {role}", share.pump()))
        share, task = held
        return share.join(limit_bytes, lambda: self._left(key, share, task))

    def _left(self, key: tuple[uuid.UUID, str, bool], share: Share, task: asyncio.Task[None]) -> None:
        """With the last viewer the share goes."""
        if not share.left():
            return
        if self._shares.get(key, (None,))[0] is share:
            del self._shares[key]
        share.end("unsubscribed")
        task.cancel()


SHARES: web.AppKey[LiveShares] = web.AppKey("live shares", LiveShares)
