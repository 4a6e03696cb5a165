"""Every byte of one segment file: either checked or known to be zero.

Law: read-only, through the same decoders as the writer and the reader. Findings name file, offset and what is wrong and
the walk goes on. Nothing is signed in format version 0: this shows that bytes are what was written, not by whom.
"""

from __future__ import annotations

import itertools
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError
from mediadb.format.block import BLOCK_HEADER_BYTES, ENTRY_BYTES, Commit, Entry
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader, check_body_hash, check_chunk
from mediadb.format.constants import NO_COMMIT, SALT_LEN
from mediadb.format.footer import FLAG_RECOVERED, TRAILER_BYTES, FooterHead, Trailer, decode_index, decode_trailer
from mediadb.format.frame_table import decode_table, frames_hash
from mediadb.format.records import config_hash, decode_config, decode_gap, decode_mark, load_record
from mediadb.format.segment_header import SEGMENT_HEADER_BYTES, SEGMENT_PAGE_BYTES, SegmentHeader
from mediadb.fs import Fs
from mediadb.gone import journal_of, removed_ranges
from mediadb.segment_files import SEALED, Voids, read_footer
from mediadb.segment_scan import ScannedBlock, SegmentScan, scan_segment
from mediadb.tools.moved import Moves
from mediadb.types import Kind

MAX_FINDINGS: Final = 200  # per file: after that one more says how it goes on
Place = tuple[bytes, int, int]  # track, seq, offset


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong at `offset` of `path`."""

    path: str
    offset: int
    what: str


@dataclass(slots=True)
class SegmentResult:
    """What a file holds and what is wrong with it. `sequences`: per track [first, next) seq of this run."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    header: SegmentHeader | None = None
    size: int = 0
    blocks: int = 0
    chunks: int = 0
    samples: int = 0
    removed_chunks: int = 0  # by a rule; their journal says so
    removed_bytes: int = 0
    sequences: dict[uuid.UUID, tuple[int, int]] = field(default_factory=dict)
    misplaced: str | None = None  # why no reader shows it where it lies

    def add(self, offset: int, what: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(str(self.path), offset, what))
        elif len(self.findings) == MAX_FINDINGS:
            self.findings.append(Finding(str(self.path), offset, "more damage follows"))


def verify_segment(fs: Fs, path: Path, voids: Voids | None = None, moves: Moves | None = None) -> SegmentResult:
    """Check a sealed or unsealed segment; `moves` explain numbers that another storage has. Raises OSError only; a file
    that is no segment is a finding."""
    result = SegmentResult(path)
    try:
        scan = scan_segment(fs, path)
    except FormatError as error:
        result.add(0, error.message)
        return result
    result.header, result.size = scan.header, scan.size
    fd = fs.open_read(path)
    try:
        _Check(fs, fd, scan, result, (voids or {}).get(scan.header.segment), moves or Moves("")).run()
    finally:
        fs.close(fd)
    return result


class _Check:
    """One pass over one file."""

    def __init__(
        self, fs: Fs, fd: int, scan: SegmentScan, result: SegmentResult, first_void: Commit | None, moves: Moves
    ) -> None:
        self._moves = moves
        self._fs, self._fd, self._scan, self._result = fs, fd, scan, result
        self._first_void = first_void
        self._head: FooterHead | None = None
        self._trailer: Trailer | None = None
        self._indexed: set[Place] = set()
        self._found: dict[Place, tuple[int, int]] = {}
        self._configs: dict[bytes, set[bytes]] = {}
        self._seqs: dict[bytes, list[int]] = {}
        self._removed = sorted(removed_ranges(fs, journal_of(result.path)))

    def run(self) -> None:
        self._zero(SEGMENT_HEADER_BYTES, SEGMENT_PAGE_BYTES, "padding of the segment header")
        sealed = self._result.path.suffix == SEALED
        try:
            self._head, self._trailer = read_footer(self._fs, self._fd)
        except FormatError as error:
            if sealed:
                self._result.add(self._footer_place(), error.message)
            else:
                self._result.notes.append(f"{self._result.path}: not sealed")
        if self._head is not None and self._trailer is not None:
            self._footer(self._head, self._trailer)
        self._walk()
        if self._head is not None:
            self._compare(self._head)
        self._sequences()
        if (count := self._result.removed_chunks) > 0:
            size = self._result.removed_bytes
            self._result.notes.append(f"{self._result.path}: {count} chunks, {size} bytes, were removed by a rule")

    def _read(self, offset: int, end: int) -> bytes:
        return self._fs.pread(self._fd, max(0, end - offset), offset)

    def _zero(self, start: int, end: int, what: str) -> None:
        raw = self._read(start, end)
        if len(raw) != end - start:
            self._result.add(start + len(raw), f"{what}: the file ends here")
        self._zero_in(raw, start, what)

    def _zero_in(self, raw: bytes | memoryview, offset: int, what: str) -> None:
        if bytes(raw).count(0) != len(raw):
            at = next(i for i, byte in enumerate(raw) if byte)
            self._result.add(offset + at, f"{what}: not zero")

    # -- footer -------------------------------------------------------------------------------------------------

    def _footer(self, head: FooterHead, trailer: Trailer) -> None:
        result, header = self._result, self._scan.header
        if trailer.footer_offset != head.data_end:
            result.add(trailer.head_offset, "footer and trailer disagree where the blocks end")
        if (head.segment, head.run, head.epoch, head.number) != (
            header.segment, header.run, header.epoch, header.number,
        ) or trailer.segment != header.segment:  # fmt: skip
            result.add(trailer.head_offset, "the footer belongs to another segment")
        position = head.data_end
        for summary in head.tracks:
            if summary.index_offset != position:
                result.add(summary.index_offset, f"index of track {summary.track} is out of place")
            position = summary.index_offset + summary.index_len
            try:
                configs, media, notes = decode_index(self._read(summary.index_offset, position), summary)
            except FormatError as error:
                result.add(summary.index_offset, error.message)
                continue
            track = summary.track.bytes
            for columns in (media, notes):
                for i in range(columns.count):
                    self._indexed.add((track, columns.seq[i], columns.offset[i]))
            for place in configs:
                self._configs.setdefault(track, set()).add(place.config_hash)
        if position != trailer.head_offset:
            result.add(position, "bytes between the indexes and the footer head")
        self._zero(trailer.head_offset + trailer.head_len, self._scan.size - TRAILER_BYTES, "padding of the footer")
        for offset, length in head.meta.get("damaged", []):
            result.add(offset, f"{length} bytes were found damaged when the segment was recovered")

    def _footer_place(self) -> int:
        """Where a footer that does not verify lies: its head when the trailer is sound, else the trailer."""
        at = max(0, self._scan.size - TRAILER_BYTES)
        try:
            return decode_trailer(self._read(at, self._scan.size), self._scan.size).head_offset
        except FormatError:
            return at

    # -- blocks -------------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        scan, result = self._scan, self._result
        end = self._head.data_end if self._head is not None else scan.size
        blocks = [block for block in scan.blocks if block.offset < end]
        durable = max((b.header.durable for b in blocks if b.header.durable != NO_COMMIT), default=None)
        previous: Commit | None = None
        for block in blocks:
            if self._first_void is not None and block.header.commit >= self._first_void:
                if self._head is not None:
                    result.add(block.offset, "a commit that was written again elsewhere")
                break
            acknowledged = durable is not None and block.header.commit <= durable
            self._commit_number(block, previous)
            previous = block.header.commit
            self._block(block, acknowledged)
            result.blocks += 1
        self._between(blocks, end)
        if self._head is not None and blocks:
            ends = (self._head.first_commit, self._head.last_commit)
            if ends != (blocks[0].header.commit, blocks[-1].header.commit):
                result.add(self._head.data_end, "the footer names other commits than the blocks")

    def _between(self, blocks: list[ScannedBlock], end: int) -> None:
        """Pages that belong to no block: damage below the last block, a torn tail behind it."""
        last = blocks[-1].end if blocks else SEGMENT_PAGE_BYTES
        for offset, length in self._scan.bad:
            if offset >= end:
                continue
            stop = min(offset + length, end)
            if offset < last or self._head is not None:
                self._result.add(offset, f"{stop - offset} bytes hold no commit block that verifies")
            elif any(self._read(offset, stop)):
                self._result.notes.append(f"{self._result.path}: torn tail at {offset}, not yet recovered")

    def _commit_number(self, block: ScannedBlock, previous: Commit | None) -> None:
        header = block.header
        if header.commit[0] != self._scan.header.epoch:
            self._result.add(block.offset, "commit of another epoch")
        if previous is not None and header.commit != (previous[0], previous[1] + 1):
            self._result.add(block.offset, f"commit {header.commit} follows commit {previous}")
        if header.durable != NO_COMMIT and header.durable >= header.commit:
            self._result.add(block.offset, "the commit vouches for itself")

    def _block(self, block: ScannedBlock, acknowledged: bool) -> None:
        """All bytes of a block: header and directory were checked by the scan, chunks here, the rest is zero."""
        result, header = self._result, block.header
        recovered = self._head is not None and bool(self._head.flags & FLAG_RECOVERED)
        # Recovery puts the footer where the file ended, which may be inside a torn last block.
        limit = self._head.data_end if self._head is not None and recovered else block.end
        raw = memoryview(self._read(block.offset, min(block.end, limit)))
        if len(raw) < min(header.block_len, limit - block.offset):
            self._tail_or_finding(block.offset + len(raw), "the file ends inside a block", acknowledged)
        used = [(0, BLOCK_HEADER_BYTES), (header.dir_offset, header.dir_offset + header.count * ENTRY_BYTES)]
        for number, entry in enumerate(block.entries):
            at = header.dir_offset + number * ENTRY_BYTES + 12
            if any(raw[at : at + 4]):
                result.add(block.offset + at, "directory entry: not zero")
            used.append((entry.offset, entry.offset + entry.header.chunk_len))
            self._chunk(block, entry, raw, acknowledged)
        position = 0
        for low, high in sorted(used):
            if low < position:
                result.add(block.offset + low, "two parts of a block overlap")
            elif low > position:
                self._zero_in(raw[position:low], block.offset + position, "padding of a block")
            position = max(position, high)
        self._zero_in(raw[position:], block.offset + position, "padding of a block")

    def _chunk(self, block: ScannedBlock, entry: Entry, raw: memoryview, acknowledged: bool) -> None:
        header, offset = entry.header, block.offset + entry.offset
        place = (header.track, header.seq, offset)
        if self._is_removed(offset, raw[entry.offset : entry.offset + header.chunk_len]):
            self._result.removed_chunks += 1
            self._result.removed_bytes += header.chunk_len
            self._count(place, header)
            return
        recovered = self._head is not None and self._head.flags & FLAG_RECOVERED
        if recovered and header.kind != Kind.CONFIG and place not in self._indexed:
            self._result.notes.append(f"{self._result.path}: torn chunk at {offset}, left out by recovery")
            return
        table_end = entry.offset + CHUNK_HEADER_BYTES + header.table_len
        own = bytes(raw[entry.offset : entry.offset + CHUNK_HEADER_BYTES])
        table = raw[entry.offset + CHUNK_HEADER_BYTES : table_end]
        payload = raw[table_end : entry.offset + header.chunk_len]
        wrong = self._chunk_wrong(entry, own, table, payload)
        if wrong is not None:
            what, distance = wrong
            sealed = self._head is not None
            track = uuid.UUID(bytes=header.track)
            self._tail_or_finding(
                offset + distance,
                f"{Kind(header.kind).name} chunk {header.seq} of track {track}: {what}",
                acknowledged or sealed,
            )
            return
        self._result.chunks += 1
        self._result.samples += header.frame_count
        self._count(place, header)

    def _count(self, place: Place, header: ChunkHeader) -> None:
        """A chunk that is there, or was: the directory and the footer still say which."""
        if header.kind == Kind.CONFIG:
            self._configs.setdefault(header.track, set()).add(header.config_hash)
            return
        self._found[place] = (header.kind, header.frame_count)
        self._seqs.setdefault(header.track, []).append(header.seq)

    def _is_removed(self, offset: int, raw: memoryview) -> bool:
        """Nothing but zeroes where the journal says that a rule gave the bytes back."""
        if not self._removed or not len(raw):
            return False
        at = bisect_right(self._removed, (offset, 1 << 63)) - 1
        low, length = self._removed[at] if at >= 0 else (0, 0)
        return low <= offset and offset + len(raw) <= low + length and not any(raw)

    def _chunk_wrong(self, entry: Entry, own: bytes, table: memoryview, payload: memoryview) -> tuple[str, int] | None:
        """(what, distance from the chunk's first byte), or None."""
        header = entry.header
        if own != entry.raw:
            return "its header differs from the directory", 0
        part = check_chunk(header, table, payload)
        if part is not None:
            distance = CHUNK_HEADER_BYTES + (header.table_len if part == "payload" else 0)
            return f"{part} does not verify", distance
        if not check_body_hash(header, payload):
            return "payload has another SHA-256", CHUNK_HEADER_BYTES + header.table_len
        if header.run != self._scan.header.run:  # its epoch is that of the log it was made for
            return "it belongs to another run", 0
        try:
            return _content_wrong(entry, table, payload[SALT_LEN:])
        except FormatError as error:
            return error.message, CHUNK_HEADER_BYTES

    def _tail_or_finding(self, offset: int, what: str, acknowledged: bool) -> None:
        if acknowledged:
            self._result.add(offset, what)
        else:
            self._result.notes.append(f"{self._result.path}: torn tail at {offset} ({what}), not yet recovered")

    # -- together -------------------------------------------------------------------------------------------------

    def _compare(self, head: FooterHead) -> None:
        """The footer's index says exactly what the blocks say."""
        result = self._result
        damaged = {finding.offset for finding in result.findings}
        for place in sorted(self._indexed - self._found.keys(), key=lambda p: p[2]):
            if not any(place[2] <= offset < place[2] + (1 << 30) for offset in damaged):
                result.add(place[2], f"the footer indexes a chunk {place[1]} that is not there")
        for place in sorted(self._found.keys() - self._indexed, key=lambda p: p[2]):
            result.add(place[2], f"chunk {place[1]} is missing in the footer")
        media = sum(frames for kind, frames in self._found.values() if kind not in (Kind.GAP, Kind.MARK))
        if not result.findings and media != sum(track.samples for track in head.tracks):
            result.add(head.data_end, "the footer counts another number of samples")

    def _sequences(self) -> None:
        """Inside a segment the sequence of each track has no hole and no repeat."""
        for raw, seqs in self._seqs.items():
            track = uuid.UUID(bytes=raw)
            seqs.sort()
            if len(set(seqs)) != len(seqs):
                self._result.add(SEGMENT_PAGE_BYTES, f"track {track} has a sequence number twice")
            missing = self._missing(track, seqs)
            torn = self._head is None and self._result.notes
            if missing > 0 and not self._result.findings and not torn:
                self._result.add(SEGMENT_PAGE_BYTES, f"track {track} misses {missing} sequence numbers")
            self._result.sequences[track] = (seqs[0], seqs[-1] + 1)
            if not self._configs.get(raw):
                self._result.add(SEGMENT_PAGE_BYTES, f"track {track} has no CONFIG chunk in this segment")

    def _missing(self, track: uuid.UUID, seqs: list[int]) -> int:
        """How many numbers between the first and the last are not here and are not said to lie elsewhere."""
        run, moves = self._scan.header.run, self._moves
        holes = [(low + 1, high) for low, high in itertools.pairwise(seqs) if high > low + 1]
        return sum(high - low for low, high in holes if not moves.explains(run, track, low, high))


def _content_wrong(entry: Entry, table: memoryview, data: memoryview) -> tuple[str, int] | None:
    header = entry.header
    kind = header.kind
    behind = CHUNK_HEADER_BYTES + header.table_len
    if kind == Kind.CONFIG:
        if config_hash(bytes(data)) != header.config_hash:
            return "CONFIG has another hash than its header names", behind
        decode_config(data)
        load_record(table)
    elif kind in (Kind.GAP, Kind.MARK):
        (decode_gap if kind == Kind.GAP else decode_mark)(data)
    else:
        frames = decode_table(table, header.frame_count)
        if frames_hash(frames) != header.frames_hash:
            return "frame table has another hash than its header names", CHUNK_HEADER_BYTES
        if sum(frames.sizes) != len(data):
            return "samples and payload differ in length", behind
    return None


def progress_over(paths: list[Path], tell: Callable[[int, int, Path], None] | None) -> Iterator[Path]:
    """Yield paths, telling (done, all, path) before each."""
    for number, path in enumerate(paths):
        if tell is not None:
            tell(number, len(paths), path)
        yield path
