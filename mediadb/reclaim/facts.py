"""What retention knows of a sealed segment: its size, its end, and which stretches of which tracks it holds.

Law: read-only. The end comes from the footer; when that cannot be read, from the blocks; when those cannot either,
from the file's own time, so that a damaged segment ages like the others. Used by `mediadb.reclaim.reclaimer`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediadb.errors import MediaDbError
from mediadb.format.constants import NO_TIME
from mediadb.fs import FileStat, Fs
from mediadb.read.part import Part, part_spans
from mediadb.segment_files import SEALED, read_config, read_footer, read_header, read_track, walk_index
from mediadb.types import TrackConfig

NIL: Final = uuid.UUID(int=0)
MAX_SPANS: Final = 64  # stretches kept per track and segment; more are merged over their shortest holes
Spans = dict[uuid.UUID, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class SegmentFact:
    """A sealed segment. `load_spans` reads the stretches of media when the removal is written down."""

    path: Path
    segment: uuid.UUID
    end_us: int
    disk_bytes: int
    load_spans: Callable[[], Spans]


def sealed_facts(fs: Fs, folder: Path, known: dict[Path, SegmentFact]) -> Iterator[SegmentFact]:
    """Sealed segments of a day folder by name, which is by time of creation; `known` is the memory of earlier calls."""
    for name in fs.listdir(folder):
        path = folder / name
        if path.suffix != SEALED:
            continue
        fact = known.get(path)
        if fact is None:
            status = fs.stat(path)
            if status is None:
                continue
            fact = known[path] = _fact(fs, path, status)
        yield fact


def _fact(fs: Fs, path: Path, status: FileStat) -> SegmentFact:
    fd = fs.open_read(path)
    segment, end_us = NIL, NO_TIME
    try:
        segment = read_header(fs, fd).segment
        head, _ = read_footer(fs, fd)
        end_us = max([t.end_us for t in head.tracks if t.media_count], default=head.last_wall_us)
    except MediaDbError:
        end_us = status.changed_us
    finally:
        fs.close(fd)
    return SegmentFact(
        path, segment, end_us if end_us != NO_TIME else status.changed_us, status.disk_bytes,
        lambda: _spans(fs, path),
    )  # fmt: skip


def _spans(fs: Fs, path: Path) -> Spans:
    fd = fs.open_read(path)
    try:
        return {
            part_track: thin_out([(s.start_us, s.end_us) for s in part_spans(part, codings)])
            for part_track, part, codings in _parts(fs, fd, path)
        }
    except MediaDbError:
        return {}  # nothing in it could be read: the removal names the segment alone
    finally:
        fs.close(fd)


def _parts(fs: Fs, fd: int, path: Path) -> Iterator[tuple[uuid.UUID, Part, list[TrackConfig | None]]]:
    header = read_header(fs, fd)
    try:
        head, _ = read_footer(fs, fd)
        tracks = [(t.track, *read_track(fs, fd, t)) for t in head.tracks if t.media_count]
    except MediaDbError:
        index = walk_index(fs, path)
        tracks = [(track, t.configs, t.media, t.notes) for track, t in index.tracks.items() if t.media.count]
    for track, configs, media, notes in tracks:
        codings: list[TrackConfig | None] = []
        for place in configs:
            try:
                codings.append(read_config(fs, fd, place)[1])
            except MediaDbError:
                codings.append(None)
        part = Part(path.name, header.segment, header.run, "", 0, 0, configs, media, notes, media.count)
        yield track, part, codings


def thin_out(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most MAX_SPANS stretches: neighbours with the shortest holes between them are merged."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    while len(out) > MAX_SPANS:
        at = min(range(len(out) - 1), key=lambda i: out[i + 1][0] - out[i][1])
        out[at : at + 2] = [(out[at][0], out[at + 1][1])]
    return out
