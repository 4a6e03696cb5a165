"""Making chunks: samples of one track in, sealed chunks out.

Law: pure computation on the writer thread (hashes and CRC run over each sample as it comes, so little is left for the
commit); no file is touched. A chunk never crosses a keyframe or a commit. `seq` is given when a chunk is opened, so
whatever is opened is written: here, or again elsewhere with the same bytes.
"""

from __future__ import annotations

import hashlib
import operator
import os
import uuid
from dataclasses import dataclass, field, replace

from mediadb.format.checksum import crc32
from mediadb.format.chunk import ChunkHeader, encode_chunk_header
from mediadb.format.constants import CODECS, MAX_CHUNK_FRAMES, NO_SEQ, NO_TIME, SALT_LEN
from mediadb.format.frame_table import (
    MARK_DAMAGED,
    MARK_KEY_SHIFT,
    MAX_CTS,
    MAX_DTS_SPAN,
    MIN_CTS,
    FrameTable,
    encode_table,
    frames_hash,
)
from mediadb.format.records import config_hash, dump_record, encode_config, encode_names
from mediadb.types import ChunkFlag, KeyType, Kind, Names, Origin, Sample, TrackConfig, TrackKind, TrackSpec

LATE_US = 500_000  # a sample that far from where its dts puts it starts a chunk with its own receive time
MAX_UNKNOWN_STEP_US = 1_000_000  # longest last frame believed while the frame interval is not known
CHUNK_SPLIT_BYTES = 256 << 20  # far below the format's limit
# Looked up once: a member costs an enum's own lookup, and each is met for every sample.
_AUDIO_TRACK, _METADATA_TRACK = TrackKind.AUDIO, TrackKind.METADATA
_DELTA_KEY, _INTRA_KEY = KeyType.DELTA, KeyType.INTRA_ONLY
_KEY, _DELTA, _INTRA = Kind.KEY, Kind.DELTA, Kind.INTRA


@dataclass(frozen=True, slots=True, eq=False)
class SealedChunk:
    """A chunk as it will lie on disk, whatever the place: `pieces` follow each other."""

    header: ChunkHeader
    raw: bytes
    pieces: tuple[bytes, ...]  # header, table, salt, samples
    length: int
    data_bytes: int = 0  # bytes of samples, as the memory budget counts them
    config: SealedChunk | None = None  # the CONFIG chunk that must be in the same segment
    end_us: int = NO_TIME  # of media


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every chunk of a run carries."""

    run: int
    epoch: int
    clock_run: int = 0
    origin: Origin = Origin.LIVE
    late: bool = False


@dataclass(slots=True, eq=False)
class TrackState:
    """What the writer remembers of a track between commits."""

    spec: TrackSpec
    names: Names
    config: TrackConfig = field(default_factory=lambda: TrackConfig("", 0, b""))
    config_chunk: SealedChunk | None = None
    next_seq: int = 0
    gop: int = NO_SEQ
    step: int = 0  # distance of the last two samples in dts ticks
    open: ChunkBuilder | None = None
    intra_key_done: bool = False  # all-intra: one KEY a commit, the rest INTRA
    key_segment: uuid.UUID | None = None  # where the KEY of the present GOP was written
    first_recv_us: int = NO_TIME  # of this run
    sealed: list[SealedChunk] = field(default_factory=list)
    chunk_refused: int = 0


class ChunkBuilder:
    """One media chunk while it grows."""

    __slots__ = (
        "_crc", "_gop", "_kind", "_salt", "_samples", "_seq", "_sha", "_stamp", "_track", "first", "flags",
        "last_dts", "size",
    )  # fmt: skip

    def __init__(self, track: TrackState, kind: Kind, first: Sample, stamp: Stamp) -> None:
        self._track, self._kind, self._stamp = track, kind, stamp
        self._seq = track.next_seq
        track.next_seq += 1
        if kind is Kind.KEY:
            track.gop = self._seq
        self._gop = track.gop if track.spec.kind is TrackKind.VIDEO else NO_SEQ
        self.first = first
        self.flags = ChunkFlag.LATE if stamp.late else ChunkFlag(0)
        if first.discontinuity:
            self.flags |= ChunkFlag.DISCONTINUITY
        self._salt = os.urandom(SALT_LEN)
        self._sha = hashlib.sha256(self._salt)
        self._crc = crc32(self._salt)
        self._samples: list[Sample] = []
        self.size = 0  # bytes of samples that were taken
        self.last_dts = first.dts
        self.add(first)

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def held(self) -> int:
        """Bytes of samples in it, also of one that was taken in half."""
        return sum(len(sample.data) for sample in self._samples)

    @property
    def whole(self) -> bool:
        """No sample was taken in half."""
        return self.size == self.held

    def fits(self, sample: Sample) -> bool:
        """May `sample` follow in this chunk? Its dts must not fall, its receive time must follow its dts, and no pause
        lies in between: a chunk is one stretch of footage."""
        first = self.first
        ticks = sample.dts - first.dts
        if sample.discontinuity or sample.dts < self.last_dts or ticks > MAX_DTS_SPAN:
            return False
        if self.size + len(sample.data) > CHUNK_SPLIT_BYTES or len(self._samples) == MAX_CHUNK_FRAMES:
            return False
        timebase = self._track.config.timebase_hz or 1
        if 4 * (sample.dts - self.last_dts) > 5 * timebase:
            return False
        late = sample.recv_us - first.recv_us - ticks * 1_000_000 // timebase
        return -LATE_US <= late <= LATE_US

    def add(self, sample: Sample) -> None:
        data = sample.data
        self._samples.append(sample)
        self._sha.update(data)
        self._crc = crc32(data, self._crc)
        self.last_dts = sample.dts
        self.size += len(data)

    def seal(self, next_dts: int | None = None) -> SealedChunk:
        """Close the chunk. `next_dts`: dts of the sample that follows without a break, for the last one's length."""
        first, track, stamp = self.first, self._track, self._stamp
        data, pts, dts, key_types, _, _, _, lost, damaged, _ = zip(*self._samples, strict=True)
        lost_sum, damaged_sum = sum(lost), sum(damaged)
        if damaged_sum or lost_sum:
            self.flags |= ChunkFlag.DAMAGED
        marks = [
            key_type << MARK_KEY_SHIFT | (MARK_DAMAGED if bad else 0)
            for key_type, bad in zip(key_types, damaged, strict=True)
        ]
        offsets = [one - first.dts for one in dts]
        table = FrameTable(offsets, [*map(operator.sub, pts, dts)], [*map(len, data)], marks, lost)
        table_raw = encode_table(table)
        timebase = track.config.timebase_hz
        config = config_chunk(track, stamp)
        ticks = offsets[-1] + self._last_ticks(next_dts)
        header = ChunkHeader(
            kind=self._kind, track=track.spec.track.bytes, run=stamp.run, seq=self._seq, recv_us=first.recv_us,
            codec=CODECS.get(track.config.codec, 0), flags=int(self.flags), origin=int(stamp.origin),
            key_type=first.key_type, cam_quality=first.cam_quality, gop=self._gop, epoch=stamp.epoch,
            frame_count=len(data), cam_us=NO_TIME if first.cam_us is None else first.cam_us,
            base_pts=first.pts, base_dts=first.dts, min_pts=min(pts) - first.pts, max_pts=max(pts) - first.pts,
            timebase_hz=timebase, duration_us=ticks * 1_000_000 // timebase if timebase else 0,
            clock_run=stamp.clock_run, lost_packets=lost_sum, damaged_count=damaged_sum,
            table_len=len(table_raw), payload_len=SALT_LEN + self.size, table_crc=crc32(table_raw),
            payload_crc=self._crc, config_hash=config.header.config_hash,
            frames_hash=frames_hash(table), body_hash=self._sha.digest(),
        )  # fmt: skip
        raw = encode_chunk_header(header)
        pieces = (raw, table_raw, self._salt, *data)
        return SealedChunk(header, raw, pieces, header.chunk_len, self.size, config, header.end_us)

    def _last_ticks(self, next_dts: int | None) -> int:
        """Length of the last sample: up to the next one when that is near, else the usual distance."""
        track = self._track
        timebase = track.config.timebase_hz
        known = track.config.frame_ticks or track.step
        longest = known * 5 // 2 if known else timebase * MAX_UNKNOWN_STEP_US // 1_000_000
        if next_dts is not None and 0 < next_dts - self.last_dts <= longest:
            return next_dts - self.last_dts
        return known


def add_sample(track: TrackState, sample: Sample, stamp: Stamp) -> bool:
    """Take one sample into the track's open chunk or a new one. False: the format cannot hold its times."""
    cts = sample.pts - sample.dts
    if not MIN_CTS <= cts <= MAX_CTS or abs(sample.dts) >= 1 << 62 or len(sample.data) >= CHUNK_SPLIT_BYTES:
        track.chunk_refused += 1
        return False
    builder = track.open
    kind = _kind_of(track, sample)
    if builder is not None and kind is builder.kind and kind is not _KEY and builder.fits(sample):
        step = sample.dts - builder.last_dts
        builder.add(sample)
        if step > 0:
            track.step = step
        return True
    if builder is not None:
        close_open(track, sample)
    if track.first_recv_us == NO_TIME:
        track.first_recv_us = sample.recv_us
    track.open = ChunkBuilder(track, kind, sample, stamp)
    if kind is Kind.KEY and sample.key_type == KeyType.INTRA_ONLY:
        track.intra_key_done = True
    return True


def close_open(track: TrackState, following: Sample | None = None) -> None:
    """Seal the track's open chunk, if any, into `track.sealed`."""
    builder = track.open
    if builder is None:
        return
    track.open = None
    next_dts = following.dts if following is not None and not following.discontinuity else None
    try:
        track.sealed.append(builder.seal(next_dts))
    except Exception as error:
        raise ChunkFailed(builder.held) from error


class ChunkFailed(Exception):
    """An open chunk could not be sealed and is lost: so many bytes of samples."""

    def __init__(self, lost_bytes: int) -> None:
        super().__init__(lost_bytes)
        self.lost_bytes = lost_bytes


def dropped_bytes(track: TrackState, size: int, error: Exception) -> int:
    """Bytes of samples that are lost because taking one of `size` bytes raised `error`. An open chunk of which nobody
    knows what is in it goes as well."""
    if isinstance(error, ChunkFailed):
        size += error.lost_bytes
    builder = track.open
    if builder is not None and not builder.whole:
        track.open = None
        size = builder.held
    return size


def set_config(track: TrackState, config: TrackConfig, names: Names | None = None) -> None:
    """From here on samples are coded like this; closes the open chunk."""
    close_open(track)
    track.config = config
    if names is not None:
        track.names = names
    track.config_chunk = None


def config_chunk(track: TrackState, stamp: Stamp) -> SealedChunk:
    """The CONFIG chunk of the track's present coding: made once, repeated byte for byte in every segment."""
    if track.config_chunk is None:
        record = encode_config(track.spec, track.config)
        names = dump_record(encode_names(track.names))
        header = ChunkHeader(
            kind=Kind.CONFIG, track=track.spec.track.bytes, run=stamp.run, seq=NO_SEQ, recv_us=NO_TIME,
            codec=CODECS.get(track.config.codec, 0), origin=int(stamp.origin), epoch=stamp.epoch,
            timebase_hz=track.config.timebase_hz, config_hash=config_hash(record),
        )  # fmt: skip
        track.config_chunk = _record_chunk(header, record, names)
    return track.config_chunk


def note_chunk(track: TrackState, kind: Kind, start_us: int, end_us: int, record: bytes, stamp: Stamp) -> None:
    """Add a GAP or MARK chunk behind what the track has so far."""
    close_open(track)
    config = config_chunk(track, stamp)
    header = ChunkHeader(
        kind=kind, track=track.spec.track.bytes, run=stamp.run, seq=track.next_seq, recv_us=start_us,
        origin=int(stamp.origin), epoch=stamp.epoch, duration_us=max(end_us - start_us, 0),
        clock_run=stamp.clock_run, config_hash=config.header.config_hash,
    )  # fmt: skip
    track.next_seq += 1
    track.sealed.append(replace(_record_chunk(header, record, b""), config=config))


def _kind_of(track: TrackState, sample: Sample) -> Kind:
    of = track.spec.kind
    if of is _AUDIO_TRACK:
        return Kind.AUDIO
    if of is _METADATA_TRACK:
        return Kind.METADATA
    if sample.key_type == _DELTA_KEY:
        return _DELTA
    if sample.key_type == _INTRA_KEY and track.intra_key_done:
        return _INTRA
    return _KEY


def _record_chunk(header: ChunkHeader, record: bytes, table: bytes) -> SealedChunk:
    salt = os.urandom(SALT_LEN)
    header = header._replace(
        table_len=len(table),
        table_crc=crc32(table),
        payload_len=SALT_LEN + len(record),
        payload_crc=crc32(record, crc32(salt)),
        frames_hash=hashlib.sha256().digest(),
        body_hash=hashlib.sha256(salt + record).digest(),
    )
    raw = encode_chunk_header(header)
    return SealedChunk(header, raw, (raw, table, salt, record), header.chunk_len)
