"""A clean volume made of salvaged chunks: segments of the run they came from, with the bytes they had.

Law: chunks keep every byte, their run and their number; nothing is renumbered or filled in. What is new is only the
frame: volume, segment files, footers. Written by the segment writer the daemon uses. Memory is bounded by one commit.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader, decode_chunk_header, encode_chunk_header
from mediadb.format.constants import NO_COMMIT, SALT_LEN
from mediadb.format.footer import FooterHead
from mediadb.format.identity import LOG_FILE_BYTES, LogIdentity, encode_log_slot
from mediadb.format.records import config_hash, decode_config, decode_names, load_record
from mediadb.format.segment_header import SegmentHeader
from mediadb.fs import Fs, replace_file
from mediadb.locks import LOG_NAME, create_volume
from mediadb.tools.salvage_scan import FoundChunk
from mediadb.types import Kind, Names, Origin, TrackSpec
from mediadb.write.segment import OPEN_SUFFIX, Batch, SegmentWriter
from mediadb.write.segment_chunk import SealedChunk, TrackState
from mediadb.write.segment_layout import CommitStamp

BATCH_BYTES: Final = 64 << 20  # a commit is never longer
SYNC_BYTES: Final = 32 << 20
SEGMENT_BYTES: Final = 1 << 30
SEGMENT_US: Final = 600_000_000
NIL: Final = uuid.UUID(int=0)
LIVE: Final = int(Origin.LIVE)


@dataclass(frozen=True, slots=True)
class Home:
    """Whose a run is: the storage's name, its log and its server; NIL where nothing says it."""

    storage: str
    log: uuid.UUID = NIL
    server: uuid.UUID = NIL


@dataclass(slots=True)
class _Config:
    """A CONFIG chunk as it was found, and what it says."""

    header: ChunkHeader
    rest: bytes  # table and payload
    spec: TrackSpec
    names: Names


@dataclass(slots=True)
class _Open:
    """A segment being written and what it holds so far."""

    writer: SegmentWriter
    first_us: int
    last_seq: dict[bytes, int] = field(default_factory=dict)
    staged: int = 0


@dataclass(frozen=True, slots=True)
class Sealed:
    """A segment of the target."""

    home: Home
    path: Path
    head: FooterHead
    size: int
    lane: bool


class Target:
    """Use: `home` when a run's log is known, `config` and `chunk` for what was found, `flush` at the end of a commit,
    `finish`. Raises OSError."""

    def __init__(self, fs: Fs, root: Path, now_us: int) -> None:
        self._fs, self.root, self._now_us = fs, root, now_us
        self.volume = create_volume(fs, root, now_us).volume
        self._homes: dict[int, Home] = {}
        self._orphans: dict[str, uuid.UUID] = {}  # log of a storage for runs that nothing tells of
        self._configs: dict[tuple[bytes, bytes], _Config] = {}
        self._sealed_configs: dict[tuple[bytes, bytes, int], SealedChunk] = {}
        self._batch: list[FoundChunk] = []
        self._batch_bytes = 0
        self._batch_run = 0
        self._storage = ""
        self._open: dict[tuple[int, bytes], _Open] = {}
        self._numbers: dict[object, int] = {}
        self._counters: dict[int, int] = {}
        self._newest: dict[tuple[str, uuid.UUID], tuple[int, int, int, uuid.UUID]] = {}  # epoch, run, time, server
        self.sealed: list[Sealed] = []

    def home(self, run: int, home: Home) -> None:
        """Where a run belongs, from a segment header or a path; the first word counts, and who first names a server."""
        known = self._homes.setdefault(run, home)
        if known.server == NIL and known.log == home.log:
            self._homes[run] = home

    def home_of(self, run: int, storage: str) -> Home:
        """Where a run goes; one that nothing tells of goes into a log of its own."""
        known = self._homes.get(run)
        if known is not None and known.log != NIL:
            return known
        log = self._orphans.setdefault(storage, uuid.uuid4())
        found = self._homes[run] = Home(storage, log, NIL)
        return found

    def has_config(self, header: ChunkHeader) -> bool:
        return (header.track, header.config_hash) in self._configs

    def config(self, found: FoundChunk) -> TrackSpec | None:
        """Remember a CONFIG chunk; None when its record cannot be read."""
        header, rest = found.header, found.raw[CHUNK_HEADER_BYTES:]
        table, record = rest[: header.table_len], rest[header.table_len + SALT_LEN :]
        if config_hash(record) != header.config_hash:
            return None
        try:
            spec, _ = decode_config(record)
            names = decode_names(load_record(table)) if table else Names()
        except FormatError:
            return None
        self._configs.setdefault((header.track, header.config_hash), _Config(header, rest, spec, names))
        return spec

    def spec_of(self, header: ChunkHeader) -> tuple[TrackSpec, Names]:
        known = self._configs[header.track, header.config_hash]
        return known.spec, known.names

    def chunk(self, found: FoundChunk, storage: str) -> None:
        """Take a chunk whose CONFIG is known."""
        if self._batch and (found.header.run != self._batch_run or storage != self._storage):
            self.flush()
        self._batch.append(found)
        self._batch_run, self._storage = found.header.run, storage
        self._batch_bytes += len(found.raw)
        if self._batch_bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """A commit ends: write what was taken, in order of its numbers."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        groups: dict[tuple[int, bytes], list[FoundChunk]] = {}
        for found in sorted(batch, key=lambda f: (f.header.track, f.header.seq)):
            lane = found.header.track if found.header.origin != LIVE else b""
            groups.setdefault((found.header.run, lane), []).append(found)
        for key, chunks in groups.items():
            self._write(key, chunks)

    def _write(self, key: tuple[int, bytes], chunks: list[FoundChunk]) -> None:
        segment = self._open.get(key)
        first_us = min(found.header.recv_us for found in chunks)
        if segment is not None and self._is_over(segment, chunks, first_us):
            self._seal(key)
            segment = None
        if segment is None:
            self._seal_all_but(key)
            segment = self._open[key] = self._create(key, chunks[0].header, first_us)
        header = segment.writer.index.header
        counter = self._counters.get(header.run, 0)
        self._counters[header.run] = counter + 1
        wall = max(found.header.end_us for found in chunks)
        stamp = CommitStamp(header.segment, header.run, (header.epoch, counter), NO_COMMIT, wall)
        tracks: dict[bytes, TrackState] = {}
        for found in chunks:
            spec, names = self.spec_of(found.header)
            tracks.setdefault(found.header.track, TrackState(spec, names))
            segment.last_seq[found.header.track] = found.header.seq
        segment.writer.append(Batch([self._sealed_chunk(found) for found in chunks], tracks), stamp)
        segment.staged += sum(len(found.raw) for found in chunks)
        if segment.staged >= SYNC_BYTES:
            segment.writer.sync()
            segment.writer.publish()
            segment.staged = 0

    def _is_over(self, segment: _Open, chunks: list[FoundChunk], first_us: int) -> bool:
        falls = any(f.header.seq <= segment.last_seq.get(f.header.track, -1) for f in chunks)
        return falls or segment.writer.end >= SEGMENT_BYTES or abs(first_us - segment.first_us) >= SEGMENT_US

    def _sealed_chunk(self, found: FoundChunk) -> SealedChunk:
        header, raw = found.header, found.raw
        data = len(raw) - CHUNK_HEADER_BYTES - header.table_len - SALT_LEN
        media = data if header.kind not in (Kind.GAP, Kind.MARK) else 0
        config = self._config_for(header)
        return SealedChunk(header, raw[:CHUNK_HEADER_BYTES], (raw,), len(raw), media, config, header.end_us)

    def _config_for(self, header: ChunkHeader) -> SealedChunk:
        """The CONFIG chunk, as found; for another run the same record under that run."""
        key = (header.track, header.config_hash, header.run)
        known = self._sealed_configs.get(key)
        if known is None:
            found = self._configs[header.track, header.config_hash]
            own = found.header._replace(run=header.run, epoch=header.epoch, origin=header.origin)
            raw = encode_chunk_header(found.header if found.header.run == header.run else own)
            own = decode_chunk_header(raw)
            known = self._sealed_configs[key] = SealedChunk(own, raw, (raw, found.rest), own.chunk_len)
        return known

    def _create(self, key: tuple[int, bytes], header: ChunkHeader, first_us: int) -> _Open:
        run, lane = key
        home = self.home_of(run, self._storage)
        at = datetime.fromtimestamp(max(0, min(first_us, 253_402_300_799_000_000)) / 1_000_000, UTC)
        counted: object = key if lane else home.log
        number = self._numbers.get(counted, 0)
        self._numbers[counted] = number + 1
        origin = Origin(header.origin) if lane else Origin.LIVE
        own = SegmentHeader(
            segment=uuid.uuid4(), log=home.log, volume=self.volume, server=home.server, run=run,
            epoch=header.epoch, number=number, created_us=first_us, origin=origin,
        )  # fmt: skip
        if lane:
            folder = self.root / "archive" / home.storage / str(uuid.UUID(bytes=lane)) / f"{at:%Y-%m-%d}"
            name = f"{at:%Y%m%dT%H%M%SZ}-{run:016x}-{number:06d}"
        else:
            folder = self._log_folder(home) / f"{at:%Y-%m-%d}"
            name = f"{at:%Y%m%dT%H%M%SZ}-{header.epoch:08d}-{number:06d}"
            log = (home.storage, home.log)
            now = (header.epoch, run, max(0, first_us), home.server)
            self._newest[log] = max(self._newest.get(log, now), now)
        return _Open(SegmentWriter.create(self._fs, folder / (name + OPEN_SUFFIX), own, SEGMENT_BYTES), first_us)

    def _log_folder(self, home: Home) -> Path:
        return self.root / "log" / home.storage / str(home.log)

    def _seal_all_but(self, key: tuple[int, bytes]) -> None:
        """At most a few files are open: those of the run that is being read."""
        for other in [other for other in self._open if other[0] != key[0]]:
            self._seal(other)

    def _seal(self, key: tuple[int, bytes]) -> None:
        segment = self._open.pop(key)
        segment.writer.sync()
        segment.writer.publish()
        path, head = segment.writer.seal()
        status = self._fs.stat(path)
        home = self.home_of(key[0], self._storage)
        self.sealed.append(Sealed(home, path, head, status.size if status else 0, bool(key[1])))

    def finish(self) -> list[Sealed]:
        """Write what waits, seal everything, make the LOG files; all segments of the target."""
        self.flush()
        for key in list(self._open):
            self._seal(key)
        for (storage, log), (epoch, run, at_us, server) in self._newest.items():
            slot = encode_log_slot(LogIdentity(1, self.volume, log, server, epoch, run, at_us))
            folder = self._log_folder(Home(storage, log))
            replace_file(self._fs, folder / LOG_NAME, slot.ljust(LOG_FILE_BYTES, b"\0"))
        return self.sealed
