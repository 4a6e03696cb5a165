"""Live pictures for players that speak HLS: a playlist and segments out of memory.

Law: one window per camera and role, begun by the first request and ended IDLE_S after the last; it is one more viewer
of the shared fragments. Nothing is read from or written to a disk. Sources: RFC 8216.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from urllib.parse import urlencode

from aiohttp import web

from recorderd.aio.supervisor import Supervisor
from recorderd.core.clock import Clock
from recorderd.core.rights import Right
from recorderd.engine.views import CameraView
from recorderd.server.footage import stream_tracks
from recorderd.server.http.hls_window import LIMIT_BYTES, LiveWindow
from recorderd.server.http.live_share import FragmentViewer, LiveShares
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.http.signing import sign_links
from recorderd.server.problems import Refusal

IDLE_S = 30.0
FIRST_S = 8.0  # how long a playlist waits for the first segment
MAX_WINDOWS = 64
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
STREAM = Param("stream", "text", "role of the stream: main or sub", default="main")
_NAME = re.compile(r"(init-)?(\d{1,15})\.(mp4|m4s)", re.ASCII)
Key = tuple[uuid.UUID, str]


class HlsStream:
    """A window and the viewer that fills it."""

    def __init__(self, viewer: FragmentViewer, clock: Clock) -> None:
        self.window = LiveWindow(clock.utc_us() // 1_000_000)
        self._viewer = viewer
        self._clock = clock
        self._ready = asyncio.Event()
        self._asked_us = clock.monotonic_us()

    def asked(self) -> None:
        """Somebody plays it."""
        self._asked_us = self._clock.monotonic_us()

    async def fill(self) -> None:
        """Until nobody has asked for IDLE_S or the stream has ended."""
        try:
            while True:
                left_s = IDLE_S - (self._clock.monotonic_us() - self._asked_us) / 1e6
                if left_s <= 0:
                    return
                try:
                    async with asyncio.timeout(left_s):
                        part = await self._viewer.next()
                except TimeoutError:
                    continue
                if part is None:
                    return
                if self.window.push(part):
                    self._ready.set()
        finally:
            self._viewer.close()
            self._ready.set()

    async def ready(self) -> bool:
        """Whether there is something to play; waits a while for the first segment."""
        try:
            async with asyncio.timeout(FIRST_S):
                await self._ready.wait()
        except TimeoutError:
            return False
        return self.window.ready


class LiveHls:
    """All live windows of a server."""

    def __init__(self, shares: LiveShares, supervisor: Supervisor, clock: Clock) -> None:
        self._shares, self._supervisor, self._clock = shares, supervisor, clock
        self._streams: dict[Key, HlsStream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def held(self, view: CameraView, role: str) -> HlsStream | None:
        return self._streams.get((view.id, role))

    def begin(self, view: CameraView, role: str) -> HlsStream:
        """The window of a stream, begun if there is none. Raises Refusal (busy) above MAX_WINDOWS."""
        key = (view.id, role)
        found = self._streams.get(key)
        if found is None:
            if len(self._streams) >= MAX_WINDOWS:
                raise Refusal("busy", f"{MAX_WINDOWS} streams are watched over HLS already", highest=MAX_WINDOWS)
            found = HlsStream(self._shares.view(view, role, True, LIMIT_BYTES), self._clock)
            self._streams[key] = found
            self._supervisor.start(f"live hls {role}", self._run(key, found))
        found.asked()
        return found

    async def _run(self, key: Key, stream: HlsStream) -> None:
        try:
            await stream.fill()
        finally:
            self._streams.pop(key, None)


async def live_m3u8(call: Call) -> web.StreamResponse:
    """Live pictures and sound of a stream as an HLS playlist of fMP4 segments that slides on.

    The first request begins it and waits for a whole segment; it ends some time after the last."""
    view = call.camera()
    role = call.text("stream")
    stream_tracks(view, role)
    if not any(stream.role == role and stream.connected for stream in view.streams):
        raise Refusal("not-live", f"{view.name} sends no {role!r} stream now: {view.reason or view.state}",
                      state=view.state, reason=view.reason)  # fmt: skip
    stream = call.request.app[HLS].begin(view, role)
    if not await stream.ready():
        raise Refusal("not-live", f"{view.name} has sent no whole segment yet; ask again", state=view.state, reason="")
    text = sign_links(call, stream.window.playlist(urlencode({"stream": role})))
    return web.Response(text=text, content_type=PLAYLIST_TYPE, headers={"Cache-Control": "no-cache"})


async def live_piece(call: Call) -> web.StreamResponse:
    """A segment of a live playlist, or the header of segments; one that has slid out is gone."""
    view = call.camera()
    found = _NAME.fullmatch(call.request.match_info["name"])
    if found is None or (found[1] is not None) is not (found[3] == "mp4"):
        raise Refusal("not-found", "the playlist has no such segment")
    stream = call.request.app[HLS].held(view, call.text("stream"))
    data: bytes | None = None
    if stream is not None:
        stream.asked()
        if found[1] is not None:
            data = stream.window.init(int(found[2]))
        else:
            segment = stream.window.segment(int(found[2]))
            data = segment.data() if segment is not None else None
    if data is None:
        raise Refusal("segment-gone", "the segment has slid out of the live window; ask for the playlist again")
    kind = "video/mp4" if found[1] is not None else "video/iso.segment"
    return web.Response(body=data, headers={"Content-Type": kind, "Cache-Control": "private, max-age=60"})


HLS: web.AppKey[LiveHls] = web.AppKey("live hls", LiveHls)

ROUTES = (
    Route(method="GET", path=f"{API}/cameras/{{camera}}/hls/live.m3u8", operation="getLivePlaylist", handler=live_m3u8,
          right=Right.VIEW_LIVE, doc=live_m3u8.__doc__ or "", answer=Answer(PLAYLIST_TYPE), query=(STREAM,),
          signed=True, tag="live", problems=("not-found", "not-live", "busy")),
    Route(method="GET", path=f"{API}/cameras/{{camera}}/hls/live/{{name}}", operation="getLiveSegment",
          handler=live_piece, right=Right.VIEW_LIVE, doc=live_piece.__doc__ or "", answer=Answer("video/iso.segment"),
          query=(STREAM,), signed=True, tag="live", problems=("not-found", "segment-gone")),
)  # fmt: skip
