"""One track of a long movie on the movie's clock: where its pieces begin, how many bytes lie before each row.

Law: columns of index rows in, columns out; no object per chunk and no frame table, because a day has 200,000 chunks
and its first byte must leave within a tenth of a second. Called by `long_plan`.

Inside a piece media time runs as the camera counted it; only where a piece begins with a break (gap, reconnect, clock
run) is it tied to wall time again.
"""

from __future__ import annotations

import uuid
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from operator import sub
from typing import Final

from mediadb.format.chunk import CHUNK_HEADER_BYTES
from mediadb.format.constants import SALT_LEN
from mediadb.ledger_facts import QUIET_US
from mediadb.movie.row_range import PartRows, Stretch
from mediadb.mp4.group import SAMPLE_BYTES
from mediadb.mp4.plan import to_ticks
from mediadb.read.part import ENTRY_KINDS, coding_tolerance_us
from mediadb.types import ChunkFlag, TrackConfig

LONGEST_DELTA_GROUP_S: Final = 30  # a group of pictures that is longer is cut where no decoder may start
_ENTRIES: Final = frozenset(map(int, ENTRY_KINDS))
_SEAM: Final = int(ChunkFlag.DISCONTINUITY)
_NOT_SAMPLES: Final = CHUNK_HEADER_BYTES + SALT_LEN


@dataclass(frozen=True, slots=True)
class Coded:
    """Rows of one part with one coding."""

    rows: PartRows
    config: TrackConfig


@dataclass(frozen=True, slots=True)
class Break:
    """Media time is tied to wall time at `row`: its first sample is received at `wall_us` and decoded at `time`.
    Before it media ended at `end`; `key_row` is the newest row before it where a decoder may start."""

    row: int
    time: int
    wall_us: int
    end: int
    key_row: int


@dataclass(slots=True)
class Marks:
    """Where groups of a leading track begin: row, decode time, and whether a decoder may start there."""

    rows: array[int] = field(default_factory=lambda: array("I"))
    times: array[int] = field(default_factory=lambda: array("q"))
    sync: bytearray = field(default_factory=bytearray)

    def add(self, row: int, time: int, sync: bool) -> None:
        self.rows.append(row)
        self.times.append(time)
        self.sync.append(sync)


@dataclass(slots=True)
class Line:
    """A track laid on the clock of a movie that begins at `start_us`; times are decode times in ticks of `scale`.

    `piece_*`: rows at which a continuous piece of one coding begins, its decode time, what the camera called that time,
    its sample entry. A leading line has `marks` at least `target` ticks apart (where keyframes allow), another one has
    the time of each row in `times`. `seqs` and `recv_us` are those of the rows.
    """

    track: uuid.UUID
    is_video: bool
    scale: int
    start_us: int
    first_offset: int  # pts - dts of the first sample: shown at presentation time 0
    leads: bool
    target: int
    configs: list[TrackConfig] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    piece_row: array[int] = field(default_factory=lambda: array("I"))
    piece_time: array[int] = field(default_factory=lambda: array("q"))
    piece_dts: array[int] = field(default_factory=lambda: array("q"))
    piece_entry: array[int] = field(default_factory=lambda: array("H"))
    breaks: list[Break] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    times: array[int] = field(default_factory=lambda: array("q"))
    end: int = 0
    seqs: array[int] = field(default_factory=lambda: array("Q"))
    recv_us: array[int] = field(default_factory=lambda: array("q"))
    first_row: int = 0  # earlier ones lie before the movie
    trim_samples: int = 0  # samples of the first row that do
    trim_ticks: int = 0  # how long they last
    trim_bytes: int = 0  # and what `weight` counts of them
    key_row: int = 0  # the newest where a decoder may start
    rows: int = 0
    _bytes: array[int] = field(default_factory=lambda: array("Q", [0]))
    _counts: array[int] = field(default_factory=lambda: array("Q", [0]))
    _last: tuple[int, str, int, TrackConfig] | None = None  # run, lane, end as the camera counts, coding

    def add(self, coded: Coded) -> None:
        """Append rows. They follow what was added before."""
        rows, config = coded.rows, coded.config
        part, media, low, high = rows.part, rows.part.media, rows.low, rows.high
        dts: Sequence[int] = media.base_dts[low:high]
        if config.timebase_hz != self.scale:
            dts = [d * self.scale // config.timebase_hz for d in dts]
        lasts = media.duration_us[low:high]
        entry = self._entry(config)
        first_row = self.rows
        self._weigh(rows)
        self.rows += high - low
        self.stretches.append(Stretch(part.name, part.segment, part.run, part.first_us, low, high - low, first_row))
        self.seqs.extend(media.seq[low:high])
        self.recv_us.extend(media.recv_us[low:high])
        cuts = [0, *_inner_breaks(dts, lasts, media.flags[low:high], self.scale, self._bounds(config)), high - low]
        for a, b in pairwise(cuts):
            new = a > 0 or self._breaks(part.run, part.lane, dts[0], media.flags[low], config)
            if new:
                self._tie(first_row + a, media.recv_us[low + a])
            elif entry != self.piece_entry[-1]:
                self._piece(first_row + a, self.piece_time[-1] + dts[a] - self.piece_dts[-1], dts[a], entry)
            if new:
                self._piece(first_row + a, self.breaks[-1].time, dts[a], entry)
            shift = self.piece_time[-1] - self.piece_dts[-1]
            end = dts[b - 1] - (-lasts[b - 1] * self.scale // 1_000_000)
            self._last = (part.run, part.lane, end, config)
            self.end = end + shift
            self._note(dts, media.kind[low:high], (a, b), first_row, shift)

    def _entry(self, config: TrackConfig) -> int:
        for number, known in enumerate(self.configs):
            if known.sample_entry == config.sample_entry:
                return number
        self.configs.append(config)
        return len(self.configs) - 1

    def _weigh(self, rows: PartRows) -> None:
        media, low, high = rows.part.media, rows.low, rows.high
        data = map(sub, media.length[low:high], media.table_len[low:high])
        self._bytes.extend(accumulate(data, initial=self._bytes.pop()))
        self._counts.extend(accumulate(media.frame_count[low:high], initial=self._counts.pop()))

    def weight(self, row: int) -> int:
        """Bytes of samples and of their rows in a trun before `row`."""
        return self._bytes[row] - _NOT_SAMPLES * row + SAMPLE_BYTES * self._counts[row]

    @property
    def samples(self) -> int:
        """Samples of all rows."""
        return self._counts[-1]

    def samples_before(self, row: int) -> int:
        """Samples of the rows before `row`."""
        return self._counts[row]

    def time_of(self, row: int, base_dts: int, timebase_hz: int) -> int:
        """Decode time of the first sample of `row`, which the camera calls `base_dts`."""
        piece = bisect_right(self.piece_row, row) - 1
        dts = base_dts if timebase_hz == self.scale else base_dts * self.scale // timebase_hz
        return self.piece_time[piece] + dts - self.piece_dts[piece]

    def forget_layout(self) -> None:
        """The layout is made: the columns that only that needed go."""
        self._bytes, self._counts = array("Q"), array("Q")
        self.times, self.marks = array("q"), Marks()
        self.seqs, self.recv_us = array("Q"), array("q")

    def _bounds(self, config: TrackConfig) -> tuple[int, int]:
        """How far (ticks) a row may lie from the end of the one before and still continue it. Not before the start of
        the sample before: decode times must not fall."""
        tolerance, nominal = coding_tolerance_us(config) * self.scale // 1_000_000, self._nominal(config)
        return min(nominal // 4, self.scale // 100) - nominal, tolerance

    def _nominal(self, config: TrackConfig) -> int:
        return config.frame_ticks * self.scale // config.timebase_hz or self.scale // 25

    def _breaks(self, run: int, lane: str, dts: int, flags: int, config: TrackConfig) -> bool:
        if self._last is None or flags & _SEAM or self._last[:2] != (run, lane):
            return True
        (low, high), (low_before, high_before) = self._bounds(config), self._bounds(self._last[3])
        return not min(low, low_before) <= dts - self._last[2] <= max(high, high_before)

    def _tie(self, row: int, wall_us: int) -> None:
        """Media time at `row` is wall time again, or as soon after it as what came before allows."""
        offset_us = self.first_offset * 1_000_000 // self.scale
        wanted = to_ticks(wall_us - self.start_us + offset_us, self.scale)
        time = max(wanted, self._sure_end()) if self.breaks else wanted
        self.breaks.append(Break(row, time, wall_us, min(self.end, time) if self.breaks else time, self.key_row))

    def _sure_end(self) -> int:
        """The end of what came before; of a slow camera's last sample only a moment: it need not have stood longer."""
        nominal = self._nominal(self._last[3]) if self._last is not None else 0
        slow = nominal * 1_000_000 > QUIET_US * self.scale
        return self.end - (nominal - self.scale // 100 if slow else 0)

    def _piece(self, row: int, time: int, dts: int, entry: int) -> None:
        self.piece_row.append(row)
        self.piece_time.append(time)
        self.piece_dts.append(dts)
        self.piece_entry.append(entry)

    def _note(
        self, dts: Sequence[int], kinds: Sequence[int], span: tuple[int, int], first_row: int, shift: int
    ) -> None:
        """Times of the rows [span) of a part, or where groups may begin among them."""
        a, b = span
        if not self.leads:
            self.times.extend([d + shift for d in dts[a:b]])
            return
        entries = [i for i in range(a, b) if kinds[i] in _ENTRIES]
        longest = LONGEST_DELTA_GROUP_S * self.scale
        if entries:
            self.key_row = first_row + entries[-1]
        few = (dts[b - 1] - dts[a]) * 2 > len(entries) * longest
        marks, target = self.marks, self.target
        latest = marks.times[-1] if len(marks.times) else 0
        if self.piece_row[-1] == first_row + a:
            latest = dts[a] + shift
            marks.add(first_row + a, latest, kinds[a] in _ENTRIES)
        for i in range(a, b) if few else entries:
            time = dts[i] + shift
            sync = kinds[i] in _ENTRIES
            if time - latest >= (target if sync else max(target, longest)) and marks.rows[-1] != first_row + i:
                marks.add(first_row + i, time, sync)
                latest = time


def _inner_breaks(
    dts: Sequence[int], lasts: Sequence[int], flags: Sequence[int], scale: int, bounds: tuple[int, int]
) -> list[int]:
    """Rows (not the first) that do not continue the one before. `lasts` in us. A camera that counts evenly has a few
    distinct steps: those are looked at, and the rows only when one of them does not fit."""
    low, high = bounds
    steps = set(zip(map(sub, dts[1:], dts), lasts, strict=False))
    if all(low <= step + (-last * scale // 1_000_000) <= high for step, last in steps) and not any(
        flag & _SEAM for flag in set(flags[1:])
    ):
        return []
    return [
        i
        for i in range(1, len(dts))
        if flags[i] & _SEAM or not low <= dts[i] - dts[i - 1] + (-lasts[i - 1] * scale // 1_000_000) <= high
    ]
