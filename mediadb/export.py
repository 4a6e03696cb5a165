"""Footage out of a storage: one MP4 per camera, with a manifest of what it covers and what it does not.

Law: reads through `mediadb.reader`, writes beside the storage only. A file is there whole or not at all (written under
another name, synced, renamed). The manifest says per instant of the range whether it is recorded and else why; it is
the recorder's statement, not a proof.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mediadb.fs import Fs, write_all
from mediadb.movie import Movie, build_movie
from mediadb.reader import Reader, TrackInfo
from mediadb.tool_times import show_time
from mediadb.types import Interval, State, TrackKind

FORMAT: Final = "recorderd-export"
VERSION: Final = 0
STEP_BYTES: Final = 4 << 20
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One camera and a range [start_us, end_us); `stream` is a role ("main", "sub")."""

    camera: uuid.UUID
    start_us: int
    end_us: int
    folder: Path
    stream: str = "main"


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written. `path` is None when there is no footage in the range: the manifest says why."""

    manifest: Path
    path: Path | None
    total_bytes: int
    samples: int
    complete: bool
    skipped: list[str] = field(default_factory=list)


def export_camera(
    reader: Reader, fs: Fs, request: ExportRequest, progress: Progress = lambda _done, _all: None
) -> ExportResult:
    """Write MP4 and manifest into `request.folder`. Raises OSError, ChunkError (footage reclaimed while exporting),
    ValueError for an empty range."""
    tracks = export_tracks(reader, request.camera, request.stream)
    movie = build_movie(reader, [t.spec.track for t in tracks], request.start_us, request.end_us)
    fs.mkdirs(request.folder)
    stem = _free_stem(fs, request, tracks)
    files: list[dict[str, Any]] = []
    path = None
    if movie is not None:
        path = request.folder / f"{stem}.mp4"
        digest = _write_movie(reader, fs, movie, path, progress)
        files.append(
            {
                "name": path.name,
                "bytes": movie.total_bytes,
                "sha256": digest,
                "samples": sum(t.samples - t.gap_repeats for t in movie.file.tracks),
            }
        )
    covered = reader.coverage([t.spec.track for t in tracks], request.start_us, request.end_us)
    manifest = request.folder / f"{stem}.json"
    record = _manifest(request, tracks, movie, files, covered)
    _write_whole(fs, manifest, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")
    return ExportResult(
        manifest,
        path,
        movie.total_bytes if movie is not None else 0,
        files[0]["samples"] if files else 0,
        not (movie.skipped if movie is not None else ()),
        movie.skipped if movie is not None else [],
    )


def export_tracks(reader: Reader, camera: uuid.UUID, stream: str) -> list[TrackInfo]:
    """Video and audio tracks of one stream of a camera, video first."""
    found = [
        t
        for t in reader.tracks()
        if t.spec.camera == camera and t.spec.stream == stream and t.spec.kind is not TrackKind.METADATA
    ]
    return sorted(found, key=lambda t: (t.spec.kind, str(t.spec.track)))


def interval_record(interval: Interval) -> dict[str, Any]:
    """An interval as JSON: times as RFC 3339 and as microseconds."""
    record: dict[str, Any] = {
        "start": show_time(interval.start_us),
        "end": show_time(interval.end_us),
        "start_us": interval.start_us,
        "end_us": interval.end_us,
        "state": interval.cause.state.value,
        "reason": interval.cause.reason,
    }
    if interval.cause.params:
        record["params"] = interval.cause.params
    if interval.damaged_packets or interval.damaged_samples:
        record["damaged"] = {"packets": interval.damaged_packets, "samples": interval.damaged_samples}
    return record


def _manifest(
    request: ExportRequest,
    tracks: Sequence[TrackInfo],
    movie: Movie | None,
    files: list[dict[str, Any]],
    covered: dict[uuid.UUID, list[Interval]],
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "signed": False,
        "statement": "Causes of gaps are what the recorder stated; this manifest is not signed.",
        "camera": str(request.camera),
        "name": tracks[0].names.camera if tracks else "",
        "hardware": tracks[0].names.hardware if tracks else "",
        "stream": request.stream,
        "start": show_time(request.start_us),
        "end": show_time(request.end_us),
        "first_sample": show_time(movie.file.start_us) if movie is not None else None,
        "files": files,
        "skipped": movie.skipped if movie is not None else [],
        "tracks": [
            {
                "track": str(t.spec.track),
                "kind": t.spec.kind.name.lower(),
                "coverage": [interval_record(i) for i in covered[t.spec.track]],
                "recorded_us": sum(
                    i.end_us - i.start_us
                    for i in covered[t.spec.track]
                    if i.cause.state in (State.RECORDED, State.RETRIEVED)
                ),
            }
            for t in tracks
        ],
    }


def _write_movie(reader: Reader, fs: Fs, movie: Movie, path: Path, progress: Progress) -> str:
    """SHA-256 of the file, which is durable under its name when this returns."""
    digest = hashlib.sha256()
    part = path.with_name(path.name + ".part")
    if fs.stat(part) is not None:
        fs.unlink(part)
    fd = fs.create(part)
    try:
        at = 0
        while at < movie.total_bytes:
            end = min(at + STEP_BYTES, movie.total_bytes)
            for piece in movie.read(reader, at, end):
                digest.update(piece)
                write_all(fs, fd, [piece], at)
                at += len(piece)
            progress(at, movie.total_bytes)
        fs.fdatasync(fd)
    except BaseException:
        fs.close(fd)
        fs.unlink(part)
        raise
    fs.close(fd)
    fs.rename(part, path)
    fs.fsync_dir(path.parent)
    return digest.hexdigest()


def _write_whole(fs: Fs, path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    if fs.stat(part) is not None:
        fs.unlink(part)
    fd = fs.create(part)
    try:
        write_all(fs, fd, [content], 0)
        fs.fdatasync(fd)
    finally:
        fs.close(fd)
    fs.rename(part, path)
    fs.fsync_dir(path.parent)


def _free_stem(fs: Fs, request: ExportRequest, tracks: Sequence[TrackInfo]) -> str:
    """A file name from camera and start that is not taken yet."""
    name = _UNSAFE.sub("_", tracks[0].names.camera if tracks else "").strip("._") or str(request.camera)
    at = show_time(request.start_us)[:19].replace(":", "").replace("-", "")
    suffix = "" if request.stream == "main" else f"_{_UNSAFE.sub('_', request.stream)}"
    stem = f"{name}{suffix}_{at}Z"
    number, candidate = 1, stem
    while any(fs.stat(request.folder / f"{candidate}{ext}") is not None for ext in (".mp4", ".json")):
        number += 1
        candidate = f"{stem}_{number}"
    return candidate
