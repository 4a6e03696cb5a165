"""Recorded or explained: coverage, timeline and `why`.

Law: asks the ledger through the reader and shows what it says; no state is worked out here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from mediadb.errors import StorageMissing
from mediadb.read.reader import Span
from mediadb.types import Interval
from recorderd.core.rights import Right
from recorderd.server.footage import camera_tracks, main_track, store_of
from recorderd.server.http.answers import json_answer
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.problems import Refusal
from recorderd.server.shapes import interval_json
from recorderd.server.timespan import MAX_COVERAGE_US, read_range, read_resolution, read_time, show_time
from recorderd.services.reports.asking import coverage_of as coverage_from
from recorderd.services.reports.asking import why_of

MAX_INTERVALS = 20_000
MAX_CAMERAS = 100

START = Param("start", "time", "first moment: RFC 3339, 'now' or relative as '-10m'", default="-1h")
END = Param("end", "time", "first moment after it", default="now")
RESOLUTION = Param(
    "resolution", "duration", "stretches closer than this are shown as one, e.g. '1m'; 0: exact", default="0"
)


async def coverage_of(call: Call) -> web.StreamResponse:
    """GET coverage: several cameras' main video."""
    now_us = call.deps.clock.utc_us()
    span = read_range(call.text("start"), call.text("end"), now_us, MAX_COVERAGE_US)
    views = chosen_cameras(call)
    found: dict[uuid.UUID, list[Interval]] = {}
    shown: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for storage in sorted({view.storage for view in views}):
        tracks = [main_track(view) for view in views if view.storage == storage]
        own = await coverage_from(call.deps.stores, storage, tracks, (span.start_us, span.end_us), now_us)
        found |= own
        _limit(found.values())
        shown |= await asyncio.to_thread(_intervals, own)
    return json_answer(
        {
            "start": show_time(span.start_us),
            "end": show_time(span.end_us),
            "cameras": [
                {"id": str(view.id), "name": view.name,
                 "intervals": shown.get(main_track(view), [])}
                for view in views
            ],
        }
    )  # fmt: skip


def chosen_cameras(call: Call, highest: int = MAX_CAMERAS) -> list[Any]:
    """The cameras of the query, all without one."""
    names = [name for name in call.text("cameras").split(",") if name]
    if not names:
        views = [view for view in call.deps.engine.cameras() if call.sees(view.id)]
    else:
        views = [call.deps.engine.camera(name) for name in dict.fromkeys(names)]
        for view in views:
            call.principal.require(call.route.right, view.id)
    if len(views) > highest:
        raise Refusal("bad-request", f"name at most {highest} cameras at a time", highest=highest)
    return views


async def camera_coverage(call: Call) -> web.StreamResponse:
    """GET cameras/{camera}/coverage: every track of one camera that has anything to say."""
    view = call.camera()
    now_us = call.deps.clock.utc_us()
    span = read_range(call.text("start"), call.text("end"), now_us, MAX_COVERAGE_US)
    tracks = await _explained_tracks(call, view)
    ids = [track.id for track in tracks]
    found = await coverage_from(call.deps.stores, view.storage, ids, (span.start_us, span.end_us), now_us)
    _limit(found.values())
    intervals = await asyncio.to_thread(_intervals, found)
    return json_answer(
        {
            "id": str(view.id),
            "name": view.name,
            "start": show_time(span.start_us),
            "end": show_time(span.end_us),
            "tracks": [
                {"id": str(track.id), "stream": track.stream, "kind": track.kind,
                 "intervals": intervals.get(track.id, [])}
                for track in tracks
            ],
        }
    )  # fmt: skip


async def camera_timeline(call: Call) -> web.StreamResponse:
    """GET cameras/{camera}/timeline: where there is media, merged to a resolution."""
    view = call.camera()
    now_us = call.deps.clock.utc_us()
    span = read_range(call.text("start"), call.text("end"), now_us, MAX_COVERAGE_US)
    resolution_us = read_resolution(call.text("resolution"))
    store = store_of(call.deps, view)
    shown: list[dict[str, Any]] = []
    for track in await _known_tracks(call, view):
        spans = await store.read(store.reader.spans, track.id, span.start_us, span.end_us, resolution_us)
        _limit([*(one["spans"] for one in shown), spans])
        texts = await store.read(_span_texts, spans)
        shown.append({"id": str(track.id), "stream": track.stream, "kind": track.kind, "spans": texts})
    return json_answer(
        {
            "id": str(view.id),
            "name": view.name,
            "start": show_time(span.start_us),
            "end": show_time(span.end_us),
            "resolution_us": resolution_us,
            "tracks": shown,
        }
    )


async def camera_why(call: Call) -> web.StreamResponse:
    """GET cameras/{camera}/why: the state at one moment, and what came before and after."""
    view = call.camera()
    now_us = call.deps.clock.utc_us()
    time_us = read_time(call.text("time"), now_us)
    before, found, after = await why_of(call.deps.stores, view.storage, main_track(view), time_us, now_us)
    return json_answer(
        {
            "id": str(view.id),
            "name": view.name,
            "time": show_time(time_us),
            **interval_json(found),
            "before": interval_json(before) if before else None,
            "after": interval_json(after) if after else None,
        }
    )


# Twenty thousand stretches take a tenth of a second to be written out: on a thread, not on the loop.


def _intervals(found: Mapping[uuid.UUID, Sequence[Interval]]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    return {track: [interval_json(one) for one in intervals] for track, intervals in found.items()}


def _span_texts(spans: Sequence[Span]) -> list[list[str | None]]:
    return [[show_time(one.start_us), show_time(one.end_us)] for one in spans]


async def _known_tracks(call: Call, view: Any) -> Sequence[Any]:
    """The camera's tracks that the database knows; its main video in any case."""
    store = store_of(call.deps, view)
    known = {info.spec.track for info in await store.read(store.reader.tracks)}
    return [track for track in camera_tracks(view) if track.id in known or track.id == main_track(view)]


async def _explained_tracks(call: Call, view: Any) -> Sequence[Any]:
    """As `_known_tracks`; of a storage that is not there, the main video."""
    try:
        return await _known_tracks(call, view)
    except (Refusal, StorageMissing):
        return [track for track in camera_tracks(view) if track.id == main_track(view)]


def _limit(lists: Iterable[Sequence[object]]) -> None:
    total = sum(len(one) for one in lists)
    if total > MAX_INTERVALS:
        raise Refusal(
            "answer-too-long",
            f"the answer would hold {total} stretches; at most {MAX_INTERVALS}: ask for less time at once",
            stretches=total, highest=MAX_INTERVALS,
        )  # fmt: skip


def _get(path: str, operation: str, handler: Callable[[Call], Any], schema: str, query: tuple[Param, ...]) -> Route:
    return Route(
        method="GET", path=f"{API}/{path}", operation=operation, handler=handler, right=Right.VIEW_RECORDED,
        doc=(handler.__doc__ or "").split(": ", 1)[1], answer=Answer(schema=schema), query=query, tag="recorded",
        problems=("not-found", "range-too-long", "answer-too-long", "storage-unavailable"),
    )  # fmt: skip


ROUTES = (
    _get("coverage", "listCoverage", coverage_of, "CoverageList",
         (Param("cameras", "text", "ids or names, separated by commas; all without it"), START, END)),
    _get("cameras/{camera}/coverage", "getCoverage", camera_coverage, "Coverage", (START, END)),
    _get("cameras/{camera}/timeline", "getTimeline", camera_timeline, "Timeline", (START, END, RESOLUTION)),
    _get("cameras/{camera}/why", "getWhy", camera_why, "Why",
         (Param("time", "time", "the moment in question", required=True),)),
)  # fmt: skip
