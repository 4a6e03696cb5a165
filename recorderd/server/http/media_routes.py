"""media.mp4 and media.json: recorded footage as one file with ranges, and its exact map to wall time.

Law: the file is planned once and read in pieces; memory per request is one piece. Whoever asks for ranges of one URL
gets bytes of one file: a remembered plan serves them as long as it lives, and what was reclaimed meanwhile is answered
with 412, never with other bytes. Source of the range rules: RFC 9110 §13, §14 (`byte_range`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mediadb.errors import ChunkCorrupt
from mediadb.movie.left_out import left_out
from mediadb.types import Interval, State
from recorderd.core.rights import Right
from recorderd.core.timerange import TimeRange, format_time
from recorderd.server.footage import camera_tracks, main_track, store_of, stream_tracks
from recorderd.server.http.answers import json_answer
from recorderd.server.http.byte_answer import Bytes, send_bytes
from recorderd.server.http.coverage_routes import END, START
from recorderd.server.http.movie import ServedMovie, damage_of, plan_movie
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.http.signing import link
from recorderd.server.problems import Refusal
from recorderd.server.shapes import interval_json
from recorderd.server.timespan import MAX_MEDIA_US, is_absolute, read_range, show_time

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore
    from recorderd.engine.views import CameraView

PLANS_BYTES = 64 * 2**20
REMEMBERED_ETAGS = 4_096

STREAM = Param("stream", "text", "role of the stream: main or sub", default="main")
Key = tuple[str, str, int, int]


class MovieShelf:
    """Plans by what was asked for, the least used dropped first, and the ETags given out for far more of them.
    `doubted`: segments in which damage was met; they are checked whenever a file is planned from them."""

    def __init__(self, limit_bytes: int = PLANS_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._plans: OrderedDict[Key, ServedMovie] = OrderedDict()
        self._etags: OrderedDict[Key, str] = OrderedDict()
        self._bytes = 0
        self.doubted: set[str] = set()

    def plan(self, key: Key) -> ServedMovie | None:
        """The plan as it was given out last."""
        movie = self._plans.get(key)
        if movie is not None:
            self._plans.move_to_end(key)
        return movie

    def etag(self, key: Key) -> str | None:
        """The ETag given out last; outlives the plan."""
        return self._etags.get(key)

    def put(self, key: Key, movie: ServedMovie) -> None:
        self.drop(key)
        self._plans[key] = movie
        self._bytes += movie.movie.cost_bytes
        while self._bytes > self._limit_bytes and len(self._plans) > 1:
            self._bytes -= self._plans.popitem(last=False)[1].movie.cost_bytes
        self._etags[key] = movie.etag
        self._etags.move_to_end(key)
        while len(self._etags) > REMEMBERED_ETAGS:
            self._etags.popitem(last=False)

    def doubt(self, error: Exception) -> None:
        """Remember where damage was met."""
        if isinstance(error, ChunkCorrupt):
            self.doubted.add(str(error.params.get("file")))

    def drop(self, key: Key) -> None:
        """Forget the plan, keep the ETag."""
        movie = self._plans.pop(key, None)
        if movie is not None:
            self._bytes -= movie.movie.cost_bytes


SHELF: web.AppKey[MovieShelf] = web.AppKey("movie shelf", MovieShelf)


async def media_mp4(call: Call) -> web.StreamResponse:
    """Recorded video and sound of a stream as one MP4 of known length, up to 31 days, with Range, ETag and HEAD.

    `end` is cut to what is durable. The file begins with the newest keyframe at or before `start` and shows from
    the first picture inside the range on (X-Start-Time); a file of more than an hour is fragmented and shows from its
    keyframe on. A gap is the long duration of the last picture before it. A
    Range request whose times are relative or reach beyond what is durable is sent on (307) to the same range in
    absolute times, because only those name one file. Damage that is met while reading ends the answer (503
    footage-damaged before the first byte); from then on the file is another one, which leaves it out."""
    view = call.camera()
    store = store_of(call.deps, view)
    span = _span(call)
    role = call.text("stream")
    shelf = call.request.app[SHELF]
    key = (str(view.id), role, span.start_us, span.end_us)
    ranged = "Range" in call.request.headers
    if ranged and not (is_absolute(call.text("start")) and is_absolute(call.text("end"))):
        span = TimeRange(span.start_us, await _durable_end(store, view, role, span))
        raise _elsewhere(call, span)
    movie = shelf.plan(key) if ranged else None
    if movie is None:
        movie = await _plan(store, view, role, span, shelf.doubted)
        if movie.span == span:  # else the same URL means another file a second later: nothing to remember
            # who begins again after damage was met begins another file
            again = movie.movie.skipped and call.request.headers.get("Range", "").startswith("bytes=0-")
            given = None if again else shelf.etag(key)
            if ranged and given not in (None, movie.etag) and "If-Range" not in call.request.headers:
                raise Refusal("footage-reclaimed", "this range is another file now than when it was first asked for")
            shelf.put(key, movie)
        elif ranged:
            raise _elsewhere(call, movie.span)
    return await _send(call, store, movie, key)


async def media_json(call: Call) -> web.StreamResponse:
    """The exact map between media.mp4 of the same query and wall time: anchors, gaps with their causes, and what is
    recorded in a form that no MP4 carries."""
    view = call.camera()
    store = store_of(call.deps, view)
    role = call.text("stream")
    movie = await _plan(store, view, role, _span(call), call.request.app[SHELF].doubted)
    track = movie.movie.tracks[0]
    start_us, end_us = movie.span.start_us, movie.span.end_us
    found = await store.read(store.reader.coverage, [track], start_us, end_us)
    damage = damage_of(movie)
    gaps = damage + [
        one for one in found[track]
        if one.cause.state != State.RECORDED and not any(_says(named, one) for named in damage)
    ]  # fmt: skip
    known = [one.id for one in camera_tracks(view) if one.stream == role]
    without = await store.read(left_out, store.reader, known, start_us, end_us)
    return json_answer(
        {
            "id": str(view.id),
            "name": view.name,
            "stream": role,
            "start": show_time(start_us),
            "end": show_time(end_us),
            "etag": movie.etag,
            "length": movie.movie.total_bytes,
            "file_start": show_time(movie.movie.start_us),
            "duration_us": movie.movie.duration_us,
            "tracks": [
                {
                    "id": str(identity),
                    "kind": facts.kind,
                    "timescale": facts.timescale,
                    "samples": facts.samples,
                    "gap_repeats": facts.gap_repeats,
                    "duration_us": facts.duration_us,
                    "anchors": [{"media_us": at.media_us, "time": show_time(at.wall_us)} for at in facts.anchors],
                }
                for identity, facts in zip(movie.movie.tracks, movie.movie.facts, strict=True)
            ],
            "gaps": [interval_json(gap) for gap in sorted(gaps, key=lambda gap: gap.start_us)],
            "left_out": [one.record() for one in without],
        }
    )


def _says(named: Interval, known: Interval) -> bool:
    """Is `known` of coverage the damage that the file names itself, and more exactly?"""
    same = (known.cause.state, known.cause.reason) == (named.cause.state, named.cause.reason)
    return same and known.start_us < named.end_us and known.end_us > named.start_us


def _span(call: Call) -> TimeRange:
    return read_range(call.text("start"), call.text("end"), call.deps.clock.utc_us(), MAX_MEDIA_US)


async def _plan(store: AsyncStore, view: CameraView, role: str, span: TimeRange, doubted: set[str]) -> ServedMovie:
    # copied: the set grows on this thread while the read pool looks into it
    movie: ServedMovie | None = await store.read(
        plan_movie, store.reader, stream_tracks(view, role), span, frozenset(doubted)
    )
    if movie is None:
        raise await no_footage(store, view, span)
    return movie


async def no_footage(store: AsyncStore, view: CameraView, span: TimeRange) -> Refusal:
    """Why there is nothing: the causes that coverage knows, the first 20."""
    found = await store.read(store.reader.coverage, [main_track(view)], span.start_us, span.end_us)
    causes = [interval_json(one) for one in found[main_track(view)][:20]]
    return Refusal("no-footage", f"{view.name} has nothing recorded in this range", causes=causes)


async def _durable_end(store: AsyncStore, view: CameraView, role: str, span: TimeRange) -> int:
    """The end of the range, cut to what is durable; unchanged when nothing is."""
    ends = [await store.read(store.reader.durable_us, track) for track in stream_tracks(view, role)]
    newest = max((end for end in ends if end is not None), default=span.end_us)
    return min(span.end_us, newest) if newest > span.start_us else span.end_us


def _elsewhere(call: Call, span: TimeRange) -> web.HTTPTemporaryRedirect:
    """The same footage under a URL that names one file for ever."""
    times = {"start": format_time(span.start_us), "end": format_time(span.end_us), "stream": call.text("stream")}
    return web.HTTPTemporaryRedirect(link(call, call.request.path, list(times.items())))


async def _send(call: Call, store: AsyncStore, movie: ServedMovie, key: Key) -> web.StreamResponse:
    """Answer with the part that the headers ask for."""
    shelf = call.request.app[SHELF]

    def failed(error: Exception) -> None:
        shelf.drop(key)
        shelf.doubt(error)

    headers = {
        "Content-Type": "video/mp4",
        "Cache-Control": "no-cache",
        "X-Start-Time": show_time(movie.movie.start_us) or "",
        "X-End-Time": show_time(movie.span.end_us) or "",
    }
    return await send_bytes(call.request, store, Bytes(movie.movie, movie.etag, headers, failed))


_PROBLEMS = (
    "not-found", "range-too-long", "no-footage", "storage-unavailable", "footage-reclaimed",
    "footage-damaged",
)  # fmt: skip


def _route(name: str, operation: str, handler: Any, answer: Answer, problems: tuple[str, ...]) -> Route:
    return Route(
        method="GET", path=f"{API}/cameras/{{camera}}/{name}", operation=operation, handler=handler,
        right=Right.VIEW_RECORDED, doc=handler.__doc__, answer=answer, query=(START, END, STREAM),
        problems=problems, tag="recorded", signed=name == "media.mp4",
    )  # fmt: skip


_HEADERS = ("ETag", "Accept-Ranges", "X-Start-Time", "X-End-Time")

ROUTES = (
    _route("media.mp4", "getMedia", media_mp4, Answer("video/mp4", headers=_HEADERS),
           (*_PROBLEMS, "precondition-failed", "range-not-satisfiable")),
    _route("media.json", "getMediaMap", media_json, Answer(schema="MediaMap"), _PROBLEMS),
)  # fmt: skip
