"""The index of one segment in memory: the same object for an open segment and for a sealed one.

Law: packed columns per track (`format.columns`) and what the footer says of the segment; no I/O. The writer thread
appends and publishes; readers look at rows below `count` only and need no lock. `footer` turns it into the bytes of a
footer; `mediadb.format.footer` reads those back.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mediadb.format.block import Commit, Supersedes
from mediadb.format.checksum import crc32
from mediadb.format.chunk import ChunkHeader
from mediadb.format.columns import NO_CONFIG, ChunkColumns
from mediadb.format.constants import NO_COMMIT, NO_SEQ, NO_TIME
from mediadb.format.footer import ConfigPlace, FooterHead, TrackSummary, encode_index
from mediadb.format.records import Record, encode_names, encode_spec
from mediadb.format.segment_header import SegmentHeader
from mediadb.types import Kind, Names, TrackSpec

NOTES = (Kind.GAP, Kind.MARK)


@dataclass(slots=True)
class TrackIndex:
    """One track in one segment: media chunks, GAP and MARK chunks, places of its CONFIG chunks.

    Totals count appended chunks, published or not. `key_seq`/`key_segment` name the KEY of the GOP the segment
    begins in.
    """

    spec: TrackSpec
    names: Names
    media: ChunkColumns = field(default_factory=ChunkColumns)
    notes: ChunkColumns = field(default_factory=ChunkColumns)
    configs: list[ConfigPlace] = field(default_factory=list)
    first_seq: int = NO_SEQ
    next_seq: int = 0
    samples: int = 0
    stored_bytes: int = 0
    lost_packets: int = 0
    damaged_count: int = 0
    first_us: int = NO_TIME
    end_us: int = NO_TIME
    key_seq: int = NO_SEQ
    key_segment: uuid.UUID | None = None

    def add(self, header: ChunkHeader, offset: int) -> None:
        """Enter a chunk at `offset` of the file, in seq order; invisible until `publish`."""
        if header.kind == Kind.CONFIG:
            self.configs.append(ConfigPlace(header.config_hash, offset, header.chunk_len))
            return
        if self.first_seq == NO_SEQ:
            self.first_seq = header.seq
        self.next_seq = header.seq + 1
        if header.kind in NOTES:
            self.notes.append(header, offset, NO_CONFIG)
            return
        self.media.append(header, offset, self._config_number(header.config_hash))
        self.samples += header.frame_count
        self.stored_bytes += header.chunk_len
        self.lost_packets += header.lost_packets
        self.damaged_count += header.damaged_count
        self.first_us = header.recv_us if self.first_us == NO_TIME else min(self.first_us, header.recv_us)
        self.end_us = max(self.end_us, header.recv_us + header.duration_us)

    def publish(self) -> None:
        self.media.publish()
        self.notes.publish()

    def _config_number(self, config_hash: bytes) -> int:
        for number in range(len(self.configs) - 1, -1, -1):
            if self.configs[number].config_hash == config_hash:
                return number
        return NO_CONFIG


@dataclass(slots=True)
class SegmentIndex:
    """All tracks of one segment. `durable_end` is the file offset below which every byte was synced."""

    header: SegmentHeader
    tracks: dict[uuid.UUID, TrackIndex] = field(default_factory=dict)
    first_commit: Commit = NO_COMMIT
    last_commit: Commit = NO_COMMIT
    first_wall_us: int = NO_TIME
    last_wall_us: int = NO_TIME
    durable_end: int = 0
    recovered: bool = False
    supersedes: list[Supersedes] = field(default_factory=list)
    damaged: list[tuple[int, int]] = field(default_factory=list)  # (offset, length) of pages that do not verify

    def note_commit(self, commit: Commit, wall_us: int) -> None:
        if self.first_commit == NO_COMMIT:
            self.first_commit, self.first_wall_us = commit, wall_us
        self.last_commit, self.last_wall_us = commit, wall_us

    def publish(self, durable_end: int) -> None:
        """The commit is durable: let readers see its chunks."""
        for track in self.tracks.values():
            track.publish()
        self.durable_end = durable_end

    def footer(self, footer_offset: int, flags: int = 0) -> tuple[list[bytes], FooterHead]:
        """Index regions in order and the head that describes them, for a footer that begins at `footer_offset`."""
        regions, summaries, position = [], [], footer_offset
        for track in self.tracks.values():
            region = encode_index(track.configs, track.media, track.notes)
            regions.append(region)
            summaries.append(_summary(track, position, region))
            position += len(region)
        head = FooterHead(
            segment=self.header.segment, run=self.header.run, epoch=self.header.epoch, number=self.header.number,
            first_commit=self.first_commit, last_commit=self.last_commit, first_wall_us=self.first_wall_us,
            last_wall_us=self.last_wall_us, data_end=footer_offset, flags=flags, tracks=summaries,
            meta=self._meta(),
        )  # fmt: skip
        return regions, head

    def _meta(self) -> Record:
        tracks = [
            {"spec": encode_spec(track.spec), "names": encode_names(track.names)} for track in self.tracks.values()
        ]
        supersedes = [
            {"segment": str(old.segment), "epoch": old.first[0], "counter": old.first[1]} for old in self.supersedes
        ]
        return {"tracks": tracks, "supersedes": supersedes, "damaged": [list(span) for span in self.damaged]}


@dataclass(slots=True, eq=False)
class LiveSegment:
    """A segment of the running writer that has no footer yet. `path` ends in .open until the seal renames it to
    .rseg; a reader that misses the one tries the other."""

    path: Path
    index: SegmentIndex


class LiveSource(Protocol):
    """What a running store shows to its reader; callable from any thread, never blocks."""

    def live_segments(self) -> Sequence[LiveSegment]:
        """Segments being written, sealed or given up, oldest first; a sealed one leaves after its seal is durable."""
        ...


def _summary(track: TrackIndex, position: int, region: bytes) -> TrackSummary:
    return TrackSummary(
        track=track.spec.track, kind=int(track.spec.kind), media_count=len(track.media),
        notes_count=len(track.notes), config_count=len(track.configs), first_us=track.first_us,
        end_us=track.end_us, first_seq=track.first_seq, next_seq=track.next_seq, samples=track.samples,
        stored_bytes=track.stored_bytes, lost_packets=track.lost_packets, damaged_count=track.damaged_count,
        index_offset=position, index_len=len(region), index_crc=crc32(region), key_seq=track.key_seq,
        key_segment=track.key_segment,
    )  # fmt: skip
