"""Movie fragments, appended to the sample tables of their tracks (ISO/IEC 14496-12 §8.8).

Law: a run's count is checked against its bytes, or, where a run has no bytes per sample, against how many samples
the file may still have. Called by `reader` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mediadb.mp4.boxes import Budget, Fields, children
from mediadb.mp4.stbl_reader import SampleTable

_NON_SYNC = 0x00010000
_MOST_TICKS = 1 << 62


@dataclass(frozen=True, slots=True)
class TrackDefaults:
    """What a sample is when its run does not say. `entry` counts from 0."""

    entry: int = 0
    duration: int = 0
    size: int = 0
    flags: int = 0


def read_trex(fields: Fields) -> tuple[int, TrackDefaults]:
    """Track id and its defaults (§8.8.3)."""
    fields.version_flags()
    track_id, entry = fields.uint(4), fields.uint(4)
    return track_id, TrackDefaults(entry - 1, fields.uint(4), fields.uint(4), fields.uint(4))


class _Traf:
    """One track fragment while its boxes are read."""

    __slots__ = ("base", "defaults", "dts", "run_end", "table")

    def __init__(self, base: int, table: SampleTable, defaults: TrackDefaults) -> None:
        self.base = base  # where data offsets count from
        self.run_end = base  # where a run without a data offset begins
        self.table = table
        self.defaults = defaults
        self.dts = table.dts[-1] + table.durations[-1] if len(table) else 0


def read_moof(
    fields: Fields,
    start: int,
    tracks: Mapping[int, tuple[SampleTable, int]],
    trex: Mapping[int, TrackDefaults],
    bounds: tuple[Budget, int],
) -> None:
    """Appends the samples of the moof at file offset `start`. `tracks`: id -> (table, number of sample entries);
    `bounds`: the box budget and how many samples may still come."""
    budget, samples_left = bounds
    for kind, traf in children(fields, budget, 1):
        if kind != b"traf":
            continue
        state: _Traf | None = None
        for name, inner in children(traf, budget, 2):
            if name == b"tfhd":
                state = _tfhd(inner, start, tracks, trex)
            elif state is None and name in (b"tfdt", b"trun"):
                raise inner.error("before tfhd")
            elif state is not None and name == b"tfdt":
                version, _ = inner.version_flags()
                state.dts = inner.uint(8 if version == 1 else 4)
            elif state is not None and name == b"trun":
                samples_left -= _trun(inner, state, samples_left)


def _tfhd(
    fields: Fields,
    start: int,
    tracks: Mapping[int, tuple[SampleTable, int]],
    trex: Mapping[int, TrackDefaults],
) -> _Traf:
    _, flags = fields.version_flags()
    track_id = fields.uint(4)
    if track_id not in tracks:
        raise fields.error(f"track {track_id} is not in moov")
    table, entries = tracks[track_id]
    known = trex.get(track_id, TrackDefaults())
    # Without default-base-is-moof the base is the moof too for the first traf, which is all that is in use.
    base = fields.uint(8) if flags & 1 else start
    entry = fields.uint(4) - 1 if flags & 2 else known.entry
    if not 0 <= entry < entries:
        raise fields.error(f"sample entry {entry + 1} of {entries}")
    duration = fields.uint(4) if flags & 8 else known.duration
    size = fields.uint(4) if flags & 0x10 else known.size
    sample_flags = fields.uint(4) if flags & 0x20 else known.flags
    return _Traf(base, table, TrackDefaults(entry, duration, size, sample_flags))


def _trun(fields: Fields, state: _Traf, samples_left: int) -> int:
    version, flags = fields.version_flags()
    count = fields.uint(4)
    if count > samples_left:
        raise fields.error(f"{count} samples, the file has room for {samples_left}")
    at = state.base + fields.sint(4) if flags & 1 else state.run_end
    first_flags = fields.uint(4) if flags & 4 else None
    row_bytes = 4 * (flags >> 8 & 0xF).bit_count()
    rows = Fields(fields.rows(count, row_bytes), fields.place, fields.base + fields.at)
    table, defaults = state.table, state.defaults
    for number in range(count):
        duration = rows.uint(4) if flags & 0x100 else defaults.duration
        size = rows.uint(4) if flags & 0x200 else defaults.size
        sample_flags = rows.uint(4) if flags & 0x400 else defaults.flags
        if number == 0 and first_flags is not None:
            sample_flags = first_flags
        offset = 0
        if flags & 0x800:
            offset = rows.sint(4) if version else rows.uint(4)
        if at < 0 or at >= _MOST_TICKS or state.dts >= _MOST_TICKS:
            raise fields.error(f"sample at byte {at}, decode time {state.dts}")
        table.offsets.append(at)
        table.sizes.append(size)
        table.dts.append(state.dts)
        table.durations.append(duration)
        table.cts.append(offset)
        table.sync.append(0 if sample_flags & _NON_SYNC else 1)
        table.entry.append(defaults.entry)
        at += size
        state.dts += duration
    state.run_end = at
    return count
