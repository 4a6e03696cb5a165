"""Get every chunk that verifies out of a damaged volume, folder, image, device or loose segment, into a clean volume.

Law: never writes to the source; needs none of its names, VOLUME, LOG or footers. What is found twice is taken once.
Nothing is invented: chunks keep their bytes; what is missing is said, per camera, with its time and why. May find
footage that retention had removed from a disk whose blocks were not used again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.errors import MediaDbError
from mediadb.format.block import BlockHeader
from mediadb.format.ledger_page import Page
from mediadb.format.segment_header import SegmentHeader
from mediadb.fs import Fs
from mediadb.tools.salvage_ledger import OldLedger
from mediadb.tools.salvage_scan import FoundChunk, Losses, Source, scan
from mediadb.tools.salvage_spans import Found
from mediadb.tools.salvage_target import NIL, Home, Target
from mediadb.tools.verify import NOT_SALVAGED
from mediadb.types import Kind, Names, TrackSpec

STORAGE: Final = "salvaged"  # where the source does not name one
MAX_DEPTH: Final = 12
MAX_HOLES: Final = 1000
MAX_WAITING: Final = 1_000_000
Tell = Callable[[Path, int, int], None]


class TargetError(MediaDbError):
    """The target cannot be used."""

    code = "salvage-target"


@dataclass(slots=True)
class TrackResult:
    """What was found of a track. `holes`: (start_us, end_us, chunks, "removed" or "not-salvaged")."""

    spec: TrackSpec
    names: Names
    chunks: int = 0
    samples: int = 0
    stored_bytes: int = 0
    first_us: int = 0
    end_us: int = 0
    damaged: int = 0
    missing: int = 0
    holes: list[tuple[int, int, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Salvaged:
    """The whole result. `without_config`: chunks that verify, but whose coding was nowhere to be found."""

    tracks: dict[uuid.UUID, TrackResult] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    files: int = 0
    read_bytes: int = 0
    twice: int = 0
    without_config: int = 0
    ledger_pages: int = 0
    segments: int = 0
    unopened: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Was everything found that is known to have been there?"""
        losses = self.losses.unreadable_bytes or self.losses.damaged or self.without_config or self.unopened
        return not losses and not any(t.missing for t in self.tracks.values())


def salvage(fs: Fs, source: Path, root: Path, now_us: int, tell: Tell | None = None) -> Salvaged:
    """Read `source`, make `root`. Raises TargetError before anything is written, OSError when the target fails."""
    status = fs.stat(source)
    if status is None:
        raise FileNotFoundError(2, "no such file or folder", str(source))
    files = sorted(_files(fs, source, 0)) if status.is_dir else [source]
    _check_target(fs, source, root)
    return _Salvage(fs, source, Target(fs, root, now_us), tell).run(files)


def _check_target(fs: Fs, source: Path, root: Path) -> None:
    if root == source or root.is_relative_to(source) or source.is_relative_to(root):
        raise TargetError(f"{root}: the target must lie outside the source")
    if [name for name in fs.listdir(root) if name != "lost+found"]:
        raise TargetError(f"{root} is not empty; choose an empty folder")
    status = fs.stat(root)
    if status is not None and not status.is_dir:
        raise TargetError(f"{root} is no folder")


def _files(fs: Fs, folder: Path, depth: int) -> Iterator[Path]:
    if depth > MAX_DEPTH:
        return
    for name in fs.listdir(folder):
        path = folder / name
        status = fs.stat(path)
        if status is not None and status.is_dir:
            yield from _files(fs, path, depth + 1)
        elif status is not None and not name.startswith("catalog.db"):
            yield path


class _Salvage:
    def __init__(self, fs: Fs, source: Path, target: Target, tell: Tell | None) -> None:
        self._fs, self._source, self._target = fs, source, target
        self._tell = tell or (lambda *_: None)
        self._ledger = OldLedger(fs, target)
        self._found: dict[tuple[int, uuid.UUID], Found] = {}
        self._storages: dict[tuple[int, uuid.UUID], str] = {}
        self._waiting: list[tuple[Path, int, int]] = []
        self._result = Salvaged()

    def run(self, files: list[Path]) -> Salvaged:
        for path in files:
            self._file(path)
        self._again()
        self._target.flush()
        segments = self._target.finish()
        self._ledger.sealed(segments)
        self._holes()
        self._ledger.close()
        result = self._result
        result.ledger_pages, result.segments = self._ledger.pages, len(segments)
        for raw, count in result.losses.damaged.items():
            track = result.tracks.get(uuid.UUID(bytes=raw))
            if track is not None:
                track.damaged = count
        return result

    def _file(self, path: Path) -> None:
        try:
            source = Source(self._fs, path, self._result.losses)
        except OSError as error:
            self._result.unopened.append(f"{path}: {error.strerror}")
            return
        storage, log = _place(path.relative_to(self._source) if path != self._source else Path(path.name))
        self._result.files += 1
        self._result.read_bytes += source.size
        try:
            for found in scan(source, self._result.losses):
                self._take(found, path, storage, log)
                if isinstance(found, FoundChunk):
                    self._tell(path, found.offset, source.size)
        finally:
            source.close()
        self._target.flush()

    def _take(self, found: object, path: Path, storage: str, log: uuid.UUID) -> None:
        if isinstance(found, FoundChunk):
            self._chunk(found, path, storage)
        elif isinstance(found, BlockHeader):
            self._target.flush()
        elif isinstance(found, SegmentHeader):
            self._target.flush()
            self._target.home(found.run, Home(storage, found.log, found.server))
        elif isinstance(found, Page):
            self._ledger.page(found, storage, log)

    def _chunk(self, found: FoundChunk, path: Path, storage: str) -> None:
        header = found.header
        if header.kind == Kind.CONFIG:
            self._target.config(found)
            return
        if not self._target.has_config(header):
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((path, found.offset, len(found.raw)))
            return
        track = uuid.UUID(bytes=header.track)
        seqs = self._found.setdefault((header.run, track), Found())
        if header.seq in seqs:
            self._result.twice += 1
            return
        seqs.add(header.seq, header.recv_us, header.end_us)
        self._storages.setdefault((header.run, track), storage)
        self._count(found, track)
        self._target.chunk(found, storage)

    def _count(self, found: FoundChunk, track: uuid.UUID) -> None:
        header = found.header
        spec, names = self._target.spec_of(header)
        result = self._result.tracks.get(track)
        if result is None:
            result = self._result.tracks[track] = TrackResult(spec, names, first_us=header.recv_us)
        result.names = names
        result.chunks += 1
        result.samples += header.frame_count
        result.stored_bytes += len(found.raw)
        result.first_us = min(result.first_us, header.recv_us)
        result.end_us = max(result.end_us, header.end_us)

    def _again(self) -> None:
        """Chunks that came before the CONFIG of their coding did."""
        self._target.flush()
        waiting, self._waiting = self._waiting, []
        for path, offset, length in waiting:
            source = Source(self._fs, path, Losses())
            try:
                for found in scan(_Window(source, offset, length), Losses()):
                    if isinstance(found, FoundChunk):
                        storage, _ = _place(path.relative_to(self._source) if path != self._source else Path(path.name))
                        self._chunk(found, path, storage)
            finally:
                source.close()
        self._result.without_config = len(self._waiting)

    def _holes(self) -> None:
        """Say what is not there, in the result and in the new ledger."""
        for (run, track), seqs in self._found.items():
            home = self._target.home_of(run, self._storages[run, track])
            for hole in seqs.holes(self._ledger.told.get((run, track))):
                removed = self._ledger.was_removed(track, hole)
                result = self._result.tracks[track]
                self._ledger.hole(home, run, track, hole, removed=removed)
                if not removed:
                    result.missing += hole.end - hole.first
                if len(result.holes) < MAX_HOLES:
                    why = "removed" if removed else NOT_SALVAGED
                    result.holes.append((hole.start_us, hole.end_us, hole.end - hole.first, why))


class _Window(Source):
    """One stretch of a source."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._whole, self._offset = source, offset
        self.path, self.size = source.path, length

    def read(self, offset: int, length: int) -> bytes:
        return self._whole.read(self._offset + offset, min(length, max(0, self.size - offset)))

    def window(self, offset: int) -> bytes:
        return self.read(offset, self.size - offset)


def _place(path: Path) -> tuple[str, uuid.UUID]:
    """(storage, log) by the path of a file in its volume; ("salvaged", NIL) where that says nothing."""
    parts = path.parts
    for at, part in enumerate(parts[:-2]):
        if part in ("log", "ledger", "archive"):
            try:
                return parts[at + 1], uuid.UUID(parts[at + 2]) if part != "archive" else NIL
            except ValueError:
                continue
    return STORAGE, NIL
