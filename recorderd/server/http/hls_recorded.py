"""Recorded footage for players that speak HLS: a playlist made from index rows, fMP4 segments made when asked for.

Law: URLs name chunks and times (`movie.segments`), so each means the same bytes for ever and no playlist has to be
remembered. Sources: RFC 8216; ISO/IEC 14496-12 §8.8.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Container, Iterator
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from mediadb.errors import ChunkCorrupt, FormatError
from mediadb.movie.groups import Group
from mediadb.movie.long_plan import Wanted, plan_groups
from mediadb.movie.row_range import Skipped
from mediadb.movie.segments import PieceName, Segment, lay_segment, name_segments, segment_header
from mediadb.read.reader import Reader
from recorderd.core.rights import Right
from recorderd.core.timerange import TimeRange
from recorderd.server.footage import store_of, stream_tracks
from recorderd.server.http.byte_answer import Bytes, send_bytes
from recorderd.server.http.coverage_routes import END, START
from recorderd.server.http.media_routes import SHELF, STREAM, no_footage
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.http.signing import sign_links
from recorderd.server.problems import Refusal
from recorderd.server.timespan import read_range, show_time

SEGMENT_US = 4_000_000  # segments end at the first keyframe that is at least so far from their first one
MAX_HLS_US = 7 * 86_400_000_000  # a week has 150,000 segments at most
MAX_PIECES = 16
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

VIDEO = Param("video", "text", "chunks of video, as a playlist names them", default="")
AUDIO = Param("audio", "text", "chunks of sound, as a playlist names them", default="")
Pair = tuple[uuid.UUID, uuid.UUID]
Names = tuple[PieceName, ...]


async def recorded_m3u8(call: Call) -> web.StreamResponse:
    """Recorded video and sound of a stream as an HLS playlist of fMP4 segments, up to 7 days.

    `end` is cut to what is durable; the playlist begins with the newest keyframe at or before `start`. Gaps and changes
    of coding are discontinuities; the date of each segment is the wall time of its first picture."""
    view = call.camera()
    store = store_of(call.deps, view)
    role = call.text("stream")
    span = read_range(call.text("start"), call.text("end"), call.deps.clock.utc_us(), MAX_HLS_US)
    doubted = frozenset(call.request.app[SHELF].doubted)
    text: str | None = await store.read(_playlist, store.reader, stream_tracks(view, role), role, span, doubted)
    if text is None:
        raise await no_footage(store, view, span)
    text = await store.read(sign_links, call, text)
    return web.Response(text=text, content_type=PLAYLIST_TYPE, headers={"Cache-Control": "no-cache"})


async def init_mp4(call: Call) -> web.StreamResponse:
    """The header (ftyp, moov) of HLS segments; URLs stand in the playlist."""
    return await _send(call, "init", "video/mp4")


async def segment_m4s(call: Call) -> web.StreamResponse:
    """One HLS segment (moof, mdat); URLs stand in the playlist and mean the same bytes for ever."""
    return await _send(call, "segment", "video/iso.segment")


def _playlist(reader: Reader, tracks: Pair, role: str, span: TimeRange, doubted: Container[str]) -> str | None:
    """The whole text; None when nothing durable is there. Raises ChunkCorrupt when only damaged footage is."""
    ends = [end for end in map(reader.durable_us, tracks) if end is not None]
    end_us = min(span.end_us, max(ends, default=span.start_us))
    if end_us <= span.start_us:
        return None
    skipped: list[Skipped] = []
    plan = plan_groups(reader, Wanted(tracks, span.start_us, end_us, SEGMENT_US), lambda name: name in doubted, skipped)
    if plan is None:
        damaged = [one.what for one in skipped if one.damaged]
        if damaged:
            raise ChunkCorrupt(damaged[0], more=len(damaged) - 1)
        return None
    segments = list(name_segments(plan))
    longest = max(segment.duration_us for segment in segments)
    head = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest / 1_000_000))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]
    if all(segment.is_sync for segment in segments):
        head.append("#EXT-X-INDEPENDENT-SEGMENTS")
    return "\n".join([*head, *_lines(segments, role), "#EXT-X-ENDLIST", ""])


def _lines(segments: list[Segment], role: str) -> Iterator[str]:
    known: tuple[Names, Names] | None = None
    for number, segment in enumerate(segments):
        if segment.fresh and number:
            yield "#EXT-X-DISCONTINUITY"
        if segment.codings != known:
            known = segment.codings
            yield f'#EXT-X-MAP:URI="{_link("init.mp4", role, *known)}"'
        yield f"#EXT-X-PROGRAM-DATE-TIME:{show_time(segment.wall_us)}"
        yield f"#EXTINF:{segment.duration_us / 1_000_000:.6f},"
        yield _link("segment.m4s", role, segment.video, segment.audio)


def _link(name: str, role: str, video: Names, audio: Names) -> str:
    """Relative to the playlist. Names of pieces need no escape."""
    parts = [urlencode({"stream": role})]
    parts += [f"{kind}={'.'.join(map(str, names))}" for kind, names in (("video", video), ("audio", audio)) if names]
    return f"recorded/{name}?{'&'.join(parts)}"


class _Header:
    """An init segment as a source of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.total_bytes = len(data)

    def read(self, reader: Reader, start: int, end: int) -> Iterator[bytes | memoryview]:
        yield memoryview(self._data)[start:end]


async def _send(call: Call, what: str, content_type: str) -> web.StreamResponse:
    view = call.camera()
    store = store_of(call.deps, view)
    video, audio = _names(call, "video"), _names(call, "audio")
    if not video and not audio:
        raise Refusal("bad-request", "'video' or 'audio' must name chunks; take the URLs of a playlist", name="video")
    tracks = stream_tracks(view, call.text("stream"))
    shelf = call.request.app[SHELF]
    lay = _lay_header if what == "init" else lay_segment
    try:
        source: _Header | Group = await store.read(lay, store.reader, (tracks[0], video), (tracks[1], audio))
    except ChunkCorrupt as error:
        shelf.doubt(error)
        raise
    except FormatError as error:
        raise Refusal("bad-request", error.message, name="video" if video else "audio") from error
    identity = f"{what} {tracks} {video} {audio}"
    etag = f'"{hashlib.sha256(identity.encode()).hexdigest()[:40]}"'
    headers = {"Content-Type": content_type, "Cache-Control": "private, max-age=3600"}
    return await send_bytes(call.request, store, Bytes(source, etag, headers, shelf.doubt))


def _lay_header(reader: Reader, video: tuple[uuid.UUID, Names], audio: tuple[uuid.UUID, Names]) -> _Header:
    return _Header(segment_header(reader, video, audio))


def _names(call: Call, name: str) -> Names:
    words = [word for word in call.text(name).split(".") if word]
    if len(words) > MAX_PIECES:
        raise Refusal("bad-request", f"{name!r} names more than {MAX_PIECES} pieces", name=name)
    try:
        return tuple(map(PieceName.parse, words))
    except FormatError as error:
        raise Refusal("bad-request", error.message, name=name) from error


def _route(name: str, operation: str, handler: Any, answer: Answer, more: tuple[Any, ...]) -> Route:
    query, problems = more
    return Route(
        method="GET", path=f"{API}/cameras/{{camera}}/hls/{name}", operation=operation, handler=handler,
        right=Right.VIEW_RECORDED, doc=handler.__doc__, answer=answer, query=query,
        problems=("not-found", "storage-unavailable", "footage-damaged", *problems), tag="recorded",
        signed=True,
    )  # fmt: skip


_BYTES = ((STREAM, VIDEO, AUDIO), ("footage-reclaimed", "precondition-failed", "range-not-satisfiable"))
ROUTES = (
    _route("recorded.m3u8", "getRecordedPlaylist", recorded_m3u8, Answer(PLAYLIST_TYPE),
           ((START, END, STREAM), ("range-too-long", "no-footage"))),
    _route("recorded/init.mp4", "getRecordedHeader", init_mp4, Answer("video/mp4", headers=("ETag",)), _BYTES),
    _route("recorded/segment.m4s", "getRecordedSegment", segment_m4s,
           Answer("video/iso.segment", headers=("ETag",)), _BYTES),
)  # fmt: skip
