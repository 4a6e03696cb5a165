"""Footage out of a storage: one MP4 per camera, with a manifest of what it covers and what it does not.

Law: reads through `read.reader`, writes beside the storage only. A file is there whole or not at all (written under
another name, synced, renamed). The manifest says per instant of the range whether it is recorded and else why; it is
the recorder's statement, not a proof.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mediadb.fs import Fs, replace_file, write_all
from mediadb.movie.left_out import left_out
from mediadb.movie.manifest import (
    FileFacts,
    Manifest,
    file_name,
    file_stem,
    skipped_record,
    track_record,
)
from mediadb.movie.movie import Movie, build_movie
from mediadb.movie.row_range import Skipped
from mediadb.read.reader import Reader, TrackInfo
from mediadb.times import show_time
from mediadb.types import Interval, Names, TrackKind

STEP_BYTES: Final = 4 << 20
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One camera and a range [start_us, end_us); `stream` is a role ("main", "sub"); sound is left out without
    `audio`."""

    camera: uuid.UUID
    start_us: int
    end_us: int
    folder: Path
    stream: str = "main"
    audio: bool = True


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written. `path` is None when no footage of the range can be given: the manifest says why."""

    manifest: Path
    path: Path | None
    total_bytes: int
    samples: int
    skipped: list[Skipped]

    @property
    def complete(self) -> bool:
        return not self.skipped


def export_camera(
    reader: Reader, fs: Fs, request: ExportRequest, progress: Progress = lambda _done, _all: None
) -> ExportResult:
    """Write MP4 and manifest into `request.folder`. Every payload is checked before the first byte is written: what
    does not verify is left out and named. Raises OSError, ChunkError (footage reclaimed or damaged while exporting),
    ValueError for an empty range."""
    tracks = export_tracks(reader, request)
    ids = [t.spec.track for t in tracks]
    skipped: list[Skipped] = []
    movie = build_movie(reader, ids, request.start_us, request.end_us, lambda _: True, skipped)
    fs.mkdirs(request.folder)
    name = tracks[0].names.camera if tracks else ""
    stem = _free_stem(fs, request, name or str(request.camera))
    files, path = [], None
    if movie is not None:
        path = request.folder / file_name(stem, 0)
        digest = _write_movie(reader, fs, movie, path, progress)
        samples = sum(t.samples - t.gap_repeats for t in movie.file.tracks)
        files.append(FileFacts(path.name, movie.total_bytes, digest, samples, movie.file.start_us))
    manifest = write_manifest(reader, fs, request, stem, (files, skipped))
    size, samples = (files[0].size_bytes, files[0].samples) if files else (0, 0)
    return ExportResult(manifest, path, size, samples, skipped)


def export_tracks(reader: Reader, request: ExportRequest) -> list[TrackInfo]:
    """Tracks of one stream of a camera: video, audio, metadata."""
    found = [
        t
        for t in reader.tracks()
        if t.spec.camera == request.camera
        and t.spec.stream == request.stream
        and (request.audio or t.spec.kind is not TrackKind.AUDIO)
    ]
    return sorted(found, key=lambda t: (t.spec.kind, str(t.spec.track)))


def write_manifest(
    reader: Reader, fs: Fs, request: ExportRequest, stem: str, given: tuple[Sequence[FileFacts], Sequence[Skipped]]
) -> Path:
    """The manifest of what was `given` (files, and what they leave out), durable when this returns."""
    tracks = export_tracks(reader, request)
    ids = [t.spec.track for t in tracks]
    covered = reader.coverage(ids, request.start_us, request.end_us)
    names = tracks[0].names if tracks else Names("", "")
    record = Manifest(
        str(request.camera), names.camera, names.hardware, request.stream,
        request.start_us, request.end_us, given[0],
        [
            track_record(str(t.spec.track), t.spec.kind.name.lower(), [*map(interval_record, covered[t.spec.track])])
            for t in tracks
        ],
        [skipped_record(str(s.track), s.start_us, s.end_us, s.what) for s in given[1]],
        [one.what for one in left_out(reader, ids, request.start_us, request.end_us)],
    ).record()  # fmt: skip
    manifest = request.folder / f"{stem}.json"
    content = json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n"
    replace_file(fs, manifest, content)
    return manifest


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


def _free_stem(fs: Fs, request: ExportRequest, name: str) -> str:
    """A file name from camera and start that is not taken yet."""
    stem = file_stem(name, request.stream, request.start_us)
    number, candidate = 1, stem
    while any(fs.stat(request.folder / f"{candidate}{ext}") is not None for ext in (".mp4", ".json")):
        number += 1
        candidate = f"{stem}_{number}"
    return candidate
