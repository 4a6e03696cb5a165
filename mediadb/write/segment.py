"""A segment being written: create, append commits, publish, seal.

Law: the numbered procedures of docs/format on one file; no thread, no clock, no policy (the store decides when). The
same seal serves the writer and the recovery of an unsealed file.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mediadb.blockfile import MAX_PIECE_BYTES, BlockFile
from mediadb.format.block import Commit, Supersedes
from mediadb.format.chunk import ChunkHeader
from mediadb.format.constants import BLOCK_ALIGN, NO_SEQ
from mediadb.format.footer import FLAG_RECOVERED, FooterHead, encode_head, footer_tail
from mediadb.format.records import Record, run_text
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, SegmentHeader, encode_segment_header
from mediadb.fs import Fs
from mediadb.segment_index import LiveSegment, SegmentIndex, TrackIndex
from mediadb.segment_scan import read_footer
from mediadb.types import Kind
from mediadb.write.retention import ONE_CLASS, Classes
from mediadb.write.segment_chunk import SealedChunk, TrackState
from mediadb.write.segment_layout import BlockLayout, CommitStamp, lay_out

OPEN_SUFFIX = ".open"
SEALED_SUFFIX = ".rseg"


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks of one commit with the tracks they belong to."""

    chunks: Sequence[SealedChunk]
    tracks: dict[bytes, TrackState]  # by track UUID bytes
    retention: Classes = ONE_CLASS

    def classes(self) -> dict[bytes, int]:
        """The retention class of each track, where there is more than one."""
        if len(self.retention.limits_us) == 1:
            return {}
        return {key: self.retention.number(state.spec.camera) for key, state in self.tracks.items()}


def segment_name(created_us: int, epoch: int, number: int) -> str:
    """Path of a segment below its log folder, without suffix: "<day>/<start>-<epoch>-<number>"; the time is a hint."""
    at = datetime.fromtimestamp(created_us / 1_000_000, UTC)
    return f"{at:%Y-%m-%d}/{at:%Y%m%dT%H%M%SZ}-{epoch:08d}-{number:06d}"


class SegmentWriter:
    """One unsealed segment and its index."""

    def __init__(self, file: BlockFile, header: SegmentHeader, size_limit: int) -> None:
        self._file = file
        self._limit = size_limit
        self.index = SegmentIndex(header, durable_end=file.end)
        self.live = LiveSegment(file.path, self.index)
        self.first_staged: Commit | None = None  # first commit written since the last sync that returned
        self._configs: set[bytes] = set()
        self._staged: list[tuple[BlockLayout, CommitStamp, int, dict[bytes, TrackState]]] = []

    @classmethod
    def create(cls, fs: Fs, path: Path, header: SegmentHeader, size_limit: int) -> SegmentWriter:
        """Durable with header and name when this returns; `path` ends in .open."""
        file = BlockFile.create(fs, path, encode_segment_header(header))
        file.go_direct()
        return cls(file, header, size_limit)

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def end(self) -> int:
        """Bytes written (not all of them durable)."""
        return self._file.end

    @property
    def has_durable(self) -> bool:
        """Did any commit in this file become durable?"""
        return self.index.durable_end > SEGMENT_PAGE_BYTES

    def reserve(self, length: int) -> None:
        """Have `length` bytes allocated ahead, where the disk has them. Raises OSError."""
        self._file.reserve(length, self._limit)

    def in_place(self) -> bool:
        """False when other hands removed, replaced or cut the file. Raises OSError."""
        return self._file.in_place()

    def bring_back(self) -> None:
        """The file was removed, and our descriptor still reads: what is durable is written under its name again, to be
        sealed as one that was given up. A copy that somebody put there is as good. Raises OSError, FileExistsError when
        something else lies there."""
        old = self._file
        old.fs.direct(old.fd, False)
        if old.fs.stat(old.path) is not None:
            new = BlockFile.open_append(old.fs, old.path)
            if not all(old.fs.pread(new.fd, len(raw), at) == raw for at, raw in self._durable_pieces()):
                new.close()
                raise FileExistsError(errno.EEXIST, "another file lies there, or it was cut", str(old.path))
        else:
            new = BlockFile.create(old.fs, old.path)
            try:
                for at, raw in self._durable_pieces():
                    new.end = new.write([raw], at)
                new.sync()
            except OSError:
                new.discard()
                raise
        old.close()
        self._file = new

    def _durable_pieces(self) -> Iterator[tuple[int, bytes]]:
        """What is durable, read back through our descriptor."""
        at, end = 0, self.index.durable_end
        while at < end:
            raw = self._file.fs.pread(self._file.fd, min(MAX_PIECE_BYTES, end - at), at)
            if not raw or len(raw) % BLOCK_ALIGN:
                raise OSError(errno.EIO, "what was removed cannot be read back", str(self.path))
            yield at, raw
            at += len(raw)

    def append(self, batch: Batch, stamp: CommitStamp) -> None:
        """`append` and `directory`: write one commit. Raises OSError; then the file is poisoned."""
        file, fs = self._file, self._file.fs
        if self.first_staged is None:
            self.first_staged = stamp.commit
        chunks = [*self._missing_configs(batch.chunks), *batch.chunks]
        layout = lay_out(chunks, stamp, self.index.header.block_align, batch.classes())
        start = file.end
        file.reserve(layout.header.block_len, self._limit)
        fs.point("append")
        end = file.write(layout.body, start + len(layout.front))
        fs.point("directory")
        file.write([layout.front], start)
        file.end = max(end, start + layout.header.block_len)
        self._staged.append((layout, stamp, start, batch.tracks))

    def sync(self) -> None:
        """`sync`: raises OSError; then the file is poisoned and nothing staged in it counts."""
        self._file.fs.point("sync")
        self._file.sync()

    def publish(self) -> None:
        """`publish`: what was appended before the last sync becomes visible to readers."""
        self._file.fs.point("publish")
        for layout, stamp, start, tracks in self._staged:
            self._enter(layout, stamp, start, tracks)
        self._staged.clear()
        self.first_staged = None
        self.index.publish(self._file.end)

    def seal(self) -> tuple[Path, FooterHead]:
        """Write the footer and give the segment its final name; raises OSError."""
        path, head = seal_file(self._file, self.index)
        self.live.path = path
        return path, head

    def seal_given_up(self) -> tuple[Path, FooterHead]:
        """After a failure and `close`: drop what was never acknowledged (it is not read again, and this gives its space
        back) and seal. Nothing in front of it is in doubt. Raises OSError; may be repeated."""
        fs, sealed = self._file.fs, self.path.with_suffix(SEALED_SUFFIX)
        if fs.stat(sealed) is not None:  # it got its footer and its name, only the folder was not synced
            fs.fsync_dir(sealed.parent)
            self.live.path = sealed
            return sealed, read_footer(fs, sealed)
        file = BlockFile.open_append(self._file.fs, self.path)
        try:
            file.end = self.index.durable_end
            file.fs.truncate(file.fd, file.end)
            path, head = seal_file(file, self.index)
        finally:
            file.close()
        self.live.path = path
        return path, head

    def head(self) -> FooterHead:
        """What the footer says of it, or said when it was sealed."""
        return self.index.footer(self.index.durable_end)[1]

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Remove a segment in which nothing was ever acknowledged."""
        self._file.discard()

    def _missing_configs(self, chunks: Sequence[SealedChunk]) -> list[SealedChunk]:
        missing = []
        for chunk in chunks:
            config = chunk.config
            if config is not None and config.raw not in self._configs:
                self._configs.add(config.raw)
                missing.append(config)
        return missing

    def _enter(self, layout: BlockLayout, stamp: CommitStamp, start: int, tracks: dict[bytes, TrackState]) -> None:
        self.index.note_commit(stamp.commit, stamp.wall_us)
        if stamp.supersedes is not None:
            self.index.supersedes.append(stamp.supersedes)
        segment = self.index.header.segment
        for chunk, offset in sorted(layout.places, key=lambda place: _entry_order(place[0].header)):
            track = tracks[chunk.header.track]
            entry = self.index.tracks.get(track.spec.track)
            if entry is None:
                entry = self.index.tracks[track.spec.track] = TrackIndex(track.spec, track.names)
            entry.names = track.names
            note_continuation(entry, chunk.header, track.key_segment)
            if chunk.header.kind == Kind.KEY:
                track.key_segment = segment
            entry.add(chunk.header, start + offset)


def note_continuation(entry: TrackIndex, header: ChunkHeader, key_segment: uuid.UUID | None) -> None:
    """The first media chunk of a track that is no KEY: remember where its KEY is."""
    begins = not len(entry.media) and header.kind in (Kind.DELTA, Kind.INTRA)
    if begins and header.gop not in (NO_SEQ, header.seq):
        entry.key_seq, entry.key_segment = header.gop, key_segment


def seal_file(file: BlockFile, index: SegmentIndex) -> tuple[Path, FooterHead]:
    """The seal steps up to `sync_dir` on an open segment file; returns path and footer. Repeatable after a crash."""
    fs, path = file.fs, file.path
    fs.point("seal_last_commit")
    offset = file.end
    regions, head = index.footer(offset, FLAG_RECOVERED if index.recovered else 0)
    head_offset = offset + sum(len(region) for region in regions)
    tail = footer_tail(encode_head(head), head_offset, offset, index.header.segment)
    fs.point("seal_footer")
    end = file.write([*regions, tail], offset)
    fs.point("seal_sync")
    file.sync()
    fs.point("seal_trim")
    fs.truncate(file.fd, end)
    fs.point("seal_rename")
    sealed = path.with_suffix(SEALED_SUFFIX)
    fs.rename(path, sealed)
    fs.point("seal_sync_dir")
    fs.fsync_dir(path.parent)
    file.close()
    return sealed, head


def seal_record(head: FooterHead, name: str, size: int) -> Record:
    """The body of a SEGMENT_SEAL ledger record; `damaged` says that acknowledged commits are missing in it."""
    tracks = [
        {
            "track": str(track.track), "first_us": track.first_us if track.media_count else None,
            "end_us": track.end_us if track.media_count else None, "first_seq": track.first_seq,
            "next_seq": track.next_seq, "samples": track.samples, "bytes": track.stored_bytes,
        }
        for track in head.tracks
    ]  # fmt: skip
    return {
        "segment": str(head.segment), "name": name, "bytes": size, "recovered": bool(head.flags & FLAG_RECOVERED),
        "run": run_text(head.run), "first_commit": list(head.first_commit), "last_commit": list(head.last_commit),
        "last_wall_us": head.last_wall_us, "tracks": tracks,
        **({"damaged": damaged} if (damaged := head.meta.get("damaged")) else {}),
    }  # fmt: skip


def supersedes_of(writer: SegmentWriter, first: tuple[int, int]) -> Supersedes:
    """Everything of this segment from commit `first` on is void."""
    return Supersedes(writer.index.header.segment, first)


def _entry_order(header: ChunkHeader) -> tuple[bytes, bool, int]:
    return header.track, header.kind != Kind.CONFIG, header.seq
