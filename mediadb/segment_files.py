"""Segment files on a volume: which there are, their footers, and reads of their bytes.

Law: read-only. Lists folders, decodes header, footer and index regions through `mediadb.format`, and keeps a bounded
number of files open, so that a seek costs no `open` twice. What a segment that has no footer holds is found by walking
its blocks. Used by index, reader, verify, reclaim and the tools.
"""

from __future__ import annotations

import errno
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediadb.errors import ChunkCorrupt, ChunkGone, FormatError, StorageMissing
from mediadb.format.block import Commit, Entry
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader, decode_chunk_header
from mediadb.format.columns import ChunkColumns
from mediadb.format.constants import NO_COMMIT, SALT_LEN
from mediadb.format.footer import (
    TRAILER_BYTES,
    ConfigPlace,
    FooterHead,
    TrackSummary,
    Trailer,
    decode_head,
    decode_index,
    decode_trailer,
)
from mediadb.format.records import config_hash, decode_config, decode_names, load_record
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, SegmentHeader, decode_segment_header
from mediadb.fs import Fs
from mediadb.segment_index import SegmentIndex, TrackIndex
from mediadb.segment_scan import scan_segment
from mediadb.types import Kind, Names, TrackConfig, TrackSpec

SEALED: Final = ".rseg"
OPEN: Final = ".open"
GONE: Final = ".gone"
MAX_OPEN_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """A segment file. `name` is its path below the volume without suffix: sealing does not change it."""

    path: Path
    name: str
    sealed: bool
    archive: bool
    size: int = 0
    journal: bool = False  # has a removal journal: less may be in it than its footer says


def stem(volume: Path, path: Path) -> str:
    """The name of a segment: the same for `.open`, `.rseg` and `.gone`."""
    return str(path.relative_to(volume).with_suffix(""))


def belongs(path: Path, header: SegmentHeader) -> bool:
    """Does a segment of a log lie where it was made? A copy in another folder or under another name does not count:
    what it holds is there already, or is another log's."""
    start, epoch, number = [*path.name.split(".")[0].split("-"), "", ""][:3]
    day = f"{start[:4]}-{start[4:6]}-{start[6:8]}"
    there = (path.parent.parent.name, path.parent.name, epoch, number)
    return there == (str(header.log), day, f"{header.epoch:08d}", f"{header.number:06d}")


def names_in(fs: Fs, folder: Path) -> list[str]:
    """What may be ours: a name that is no text (bytes of another encoding, control characters) is not, and no catalog
    can hold it."""
    return [name for name in fs.listdir(folder) if name.isprintable()]


def list_folders(fs: Fs, volume: Path, storage: str) -> list[Path]:
    """The day folders of a storage, oldest name first, logs before archive."""
    roots = [volume / top / storage for top in ("log", "archive")]
    return [root / owner / day for root in roots for owner in names_in(fs, root) for day in names_in(fs, root / owner)]


def list_places(fs: Fs, volume: Path, folder: Path) -> list[SegmentPlace]:
    """The segment files of one day folder."""
    found = []
    archive = folder.is_relative_to(volume / "archive")
    names = names_in(fs, folder)
    journals = {name for name in names if name.endswith(GONE)}
    for name in names:
        path = folder / name
        if path.suffix not in (SEALED, OPEN):
            continue
        status = fs.stat(path)
        if status is not None and not status.is_dir:
            sealed, journal = path.suffix == SEALED, path.stem + GONE in journals
            found.append(SegmentPlace(path, stem(volume, path), sealed, archive, status.size, journal))
    return found


def list_segments(fs: Fs, volume: Path, storage: str) -> list[SegmentPlace]:
    """All segment files of a storage, oldest name first, logs before archive."""
    return [place for folder in list_folders(fs, volume, storage) for place in list_places(fs, volume, folder)]


def list_storages(fs: Fs, volume: Path) -> list[str]:
    """Names of the storages that have a folder on the volume."""
    tops = [volume / top for top in ("log", "archive", "ledger")]
    return sorted({name for top in tops for name in names_in(fs, top) if is_folder(fs, top / name)})


def is_folder(fs: Fs, path: Path) -> bool:
    status = fs.stat(path)
    return status is not None and status.is_dir


def _read(fs: Fs, fd: int, length: int, offset: int) -> bytes:
    """A bad place of the disk is damage of what lies there, and of nothing else: FormatError for EIO."""
    try:
        return fs.pread(fd, length, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise FormatError(f"{length} bytes at {offset} cannot be read: {error.strerror}") from error


def read_header(fs: Fs, fd: int) -> SegmentHeader:
    """FormatError when the file does not begin like a segment."""
    return decode_segment_header(_read(fs, fd, SEGMENT_PAGE_BYTES, 0))


def read_footer(fs: Fs, fd: int) -> tuple[FooterHead, Trailer]:
    """FormatError when the file is not sealed or its footer does not verify."""
    size = fs.fstat(fd).size
    if size < SEGMENT_PAGE_BYTES + TRAILER_BYTES:
        raise FormatError("the segment has no footer (not sealed)")
    trailer = decode_trailer(_read(fs, fd, TRAILER_BYTES, size - TRAILER_BYTES), size)
    return decode_head(_read(fs, fd, trailer.head_len, trailer.head_offset), trailer), trailer


def read_track(fs: Fs, fd: int, summary: TrackSummary) -> tuple[list[ConfigPlace], ChunkColumns, ChunkColumns]:
    """The index region of one track in one pread: (configs, media, notes). FormatError when damaged."""
    return decode_index(_read(fs, fd, summary.index_len, summary.index_offset), summary)


def read_config(fs: Fs, fd: int, place: ConfigPlace) -> tuple[TrackSpec, TrackConfig, Names]:
    """The CONFIG chunk at `place`. FormatError when it does not verify against its hash."""
    raw = _read(fs, fd, place.length, place.offset)
    header = decode_chunk_header(raw)
    record = raw[CHUNK_HEADER_BYTES + header.table_len + SALT_LEN : header.chunk_len]
    if header.kind != Kind.CONFIG or config_hash(record) != place.config_hash:
        raise FormatError("CONFIG chunk does not verify")
    spec, config = decode_config(record)
    names = raw[CHUNK_HEADER_BYTES : CHUNK_HEADER_BYTES + header.table_len]
    return spec, config, decode_names(load_record(names)) if names else Names()


Voids = dict[uuid.UUID, Commit]


def walk_index(fs: Fs, path: Path, voids: Voids | None = None) -> SegmentIndex:
    """The index of a segment without footer, out of its block directories.

    `voids`: per segment the first commit that was written again elsewhere. What a torn last block claims is found out
    when its chunks are read. Raises OSError, or FormatError without a valid header.
    """
    scan = scan_segment(fs, path)
    index = SegmentIndex(scan.header)
    durable_end = SEGMENT_PAGE_BYTES
    first_void = (voids or {}).get(scan.header.segment)
    durable = max((block.header.durable for block in scan.blocks if block.header.durable != NO_COMMIT), default=None)
    fd = fs.open_read(path)
    try:
        for block in scan.blocks:
            if first_void is not None and block.header.commit >= first_void:
                break
            for entry in sorted(block.entries, key=_entry_order):
                if block.offset + entry.offset + entry.header.chunk_len > scan.size:
                    continue  # the file was cut off before the end of this chunk
                _enter(fs, fd, index, entry.header, block.offset + entry.offset)
            index.note_commit(block.header.commit, block.header.wall_us)
            if block.header.supersedes is not None:
                index.supersedes.append(block.header.supersedes)
            if durable is not None and block.header.commit <= durable:
                durable_end = block.end
    finally:
        fs.close(fd)
    index.damaged = list(scan.bad)
    index.publish(durable_end)
    return index


def _entry_order(entry: Entry) -> tuple[bytes, bool, int]:
    return entry.header.track, entry.header.kind != Kind.CONFIG, entry.header.seq


def _enter(fs: Fs, fd: int, index: SegmentIndex, header: ChunkHeader, offset: int) -> None:
    track = uuid.UUID(bytes=header.track)
    entry = index.tracks.get(track)
    if entry is None:
        if header.kind != Kind.CONFIG:
            return  # nothing of this track can be read without its CONFIG
        try:
            spec, _, names = read_config(fs, fd, ConfigPlace(header.config_hash, offset, header.chunk_len))
        except FormatError:
            return
        entry = index.tracks[track] = TrackIndex(spec, names)
    entry.add(header, offset)


class SegmentFiles:
    """Bytes of segments by name, through a bounded set of open files. Thread-safe.

    A descriptor survives the renaming of its file at the seal. `forget` drops it when the segment is removed.
    """

    def __init__(self, fs: Fs, volume: Path, limit: int = MAX_OPEN_FILES) -> None:
        self.fs = fs
        self.volume = volume
        self.preads = 0  # how often the disk was asked; shown by the seek benchmark
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Handle] = OrderedDict()
        self.shut = False  # the volume was let go: nothing of it is opened

    def pread(self, name: str, length: int, offset: int) -> bytes:
        """Exactly `length` bytes. ChunkGone when the segment is no more, ChunkCorrupt when it is too short."""
        with self.use(name) as handle:
            self.preads += 1
            try:
                raw = self.fs.pread(handle.fd, length, offset)
            except OSError as error:
                raise ChunkCorrupt(
                    f"{name} at {offset}: {error.strerror}; check the disk", file=name, offset=offset
                ) from error
        if len(raw) != length:
            raise ChunkCorrupt(f"{name} ends before {offset + length}", file=name, offset=offset)
        return raw

    def use(self, name: str) -> _Handle:
        """A handle for a `with` block: its file stays open until the block ends."""
        with self._lock:
            handle = self._open.get(name)
            if handle is not None:
                self._open.move_to_end(name)
                handle.users += 1
                return handle
        fd = self._open_file(name)
        with self._lock:
            if self.shut:  # let go since it was opened: nothing of the volume stays open
                self.fs.close(fd)
                raise self._away()
            other = self._open.get(name)
            if other is not None:
                self.fs.close(fd)
                handle = other
            else:
                handle = self._open[name] = _Handle(fd, self._release)
            handle.users += 1
            self._trim()
            return handle

    def _open_file(self, name: str) -> int:
        if self.shut:
            raise self._away()
        for suffix in (SEALED, OPEN, SEALED):  # twice: it may be sealed between the first two looks
            try:
                return self.fs.open_read(self.volume / (name + suffix))
            except FileNotFoundError:
                continue
        raise ChunkGone(f"{name} was removed", "deleted", file=name)

    def _away(self) -> StorageMissing:
        return StorageMissing(f"{self.volume} does not answer at present; see the storages", path=str(self.volume))

    def _trim(self) -> None:
        for name in [n for n, h in self._open.items() if not h.users][: max(0, len(self._open) - self._limit)]:
            self.fs.close(self._open.pop(name).fd)

    def _release(self, handle: _Handle) -> None:
        with self._lock:
            handle.users -= 1
            if handle.dropped and not handle.users:
                self.fs.close(handle.fd)

    def forget(self, name: str) -> None:
        """Close the file of a removed segment as soon as nobody reads it."""
        with self._lock:
            handle = self._open.pop(name, None)
            if handle is not None:
                handle.dropped = True
                if not handle.users:
                    self.fs.close(handle.fd)

    def close(self) -> None:
        for name in list(self._open):
            self.forget(name)


class _Handle:
    """An open file and how many read it now."""

    __slots__ = ("_release", "dropped", "fd", "users")

    def __init__(self, fd: int, release: Callable[[_Handle], None]) -> None:
        self.fd = fd
        self.users = 0
        self.dropped = False
        self._release = release

    def __enter__(self) -> _Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self._release(self)
