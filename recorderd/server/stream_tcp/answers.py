"""Long answers: cameras, timeline, coverage.

Law: asks engine and reader and shows what they say; no state is worked out here. Times are whole microseconds. Called
by `requests`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mediadb.types import Interval
from recorderd.engine.views import CameraView, StreamView, TrackView
from recorderd.server.deps import ServerDeps
from recorderd.server.footage import camera_tracks, main_track, store_of
from recorderd.server.problems import Refusal
from recorderd.server.stream_tcp.limits import MAX_INTERVALS
from recorderd.services.reports.asking import coverage_of

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore


def camera_map(view: CameraView) -> dict[str, Any]:
    recording = view.recording
    return {
        "id": str(view.id), "name": view.name, "hardware": view.hardware, "storage": view.storage,
        "record": view.record, "state": view.state, "reason": view.reason, "connected": view.connected,
        "recording": {
            "state": recording.state, "reason": recording.reason, "since_us": recording.since_us,
            "last_committed_us": recording.last_committed_us, "not_recording": recording.not_recording,
        },
        "streams": [_stream_map(stream) for stream in view.streams],
    }  # fmt: skip


def _stream_map(stream: StreamView) -> dict[str, Any]:
    return {
        "role": stream.role, "connected": stream.connected, "reason": stream.reason, "codec": stream.codec,
        "codec_string": stream.codec_string, "width": stream.width, "height": stream.height, "fps": stream.fps,
        "bitrate": stream.bitrate, "tracks": [_track_map(track) for track in stream.tracks],
    }  # fmt: skip


def _track_map(track: TrackView) -> dict[str, Any]:
    return {
        "id": str(track.id), "kind": track.kind, "codec": track.codec, "codec_string": track.codec_string,
        "state": track.state, "reason": track.reason, "since_us": track.since_us,
        "last_committed_us": track.last_committed_us,
    }  # fmt: skip


async def timeline(deps: ServerDeps, view: CameraView, span: tuple[int, int], resolution_us: int) -> Mapping[str, Any]:
    """Where there is footage, per track that the database knows."""
    store: AsyncStore = store_of(deps, view)
    known = {info.spec.track for info in await store.read(store.reader.tracks)}
    shown: list[dict[str, Any]] = []
    for track in camera_tracks(view):
        if track.id in known or track.id == main_track(view):
            spans = await store.read(store.reader.spans, track.id, *span, resolution_us)
            _limit([spans])
            stretches = [[one.start_us, one.end_us] for one in spans]
            shown.append({"id": str(track.id), "stream": track.stream, "kind": track.kind, "spans": stretches})
    return {
        "camera": str(view.id), "start_us": span[0], "end_us": span[1], "resolution_us": resolution_us,
        "tracks": shown,
    }  # fmt: skip


async def coverage(deps: ServerDeps, views: Sequence[CameraView], span: tuple[int, int]) -> Mapping[str, Any]:
    """Every instant of the range has exactly one state: of each camera's main video."""
    found: dict[uuid.UUID, list[Interval]] = {}
    for storage in sorted({view.storage for view in views}):
        tracks = [main_track(view) for view in views if view.storage == storage]
        found |= await coverage_of(deps.stores, storage, tracks, span, deps.clock.utc_us())
    _limit(found.values())
    return {
        "start_us": span[0],
        "end_us": span[1],
        "cameras": [
            {"id": str(view.id), "name": view.name,
             "intervals": [_interval_map(one) for one in found.get(main_track(view), ())]}
            for view in views
        ],
    }  # fmt: skip


def _interval_map(interval: Interval) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "start_us": interval.start_us, "end_us": interval.end_us, "state": str(interval.cause.state),
        "reason": interval.cause.reason, "params": dict(interval.cause.params),
    }  # fmt: skip
    if interval.damaged_packets or interval.damaged_samples:
        shown |= {"damaged_packets": interval.damaged_packets, "damaged_frames": interval.damaged_samples}
    return shown


def _limit(lists: Iterable[Sequence[object]]) -> None:
    total = sum(len(one) for one in lists)
    if total > MAX_INTERVALS:
        raise Refusal(
            "answer-too-long",
            f"the answer would hold {total} stretches; at most {MAX_INTERVALS}: ask for less time at once",
            stretches=total, highest=MAX_INTERVALS,
        )  # fmt: skip
