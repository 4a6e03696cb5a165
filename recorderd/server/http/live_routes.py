"""live.mp4: a stream as one fragmented MP4 without end, for players and scripts.

Law: the fragments are those of `live_share`, made once for all viewers; a slow viewer is skipped and dropped, never
waited for. Bytes held per viewer: its limit and the socket's write buffer.
"""

from __future__ import annotations

from aiohttp import web

from recorderd.core.rights import Right
from recorderd.server.footage import stream_tracks
from recorderd.server.http.live_share import SHARES, FragmentViewer, ViewerClock
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.problems import Refusal

LIMIT_BYTES = 4 * 2**20
STREAM = Param("stream", "text", "role of the stream: main or sub", default="main")
AUDIO = Param("audio", "word", "with sound when the stream has any", default="yes", words=("yes", "no"))


async def live_mp4(call: Call) -> web.StreamResponse:
    """Live pictures and sound as fragmented MP4, one fragment per frame, from the newest keyframe on.

    Ends when the stream's coding changes (start again for the new one), the camera is removed or the reader is too
    slow."""
    view = call.camera()
    role, audio = call.text("stream"), call.text("audio") == "yes"
    stream_tracks(view, role)
    if not any(stream.role == role and stream.connected for stream in view.streams):
        raise Refusal("not-live", f"{view.name} sends no {role!r} stream now: {view.reason or view.state}",
                          state=view.state, reason=view.reason)  # fmt: skip
    response = web.StreamResponse(headers={"Content-Type": "video/mp4", "Cache-Control": "no-store"})
    if call.request.method == "HEAD":
        return response
    viewer = call.request.app[SHARES].view(view, role, audio, LIMIT_BYTES)
    try:
        await response.prepare(call.request)
        await _send(response, viewer)
        await response.write_eof()
    finally:
        viewer.close()
    return response


async def _send(response: web.StreamResponse, viewer: FragmentViewer) -> None:
    clock, init = ViewerClock(), None
    while (part := await viewer.next()) is not None:
        if part.init is not init:
            if init is not None:
                return
            init = part.init
            await response.write(init.data)
        head = clock.head(part.fragment)
        if head is not None:
            await response.write(head + part.data)


ROUTES = (
    Route(method="GET", path=f"{API}/cameras/{{camera}}/live.mp4", operation="getLive", handler=live_mp4,
          right=Right.VIEW_LIVE, doc=live_mp4.__doc__ or "", answer=Answer("video/mp4"),
          query=(STREAM, AUDIO), signed=True,
          tag="live", problems=("not-found", "not-live")),
)  # fmt: skip
