"""Reading MP4 files, progressive and fragmented, into sample tables (ISO/IEC 14496-12).

Law: sans-IO; the caller gives `read(offset, length)` and the file's size. Hostile input ends in an `Mp4Error`, never
in memory beyond a small multiple of the file: a table is made only after its count fitted into its box, and a movie
has no more samples than its file has bytes. Every sample lies inside the file. Called by `mediadb verify` and
`export` to check what was written, and by tests.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from mediadb.mp4 import stbl_reader
from mediadb.mp4.boxes import Budget, Fields, Limits, Mp4Error, ReadAt, children, read_top_level
from mediadb.mp4.entry_reader import EntryInfo, parse_entry_payload
from mediadb.mp4.moof_reader import TrackDefaults, read_moof, read_trex
from mediadb.mp4.stbl_reader import SampleTable

_KINDS = {b"vide": "video", b"soun": "audio"}
DEFAULT_LIMITS = Limits()


@dataclass(slots=True)
class Track:
    """One track. `edits`: (duration in movie ticks, media_time in track ticks or -1). `kind`: "video", "audio" or
    the handler's four characters. `samples` in decode order."""

    track_id: int = 0
    kind: str = ""
    timescale: int = 0
    duration: int = 0  # of the media, in track ticks
    edits: tuple[tuple[int, int], ...] = ()
    matrix: bytes = b""
    raw_entries: tuple[bytes, ...] = ()
    entries: tuple[EntryInfo, ...] = ()
    samples: SampleTable = field(default_factory=SampleTable)


@dataclass(slots=True)
class Movie:
    """A whole file. `layout`: the top-level boxes as (type, start, bytes). `cut`: the last box claims more bytes
    than the file has."""

    timescale: int
    duration: int
    tracks: tuple[Track, ...]
    fragmented: bool
    cut: bool
    layout: tuple[tuple[str, int, int], ...]


def read_movie(read: ReadAt, file_bytes: int, limits: Limits = DEFAULT_LIMITS) -> Movie:
    """Reads all tables of a file; mdat is never read. Mp4Error for anything that is not a sound MP4."""
    budget = Budget(limits)
    parser = _Parser(budget, min(limits.max_samples, file_bytes))
    layout: list[tuple[str, int, int]] = []
    cut = False
    for head in read_top_level(read, file_bytes, budget):
        name = head.type.decode("latin-1")
        layout.append((name, head.start, head.end - head.start))
        cut = head.cut
        if head.type not in (b"moov", b"moof") or (head.cut and head.type == b"moof"):
            continue
        length = head.end - head.payload
        if length > limits.max_header_bytes:
            raise Mp4Error(name, head.start, f"{length} bytes of header, at most {limits.max_header_bytes}")
        payload = read(head.payload, length)
        if len(payload) != length:
            raise Mp4Error(name, head.payload, f"{len(payload)} of {length} bytes could be read")
        fields = Fields(memoryview(payload), name, head.payload)
        if head.type == b"moov":
            parser.moov(fields)
        else:
            parser.moof(fields, head.start)
    return parser.finish(file_bytes, cut, tuple(layout))


class _Parser:
    """State over one file: the tracks so far and how many samples may still come."""

    def __init__(self, budget: Budget, samples_left: int) -> None:
        self._budget = budget
        self._samples_left = samples_left
        self._seen_moov = False
        self._fragmented = False
        self._timescale = 0
        self._duration = 0
        self._tracks: list[Track] = []
        self._defaults: dict[int, TrackDefaults] = {}

    def moov(self, fields: Fields) -> None:
        if self._seen_moov:
            raise fields.error("a second moov")
        self._seen_moov = True
        for kind, inner in children(fields, self._budget, 1):
            if kind == b"mvhd":
                version, _ = inner.version_flags()
                self._timescale, self._duration = _timescale_duration(inner, version)
            elif kind == b"trak":
                self._trak(inner)
            elif kind == b"mvex":
                self._fragmented = True
                for name, part in children(inner, self._budget, 2):
                    if name == b"trex":
                        track_id, defaults = read_trex(part)
                        self._defaults[track_id] = defaults

    def _trak(self, fields: Fields) -> None:
        if len(self._tracks) >= self._budget.limits.max_tracks:
            raise fields.error(f"more than {self._budget.limits.max_tracks} tracks")
        track = Track()
        self._walk(fields, track, 2)
        if not track.timescale:
            raise fields.error("a track without a timescale")
        if any(track.track_id == other.track_id for other in self._tracks):
            raise fields.error(f"track id {track.track_id} twice")
        self._tracks.append(track)

    def _walk(self, fields: Fields, track: Track, depth: int) -> None:
        for kind, inner in children(fields, self._budget, depth):
            if kind in (b"mdia", b"minf", b"edts"):
                self._walk(inner, track, depth + 1)
            elif kind == b"stbl":
                self._stbl(inner, track, depth + 1)
            elif kind in _TRACK_BOXES:
                _TRACK_BOXES[kind](inner, track)

    def _stbl(self, fields: Fields, track: Track, depth: int) -> None:
        parts = dict(children(fields, self._budget, depth))
        if b"stsd" not in parts:
            raise fields.error("no stsd")
        self._stsd(parts[b"stsd"], track, depth)
        track.samples = stbl_reader.read_tables(parts, fields, self._samples_left, len(track.entries))
        self._samples_left -= len(track.samples)

    def _stsd(self, fields: Fields, track: Track, depth: int) -> None:
        fields.version_flags()
        count = fields.uint(4)
        raw: list[bytes] = []
        infos: list[EntryInfo] = []
        table = fields.view
        before = fields.at
        for kind, inner in children(fields, self._budget, depth + 1):
            # `children` moves the cursor before it yields: the entry is what lies between
            raw.append(bytes(table[before : fields.at]))
            before = fields.at
            infos.append(parse_entry_payload(kind, inner, self._budget))
        if not infos or len(infos) != count:
            raise fields.error(f"{count} sample entries announced, {len(infos)} there")
        track.raw_entries, track.entries = tuple(raw), tuple(infos)

    def moof(self, fields: Fields, start: int) -> None:
        if not self._seen_moov:
            raise fields.error("moof before moov")
        self._fragmented = True
        by_id = {track.track_id: (track.samples, len(track.entries)) for track in self._tracks}
        before = sum(len(track.samples) for track in self._tracks)
        read_moof(fields, start, by_id, self._defaults, (self._budget, self._samples_left))
        self._samples_left -= sum(len(track.samples) for track in self._tracks) - before

    def finish(self, file_bytes: int, cut: bool, layout: tuple[tuple[str, int, int], ...]) -> Movie:
        if not self._seen_moov:
            raise Mp4Error("", 0, "no moov")
        for track in self._tracks:
            samples = track.samples
            for number, (at, size) in enumerate(zip(samples.offsets, samples.sizes, strict=True)):
                if at + size > file_bytes:
                    raise Mp4Error(f"track {track.track_id}", at, f"sample {number} ends beyond the file")
        return Movie(self._timescale, self._duration, tuple(self._tracks), self._fragmented, cut, layout)


def _timescale_duration(fields: Fields, version: int) -> tuple[int, int]:
    fields.take(16 if version == 1 else 8)
    timescale = fields.uint(4)
    return timescale, fields.uint(8 if version == 1 else 4)


def _tkhd(fields: Fields, track: Track) -> None:
    version, _ = fields.version_flags()
    fields.take(16 if version == 1 else 8)
    track.track_id = fields.uint(4)
    fields.take((12 if version == 1 else 8) + 16)
    track.matrix = bytes(fields.take(36))


def _mdhd(fields: Fields, track: Track) -> None:
    version, _ = fields.version_flags()
    track.timescale, track.duration = _timescale_duration(fields, version)


def _hdlr(fields: Fields, track: Track) -> None:
    fields.take(8)
    kind = bytes(fields.take(4))
    track.kind = _KINDS.get(kind, kind.decode("latin-1"))


def _elst(fields: Fields, track: Track) -> None:
    version, _ = fields.version_flags()
    wide = 8 if version == 1 else 4
    rows = Fields(fields.rows(fields.uint(4), 2 * wide + 4), fields.place, fields.base)
    edits = []
    while rows.left_bytes:
        edits.append((rows.uint(wide), rows.sint(wide)))
        rows.take(4)
    track.edits = tuple(edits)


_TRACK_BOXES: dict[bytes, Callable[[Fields, Track], None]] = {
    b"tkhd": _tkhd,
    b"mdhd": _mdhd,
    b"hdlr": _hdlr,
    b"elst": _elst,
}


def pts_of(samples: SampleTable) -> array[int]:
    """Presentation times in track ticks, before edit lists."""
    return array("q", map(int.__add__, samples.dts, samples.cts))
