"""An export that can be broken off and go on: one camera, a file per hour, and a journal of what is on disk.

Law: what is on disk when it is done is what an export that nobody disturbed would have left, byte by byte; a file that
cannot be continued so (its footage is another now) begins again. The journal `STEM.export` lies beside the files until
the manifest is durable. Called by whoever exports from a running server; files and manifest are `movie.export`'s.

Procedure per file: plan (every payload checked), append to NAME.part, now and then sync and journal how far; sync,
rename, journal the file. Going on: cut NAME.part to what the journal says is synced, hash it, append.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mediadb.errors import ChunkError
from mediadb.fs import Fs, replace_file, write_all
from mediadb.movie.export import STEP_BYTES, ExportRequest, export_tracks, write_manifest
from mediadb.movie.manifest import FileFacts, file_name
from mediadb.movie.movie import Movie, build_movie
from mediadb.movie.row_range import Skipped
from mediadb.read.chunks import ChunkRef
from mediadb.read.reader import Reader

PIECE_US: Final = 3_600_000_000
SYNC_BYTES: Final = 64 << 20
ATTEMPTS: Final = 3  # footage may go, or show damage, while it is copied: then the file is planned anew
Watch = Callable[[int], None]
"""Told how many bytes were written since the last call; raises to break off."""


@dataclass(slots=True)
class _Journal:
    """`files`: per hour its file, None when it has no footage. `part`: ETag and synced bytes of the one begun."""

    files: list[FileFacts | None] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    part: tuple[str, int] | None = None

    def dump(self) -> bytes:
        record = {
            "files": [asdict(one) if one is not None else None for one in self.files],
            "skipped": [{**asdict(one), "track": str(one.track)} for one in self.skipped],
            "part": self.part,
        }
        return json.dumps(record).encode()

    @classmethod
    def load(cls, data: bytes) -> _Journal:
        record: dict[str, Any] = json.loads(data)
        return cls(
            [FileFacts(**one) if one is not None else None for one in record["files"]],
            [Skipped(**{**one, "track": uuid.UUID(one["track"])}) for one in record["skipped"]],
            (str(record["part"][0]), int(record["part"][1])) if record["part"] else None,
        )


class PieceExport:
    """`run` does all of it, or goes on where an earlier one of the same request and stem was broken off."""

    def __init__(self, reader: Reader, fs: Fs, request: ExportRequest, stem: str, watch: Watch) -> None:
        self._reader, self._fs, self._request, self._stem, self._watch = reader, fs, request, stem, watch
        self._journal_path = request.folder / f"{stem}.export"
        self._journal = _Journal()

    def run(self) -> Path:
        """The manifest. Raises OSError (a full disk), ChunkError, and what `watch` raises; then `run` of another object
        goes on."""
        fs, manifest = self._fs, self._request.folder / f"{self._stem}.json"
        fs.mkdirs(self._request.folder)
        if fs.stat(manifest) is None:
            self._load()
            for number, span in enumerate(pieces(self._request.start_us, self._request.end_us)):
                if number >= len(self._journal.files):
                    self._piece(number, span)
            files = [one for one in self._journal.files if one is not None]
            write_manifest(self._reader, fs, self._request, self._stem, (files, self._journal.skipped))
        if fs.stat(self._journal_path) is not None:
            fs.unlink(self._journal_path)
        return manifest

    def _piece(self, number: int, span: tuple[int, int]) -> None:
        for left in reversed(range(ATTEMPTS)):
            skipped: list[Skipped] = []
            movie = self._plan(span, skipped)
            try:
                facts = self._file(number, movie) if movie is not None else None
            except ChunkError:
                if not left:
                    raise
                continue
            self._journal = _Journal([*self._journal.files, facts], self._journal.skipped + skipped)
            self._save()
            return

    def _plan(self, span: tuple[int, int], skipped: list[Skipped]) -> Movie | None:
        def doubt(_: ChunkRef) -> bool:
            self._watch(0)
            return True

        tracks = [t.spec.track for t in export_tracks(self._reader, self._request)]
        return build_movie(self._reader, tracks, *span, doubt, skipped)

    def _file(self, number: int, movie: Movie) -> FileFacts:
        path = self._request.folder / file_name(self._stem, number)
        part = path.with_name(path.name + ".part")
        digest = hashlib.sha256()
        if self._fs.stat(path) is not None:  # renamed, and broken off before the journal knew
            self._fs.rename(path, part)
            if self._journal.part is not None and self._journal.part[0] == movie.etag:
                self._journal.part = (movie.etag, movie.total_bytes)
        fd = self._open(part, movie)
        try:
            at = self._known(fd, digest)
            while at < movie.total_bytes:
                at = self._step(fd, movie, at, digest)
            self._fs.fdatasync(fd)
        finally:
            self._fs.close(fd)
        self._fs.rename(part, path)
        self._fs.fsync_dir(path.parent)
        samples = sum(t.samples - t.gap_repeats for t in movie.facts)
        return FileFacts(path.name, movie.total_bytes, digest.hexdigest(), samples, movie.start_us)

    def _step(self, fd: int, movie: Movie, at: int, digest: Any) -> int:
        """Append up to STEP_BYTES; the position after them."""
        begun = at
        for piece in movie.read(self._reader, at, min(at + STEP_BYTES, movie.total_bytes)):
            digest.update(piece)
            at = write_all(self._fs, fd, [piece], at)
        assert self._journal.part is not None
        if at - self._journal.part[1] >= SYNC_BYTES:
            self._fs.fdatasync(fd)
            self._journal.part = (movie.etag, at)
            self._save()
        try:
            self._watch(at - begun)
        except BaseException:
            self._fs.fdatasync(fd)
            self._journal.part = (movie.etag, at)
            self._save()
            raise
        return at

    def _open(self, part: Path, movie: Movie) -> int:
        """The part to append to, cut to what is known to be on disk; empty when it is of another file."""
        fs, known = self._fs, self._journal.part
        if known is None or known[0] != movie.etag or fs.stat(part) is None:
            if fs.stat(part) is not None:
                fs.unlink(part)
            self._journal.part = (movie.etag, 0)
            self._save()
            return fs.create(part)
        fd = fs.open_write(part)
        if fs.fstat(fd).size < known[1]:
            self._journal.part = (movie.etag, 0)
        fs.truncate(fd, self._journal.part[1] if self._journal.part else 0)
        return fd

    def _known(self, fd: int, digest: Any) -> int:
        """Hash what the part has already; its length."""
        assert self._journal.part is not None
        at, end = 0, self._journal.part[1]
        while at < end:
            data = self._fs.pread(fd, min(STEP_BYTES, end - at), at)
            digest.update(data)
            self._watch(len(data))
            at += len(data)
        return at

    def _load(self) -> None:
        found = self._fs.stat(self._journal_path)
        if found is None:
            return
        fd = self._fs.open_read(self._journal_path)
        try:
            self._journal = _Journal.load(self._fs.pread(fd, found.size, 0))
        except (ValueError, KeyError, TypeError):
            self._journal = _Journal()  # not ours: begin again, nothing of it is believed
        finally:
            self._fs.close(fd)
        for one in self._journal.files:
            if one is not None:
                self._watch(one.size_bytes)

    def _save(self) -> None:
        replace_file(self._fs, self._journal_path, self._journal.dump())


def pieces(start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """[start, end) in hours."""
    while start_us < end_us:
        yield start_us, min(end_us, start_us + PIECE_US)
        start_us += PIECE_US


def estimated_bytes(reader: Reader, request: ExportRequest) -> int:
    """About how long the files will be, from the index alone: never less than the samples in the range."""
    total = 0
    for track in export_tracks(reader, request):
        for ref in reader.chunks(track.spec.track, request.start_us, request.end_us):
            total += ref.row.payload_len
    return total
