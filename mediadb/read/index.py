"""Which chunk of a track lies where: sealed segments through the catalog, open ones through the writer's memory.

Law: read-only, blocking, thread-safe; runs on the volume's read pool. Knows nothing of ledger or causes. The catalog
may vanish at any call: it is filled again from footers and the call goes on.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mediadb.catalog import DAY_US, Catalog, PartRow, TrackRow
from mediadb.errors import FormatError, MediaDbError
from mediadb.format.columns import ChunkColumns
from mediadb.format.footer import ConfigPlace
from mediadb.format.records import config_hash, decode_config, encode_config
from mediadb.fs import Fs
from mediadb.ledger_facts import FUTURE_US, PAST_US, MediaSpan, join_spans
from mediadb.read.heads import with_heads
from mediadb.read.inventory import Inventory
from mediadb.read.part import Part, coding_tolerance_us, part_spans
from mediadb.read.recent_cache import RecentCache
from mediadb.segment_files import SEALED, read_config, read_footer, read_track, stem, walk_index
from mediadb.segment_index import LiveSource, SegmentIndex, TrackIndex
from mediadb.types import Origin, TrackConfig, TrackSpec

CACHED_ROWS: Final = 60_000  # of decoded index regions, of 100 bytes each; a region weighs as much as 20
CONFIG_PARTS: Final = 64  # segments looked through for a CONFIG whose own copy is damaged
CACHED_CONFIGS: Final = 4096
NEAR_PARTS: Final = 8  # segments looked at for the chunk that a stretch goes on from


class StorageIndex(Inventory):
    """All chunks of one storage."""

    def __init__(
        self,
        fs: Fs,
        volume: Path,
        storage: str,
        catalog: Catalog,
        live: LiveSource | None = None,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(fs, volume, storage, catalog, live, now_us)
        self._configs: RecentCache[bytes, tuple[TrackSpec, TrackConfig]] = RecentCache(CACHED_CONFIGS)
        self._parts: RecentCache[tuple[str, uuid.UUID], Part] = RecentCache(CACHED_ROWS, lambda p: 20 + len(p.media))

    def _dropped(self, name: str | None) -> None:
        self._parts.drop(lambda key: name in (None, key[0]))

    def _live_spans(self, name: str) -> dict[uuid.UUID, list[MediaSpan]]:
        """Gapless stretches of a segment that is still in the writer's memory: worked out now, the timeline of a
        month need not read the index of every segment."""
        shown = self._live.live_segments() if self._live is not None else ()
        live = [segment.index for segment in shown if stem(self.volume, segment.path) == name]
        return {
            track: self.part_spans(_open_part(name, index, entry))
            for index in live
            for track, entry in list(index.tracks.items())
            if entry.media.count and entry.media.count == len(entry.media)
        }

    def first_us(self, track: uuid.UUID) -> int:
        """When the first media of the track begins that is still there; FUTURE_US when there is none."""
        first = [part.first_us for part in self._open_parts(track, self.unsealed(), set())]
        rows = self._neighbours(track, PAST_US, 1, False)
        return min([*first, *(row.summary.first_us for row in rows)], default=FUTURE_US)

    def tracks(self) -> list[TrackRow]:
        """All tracks with media, sealed or not."""
        unsealed = self.unsealed()
        found = {row.spec.track: row for row in self._with_catalog(self._catalog.tracks)}
        for _, index in unsealed:
            for track, entry in list(index.tracks.items()):
                if not entry.media.count:
                    continue
                first, end = _bounds(entry.media)
                row = found.get(track)
                if row is not None:
                    first, end = min(first, row.first_us), max(end, row.end_us)
                found[track] = TrackRow(entry.spec, entry.names, first, end)
        return list(found.values())

    def _open_parts(self, track: uuid.UUID, unsealed: list[tuple[str, SegmentIndex]], sealed: set[str]) -> list[Part]:
        parts = []
        for name, index in unsealed:
            entry = index.tracks.get(track)
            if entry is None or name in sealed or not entry.media.count:
                continue
            parts.append(_open_part(name, index, entry))
        return parts

    def parts(self, track: uuid.UUID, start_us: int, end_us: int, run: int | None = None) -> list[Part]:
        """Parts (of one run) with media in [start_us, end_us), by first time; damaged ones are left out and noted."""
        unsealed = self.unsealed()  # before the catalog: what is sealed in between is seen twice, not never
        rows = self._with_catalog(lambda: self._catalog.parts(track, start_us, end_us))
        wanted = (self.load(row) for row in rows if run in (None, row.segment.run))
        parts = [part for part in wanted if part is not None]
        sealed = {row.segment.name for row in rows}
        parts += [p for p in self._open_parts(track, unsealed, sealed) if p.first_us < end_us and p.end_us > start_us]
        return sorted(parts, key=lambda p: (p.first_us, p.name))

    def spans(self, track: uuid.UUID, start_us: int, end_us: int) -> list[MediaSpan]:
        """Gapless stretches of all media in or touching [start_us, end_us); lanes stay apart from live media. Of those
        that begin with what refers to a chunk that is gone, `shown_us` says from when on they can be shown."""
        found = self.stretches(track, start_us, end_us)
        whole = with_heads(found, start_us, lambda head: self.before(track, head))
        return found if whole is found else join_spans(whole, self.tolerance_us(track))

    def before(self, track: uuid.UUID, head: MediaSpan) -> list[MediaSpan]:
        """Stretches up to the chunk that `head` refers to, of the part that has it; none when it is gone."""
        number = head.after_seq - 1
        for part in self._open_parts(track, self.unsealed(), set()):
            if (part.run, part.lane) == (head.run, head.lane) and part.media.seq[0] <= number:
                found = _up_to(self.part_spans(part), number)
                if found:
                    return found
        rows = self._neighbours(track, head.start_us, NEAR_PARTS, True)
        found = self._up_to_in(rows, head)
        if not found and head.clock:  # before a set clock, any time
            rows = self._with_catalog(lambda: self._catalog.parts(track, PAST_US, FUTURE_US))
            found = self._up_to_in(rows, head)
        return found

    def _up_to_in(self, rows: list[PartRow], head: MediaSpan) -> list[MediaSpan]:
        number = head.after_seq - 1
        for row in rows:
            same = (row.segment.run, lane_word(row.segment.origin)) == (head.run, head.lane)
            if same and row.summary.first_seq <= number < row.summary.next_seq:
                found = _up_to(self._row_spans(row), number)
                if found:
                    return found
        return []

    def stretches(self, track: uuid.UUID, start_us: int, end_us: int) -> list[MediaSpan]:
        """As `spans`, whether what they begin with can be shown or not."""
        unsealed = self.unsealed()
        tolerance = self.tolerance_us(track)
        open_parts = self._open_parts(track, unsealed, set())
        newest = self._neighbours(track, end_us, 1, True)  # however far the question reaches: no days without footage
        last_us = min(end_us, newest[0].summary.end_us) if newest else start_us
        days = range(-(-max(start_us, self.first_us(track)) // DAY_US), last_us // DAY_US)  # whole: merged rows
        if open_parts:
            first_open = min(part.first_us for part in open_parts) // DAY_US
            days = range(days.start, min(days.stop, first_open))
        spans: list[MediaSpan] = []
        edges = [(start_us, end_us)]
        if len(days) > 1:
            spans += self._day_spans(track, days, tolerance)
            edges = [(start_us, days.start * DAY_US), (days.stop * DAY_US, end_us)]
        sealed: set[str] = set()
        for low, high in edges:
            for row in self._with_catalog(lambda low=low, high=high: self._catalog.parts(track, low, high)):  # type: ignore[misc]
                if len(days) > 1 and row.summary.first_us // DAY_US in days:
                    continue
                sealed.add(row.segment.name)
                spans += self._row_spans(row)
        for part in open_parts:
            if part.name not in sealed and part.first_us < end_us and part.end_us > start_us:
                spans += self.part_spans(part)
        return join_spans(spans, tolerance)

    def _day_spans(self, track: uuid.UUID, days: range, tolerance_us: int) -> list[MediaSpan]:
        """Stretches of the sealed parts that begin on `days`, a row per day once they have been worked out."""
        known = self._with_catalog(lambda: self._catalog.days(track, days.start, days.stop))
        spans: list[MediaSpan] = []
        for day in days:
            found = known.get(day)
            if found is None:
                found = self._work_out_day(track, day, tolerance_us)
            spans += found
        return spans

    def _work_out_day(self, track: uuid.UUID, day: int, tolerance_us: int) -> list[MediaSpan]:
        low, high = day * DAY_US, (day + 1) * DAY_US
        rows = [
            r for r in self._with_catalog(lambda: self._catalog.parts(track, low, high)) if r.summary.first_us >= low
        ]
        found = join_spans([span for row in rows for span in self._row_spans(row)], tolerance_us)
        if not any(row.segment.name in self.damaged for row in rows):
            self._with_catalog(lambda: self._catalog.keep_day(track, day, len(rows), found))
        return found

    def _row_spans(self, row: PartRow) -> list[MediaSpan]:
        """Stretches of one sealed part, remembered in the catalog once they have been worked out."""
        if row.spans is not None:
            return row.spans
        part = self.load(row)
        if part is None:
            return []
        own = self.part_spans(part)
        self._with_catalog(lambda: self._catalog.keep_spans(row, own))
        return own

    def walk(self, track: uuid.UUID, time_us: int, *, before: bool) -> Iterator[Part]:
        """Parts from `time_us` outwards: those that begin at or before it, newest first; or the later ones."""
        done = set[str]()
        waiting = [p for p in self._open_parts(track, self.unsealed(), set()) if (p.first_us <= time_us) == before]
        waiting.sort(key=lambda p: p.first_us, reverse=before)
        limit = 2
        while True:
            rows = self._neighbours(track, time_us, limit + len(done), before)
            fresh = [row for row in rows if row.segment.name not in done]
            for row in fresh:
                first = row.summary.first_us
                while waiting and (waiting[0].first_us > first if before else waiting[0].first_us < first):
                    yield from _once(waiting.pop(0), done)
                part = self.load(row)
                if part is not None:
                    yield from _once(part, done)
                done.add(row.segment.name)
            if not fresh:
                break
            limit = min(limit * 2, 256)
        for part in waiting:
            yield from _once(part, done)

    def _neighbours(self, track: uuid.UUID, time_us: int, limit: int, before: bool) -> list[PartRow]:
        return self._with_catalog(lambda: self._catalog.neighbours(track, time_us, limit, before=before))

    def load(self, row: PartRow) -> Part | None:
        """The index region of a part, one pread when it is not cached. None when it cannot be read any more."""
        key = (row.segment.name, row.summary.track)
        part = self._parts.get(key)
        if part is not None and part.segment == row.segment.segment:
            return part
        try:
            with self.files.use(row.segment.name) as handle:
                self.files.preads += 1
                configs, media, notes = self._read_track(row, handle.fd)
        except (MediaDbError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            self.damaged[row.segment.name] = error.message if isinstance(error, MediaDbError) else str(error)
            return None
        part = Part(
            row.segment.name, row.segment.segment, row.segment.run, lane_word(row.segment.origin),
            row.summary.first_us, row.summary.end_us, configs, media, notes, media.count,
        )  # fmt: skip
        self._parts.put(key, part)
        return part

    def _read_track(self, row: PartRow, fd: int) -> tuple[list[ConfigPlace], ChunkColumns, ChunkColumns]:
        """The region the catalog points to; when that does not verify, the one the footer points to, or the blocks."""
        try:
            return read_track(self.fs, fd, row.summary)
        except FormatError:
            pass
        try:
            head, _ = read_footer(self.fs, fd)
            for summary in head.tracks:
                if summary.track == row.summary.track:
                    return read_track(self.fs, fd, summary)
        except FormatError:
            pass
        self.damaged[row.segment.name] = "the footer does not verify; run mediadb fsck --repair"
        entry = walk_index(self.fs, self.volume / (row.segment.name + SEALED), self._voids).tracks.get(
            row.summary.track
        )
        if entry is None:
            raise FormatError(f"no index of track {row.summary.track}")
        return entry.configs, entry.media, entry.notes

    def config(self, name: str, place: ConfigPlace) -> tuple[TrackSpec, TrackConfig]:
        """The CONFIG of a part, cached by its hash. FormatError or ChunkError when it cannot be read."""
        known = self._configs.get(place.config_hash)
        if known is None:
            record = self._with_catalog(lambda: self._catalog.config(place.config_hash))
            if record is not None and config_hash(record) == place.config_hash:
                known = decode_config(record)
            else:
                known = self._read_config(name, place)
            self._configs.put(place.config_hash, known)
        return known

    def config_elsewhere(self, track: uuid.UUID, name: str, wanted: bytes) -> tuple[TrackSpec, TrackConfig] | None:
        """The same CONFIG, by its hash, out of another segment: each repeats it, and the one in `name` is damaged."""
        for looked, part in enumerate(self.walk(track, FUTURE_US, before=True)):
            if looked == CONFIG_PARTS:
                return None
            for place in part.configs if part.name != name else ():
                if place.config_hash == wanted:
                    try:
                        return self.config(part.name, place)
                    except (MediaDbError, OSError):
                        continue
        return None

    def _read_config(self, name: str, place: ConfigPlace) -> tuple[TrackSpec, TrackConfig]:
        with self.files.use(name) as handle:
            self.files.preads += 1
            spec, config, _ = read_config(self.fs, handle.fd, place)
        record = encode_config(spec, config)
        if config_hash(record) == place.config_hash:  # a later program may have written fields unknown here
            self._with_catalog(lambda: self._catalog.keep_config(place.config_hash, record))
        return spec, config

    def tolerance_us(self, track: uuid.UUID) -> int:
        """How long a hole of the track must be to be one, by its newest coding."""
        for part in self.walk(track, FUTURE_US, before=True):
            return coding_tolerance_us(self._coding(part.name, part.configs[-1]) if part.configs else None)
        return coding_tolerance_us(None)

    def part_spans(self, part: Part) -> list[MediaSpan]:
        """The gapless stretches of one part."""
        return part_spans(part, [self._coding(part.name, place) for place in part.configs])

    def _coding(self, name: str, place: ConfigPlace) -> TrackConfig | None:
        try:
            return self.config(name, place)[1]
        except MediaDbError:
            return None

    def close(self) -> None:
        self.files.close()
        self._catalog.close()


def lane_word(origin: int) -> str:
    """The lane of an origin: "" for live media."""
    return "" if origin == Origin.LIVE else Origin(origin).name.lower()


def _open_part(name: str, index: SegmentIndex, entry: TrackIndex) -> Part:
    """A track in a segment without footer: the rows that are published now."""
    count = entry.media.count
    first, end = _bounds(entry.media)
    lane = lane_word(int(index.header.origin))
    return Part(
        name, index.header.segment, index.header.run, lane, first, end, entry.configs, entry.media, entry.notes, count
    )


def _bounds(media: ChunkColumns) -> tuple[int, int]:
    count = media.count
    if media.ordered:
        low = max(0, count - 2)
        return media.recv_us[0], max(media.recv_us[i] + media.duration_us[i] for i in range(low, count))
    return min(media.recv_us[:count]), max(
        a + b for a, b in zip(media.recv_us[:count], media.duration_us[:count], strict=True)
    )


def _up_to(spans: list[MediaSpan], number: int) -> list[MediaSpan]:
    """Those that begin at or before a number, when one of them has it."""
    found = [span for span in spans if span.first_seq <= number]
    return found if any(number < span.end_seq for span in found) else []


def _once(part: Part, done: set[str]) -> Iterator[Part]:
    if part.name not in done:
        done.add(part.name)
        yield part
