"""The index of an unsealed segment, made from its blocks: which chunks count.

Law: reads only. A chunk at or below the last acknowledged commit counts when the file reaches to its end; above it one
that verifies and continues its track without a hole. No such hole is damage of acknowledged commits, nor numbers that
lie in another log while no commit is missing here. Used by `mediadb.write.recover`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from mediadb.errors import FormatError
from mediadb.format.block import Commit, Entry
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader
from mediadb.format.constants import NO_COMMIT, SALT_LEN, align_up
from mediadb.format.records import decode_config, decode_names, load_record
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES
from mediadb.fs import Fs
from mediadb.gone import Range
from mediadb.segment_index import SegmentIndex, TrackIndex
from mediadb.segment_scan import ScannedBlock, SegmentScan, chunk_verifies
from mediadb.types import Kind, Names, TrackKind, TrackSpec
from mediadb.write.segment import note_continuation

_NIL = uuid.UUID(int=0)


class Rebuild:
    """The index of an unsealed segment, made from its blocks."""

    def __init__(
        self, fs: Fs, fd: int, scan: SegmentScan, durable: Commit, expected: dict[uuid.UUID, int],
        removed: Sequence[Range] = (),
    ) -> None:  # fmt: skip
        self._fs, self._fd, self._scan, self._durable, self._expected = fs, fd, scan, durable, expected
        self._removed = removed  # what a rule took out
        self._broken: set[uuid.UUID] = set()  # tracks whose torn tail has ended
        self._begun: set[uuid.UUID] = set()  # tracks of which a chunk of this segment was kept
        self._skips = False  # does the present block follow an acknowledged one that is damaged?
        self._hole = False  # is a commit above D missing in front of it?
        self.kept = self.torn = 0

    def index(self, first_void: Commit | None) -> tuple[SegmentIndex, int]:
        """The index and where its blocks end; from commit `first_void` on all was written again elsewhere."""
        scan = self._scan
        index = SegmentIndex(scan.header, recovered=True)
        end = SEGMENT_PAGE_BYTES
        for block in scan.blocks:
            if first_void is not None and block.header.commit >= first_void:
                break
            acknowledged = self._durable != NO_COMMIT and block.header.commit <= self._durable
            self._skips = self._behind_damage(block)
            self._hole = self._hole or (not (acknowledged or self._skips) and self._behind_bad(block))
            kept = self._enter(index, block, acknowledged)
            if kept or acknowledged:
                self.kept += 1
                index.note_commit(block.header.commit, block.header.wall_us)
                if block.header.supersedes is not None:
                    index.supersedes.append(block.header.supersedes)
                end = min(block.end, align_up(scan.size))
        index.damaged += [span for span in scan.bad if span[0] < end]
        index.publish(end)
        return index, end

    def _enter(self, index: SegmentIndex, block: ScannedBlock, acknowledged: bool) -> int:
        kept = 0
        for entry in sorted(block.entries, key=_entry_order):
            header = entry.header
            track_id = uuid.UUID(bytes=header.track)
            is_config = header.kind == Kind.CONFIG
            if acknowledged and self._is_cut(block, entry):
                index.damaged.append((block.offset + entry.offset, header.chunk_len))
                continue
            if not acknowledged and not self._stands(block, entry, index.tracks.get(track_id)):
                self.torn += 1
                continue
            track = index.tracks.get(track_id)
            if track is None or (is_config and track.spec.hardware == _NIL):
                track = self._track(index, block, entry, track)
            note_continuation(track, header, None)
            track.add(header, block.offset + entry.offset)
            if not is_config:
                self._begun.add(track_id)
                self._expected[track_id] = header.seq + 1
                kept += 1
        return kept

    def _is_cut(self, block: ScannedBlock, entry: Entry) -> bool:
        """Did the file end before the end of this chunk, now or when it last got a footer? Then that lies there now."""
        low, high = block.offset + entry.offset, block.offset + entry.offset + entry.header.chunk_len
        if high > self._scan.size:
            return True
        if block is not self._scan.blocks[-1] or any(at <= low and high <= at + n for at, n in self._removed):
            return False
        return not chunk_verifies(self._fs, self._fd, block, entry)

    def _stands(self, block: ScannedBlock, entry: Entry, known: TrackIndex | None) -> bool:
        """Above D: does the chunk verify and continue its track without a hole, and is its CONFIG there?"""
        header = entry.header
        track = uuid.UUID(bytes=header.track)
        if header.kind == Kind.CONFIG:
            return chunk_verifies(self._fs, self._fd, block, entry)
        unknown = header.seq if self._scan.header.number else 0  # the first segment of a run begins with 0
        expected = self._expected.get(track, unknown)
        # With nothing missing before it, what lies between was written elsewhere: by the log that stood in.
        whole = header.seq == expected or ((self._skips or not self._hole) and header.seq > expected)
        # A run goes on in later epochs when its volume was away: what is known of those says nothing of this segment.
        whole = whole or (header.seq < expected and track not in self._begun)
        continues = track not in self._broken and whole
        configs = [place.config_hash for place in known.configs] if known is not None else []
        readable = header.kind in (Kind.GAP, Kind.MARK) or header.config_hash in configs
        if continues and readable and chunk_verifies(self._fs, self._fd, block, entry):
            return True
        self._broken.add(track)
        return False

    def _behind_damage(self, block: ScannedBlock) -> bool:
        """What is missing directly before it was acknowledged: that is damage, not the end of what was written."""
        counter = block.header.commit[1]
        return self._behind_bad(block) and self._durable != NO_COMMIT and counter - 1 <= self._durable[1]

    def _behind_bad(self, block: ScannedBlock) -> bool:
        return any(at + length == block.offset for at, length in self._scan.bad)

    def _track(self, index: SegmentIndex, block: ScannedBlock, entry: Entry, known: TrackIndex | None) -> TrackIndex:
        spec, names = self._identity(block, entry)
        if known is not None:
            known.spec, known.names = spec, names
            return known
        track = index.tracks[spec.track] = TrackIndex(spec, names)
        return track

    def _identity(self, block: ScannedBlock, entry: Entry) -> tuple[TrackSpec, Names]:
        header = entry.header
        if header.kind == Kind.CONFIG and chunk_verifies(self._fs, self._fd, block, entry):
            raw = self._fs.pread(self._fd, header.chunk_len, block.offset + entry.offset)
            payload = CHUNK_HEADER_BYTES + header.table_len
            try:
                spec, _ = decode_config(raw[payload + SALT_LEN :])
                return spec, decode_names(load_record(raw[CHUNK_HEADER_BYTES:payload]))
            except FormatError:
                pass  # as unreadable as one that does not verify
        kind = {Kind.AUDIO: TrackKind.AUDIO, Kind.METADATA: TrackKind.METADATA}.get(Kind(header.kind), TrackKind.VIDEO)
        return TrackSpec(uuid.UUID(bytes=header.track), _NIL, _NIL, kind, ""), Names()


def _entry_order(entry: Entry) -> tuple[bytes, bool, int]:
    header: ChunkHeader = entry.header
    return header.track, header.kind != Kind.CONFIG, header.seq
