"""What the engine and the state database say, as the JSON of the API.

Law: pure; the only place that knows the names of these answers' members. `schemas` describes them, a test compares
the two. Called by the list handlers, the WebSocket and the stream API.
"""

from __future__ import annotations

from typing import Any

from mediadb.types import Interval
from recorderd.engine.views import CameraView, HardwareView, StorageView, StreamView, TrackView
from recorderd.server.timespan import show_time
from recorderd.state.events import Event
from recorderd.state.jobs import Job


def camera_json(view: CameraView) -> dict[str, Any]:
    recording = view.recording
    return {
        "id": str(view.id),
        "name": view.name,
        "channel": view.channel,
        "hardware_id": str(view.hardware_id),
        "hardware": view.hardware,
        "storage": view.storage,
        "record": view.record,
        "state": view.state,
        "reason": view.reason,
        "connected": view.connected,
        "streams": [stream_json(stream) for stream in view.streams],
        "recording": {
            "state": recording.state,
            "reason": recording.reason,
            "since": show_time(recording.since_us),
            "last_committed": show_time(recording.last_committed_us),
            "not_recording": recording.not_recording,
        },
    }


def stream_json(stream: StreamView) -> dict[str, Any]:
    return {
        "role": stream.role,
        "connected": stream.connected,
        "reason": stream.reason,
        "codec": stream.codec,
        "codec_string": stream.codec_string,
        "width": stream.width,
        "height": stream.height,
        "fps": stream.fps,
        "bitrate": stream.bitrate,
        "viewers": stream.viewers,
        "tracks": [track_json(track) for track in stream.tracks],
    }


def track_json(track: TrackView) -> dict[str, Any]:
    return {
        "id": str(track.id),
        "kind": track.kind,
        "codec": track.codec,
        "codec_string": track.codec_string,
        "state": track.state,
        "reason": track.reason,
        "since": show_time(track.since_us),
        "last_committed": show_time(track.last_committed_us),
        "not_recording": track.not_recording,
        "counters": dict(track.counters),
    }


def hardware_json(view: HardwareView) -> dict[str, Any]:
    return {
        "id": str(view.id),
        "name": view.name,
        "driver": view.driver,
        "address": view.address,
        "state": view.state,
        "reason": view.reason,
        "message": view.message,
        "since": show_time(view.since_us),
        "retry": show_time(view.retry_us),
        "attempts": view.attempts,
        "driver_bugs": view.driver_bugs,
        "vendor": view.vendor,
        "model": view.model,
        "firmware": view.firmware,
        "serial": view.serial,
        "cameras": [str(camera) for camera in view.cameras],
        "stats": dict(view.stats),
    }


def storage_json(view: StorageView) -> dict[str, Any]:
    return {
        "name": view.name,
        "path": view.path,
        "state": view.state,
        "code": view.code,
        "params": dict(view.params),
        "since": show_time(view.since_us),
        "last_commit": show_time(view.last_commit_us),
        "commits": view.commits,
        "shed_samples": view.shed_samples,
        "stats": dict(view.stats),
    }


def event_json(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "time": show_time(event.time_us),
        "code": event.code,
        "camera": str(event.camera) if event.camera else None,
        "hardware": str(event.hardware) if event.hardware else None,
        "params": dict(event.params),
    }


def job_json(job: Job) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "kind": job.kind,
        "state": str(job.state),
        "progress": job.progress,
        "detail": dict(job.detail) if job.detail is not None else None,
        "params": dict(job.params),
        "result": dict(job.result) if job.result is not None else None,
        "error": dict(job.error) if job.error is not None else None,
        "created": show_time(job.created_us),
        "started": show_time(job.started_us),
        "finished": show_time(job.finished_us),
    }


def interval_json(interval: Interval) -> dict[str, Any]:
    """One stretch with exactly one state; `damaged` qualifies recorded footage."""
    shown: dict[str, Any] = {
        "start": show_time(interval.start_us),
        "end": show_time(interval.end_us),
        "state": str(interval.cause.state),
        "reason": interval.cause.reason,
        "params": interval.cause.params,
    }
    if interval.damaged_packets or interval.damaged_samples:
        shown["damaged"] = {"packets": interval.damaged_packets, "frames": interval.damaged_samples}
    return shown
