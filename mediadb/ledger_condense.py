"""A ledger that grew beyond its share of a volume, made small again: what it says of removed segments, in few words.

Law: month by month, the parts that nobody writes any more become one file at the name of the newest of them; what it
says of any instant stays the same. Verbatim: runs, words, gaps, trouble, clocks, segments that are there, and per run
and track the seal that came last. Of removed segments only from when to when, by which rule, and which numbers.
The file is put in place as a whole; parts that a crash left beside it are named in it and are void. Blocking; on the
thread beside the writer, which is the one that also seals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.format.ledger_page import LedgerKind, LedgerRecord, Page, encode_page, walk_pages
from mediadb.format.records import Record
from mediadb.fs import Fs, replace_file
from mediadb.ledger import LedgerWriter, ledger_files
from mediadb.ledger_packed import TOUCHING_US
from mediadb.locks import LogHandle

MIN_SHARE_BYTES: Final = 2 << 20
MAX_SHARE_BYTES: Final = 256 << 20
SHARE: Final = 64  # of the volume, or of the limit of size
PAGE_RECORDS: Final = 10_000
TEMPORARY: Final = "condensed.tmp"  # no name of a month: a reader must not take it for one
OF_SEGMENTS: Final = (LedgerKind.SEGMENT_BIRTH, LedgerKind.SEGMENT_SEAL, LedgerKind.POISONED, LedgerKind.DAMAGED)
REMOVALS: Final = (LedgerKind.REMOVED, LedgerKind.GROOMED)
Range = tuple[int, int]
Key = tuple[str, str]  # state, rule


def share_of(total_bytes: int) -> int:
    """What the ledger may take of so much room before it is made small."""
    return max(MIN_SHARE_BYTES, min(total_bytes // SHARE, MAX_SHARE_BYTES))


def ledger_bytes(fs: Fs, folder: Path) -> int:
    """What the files of a ledger hold. Raises OSError."""
    return sum(status.size for name in ledger_files(fs, folder) if (status := fs.stat(folder / name)) is not None)


def keep_share(log: LogHandle, ledger: LedgerWriter, quota_bytes: int | None, small_bytes: int, now_us: int) -> int:
    """Make the ledger of a log small when it is beyond its share, and twice what it was when it was made small last:
    `small_bytes` (0: never). Returns those bytes. Raises OSError."""
    total = log.fs.free_bytes(log.root)[1]
    share = share_of(total if quota_bytes is None else min(quota_bytes, total))
    if ledger_bytes(log.fs, log.ledger_folder) <= max(share, 2 * small_bytes):
        return small_bytes
    return condense(log.fs, log.ledger_folder, ledger.roll(now_us))


def parts_in(fs: Fs, path: Path) -> frozenset[str]:
    """The names of the parts that a file was made of, its own among them; empty of a file that is as it was written."""
    first = next(_pages(fs, path, 1), None)
    body = first.records[0].body if first is not None and _is_condensed(first) else {}
    parts = body.get("parts")
    return frozenset(map(str, parts)) if isinstance(parts, list) else frozenset()


def condense(fs: Fs, folder: Path, closed: Sequence[str]) -> int:
    """Make the `closed` parts small, month by month; returns the bytes that the ledger has then. Raises OSError; may be
    repeated at any point."""
    for month in sorted({_month(name) for name in closed}):
        parts = [name for name in closed if _month(name) == month]
        void = {one for name in parts for one in parts_in(fs, folder / name) if one != name}
        for name in void.intersection(parts):
            fs.unlink(folder / name)
        parts = [name for name in parts if name not in void]
        if parts:
            _condense_month(fs, folder, parts)
    return ledger_bytes(fs, folder)


def _condense_month(fs: Fs, folder: Path, parts: list[str]) -> None:
    known = _survey(fs, folder, set(parts))
    content = _Condenser(known).run(fs, folder, parts)
    replace_file(fs, folder / parts[-1], content, folder / TEMPORARY)
    for name in parts[:-1]:
        fs.unlink(folder / name)
    fs.fsync_dir(folder)


@dataclass(slots=True)
class _Known:
    """Over the whole ledger: `removed` segments with the rule, those `elsewhere` sealed in parts that stay, `kept`
    ones whose seal is the last of a run and track, and which damage went with footage."""

    removed: dict[str, Key] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def droppable(self, segment: str) -> bool:
        return segment in self.removed and segment not in self.kept


def _survey(fs: Fs, folder: Path, parts: set[str]) -> _Known:
    known = _Known()
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for name in ledger_files(fs, folder):
        for record in _records(fs, folder / name):
            body = record.body
            segment = str(body.get("segment", ""))
            if record.kind == LedgerKind.REMOVED:
                known.removed[segment] = _key(body)
            elif record.kind == LedgerKind.SEGMENT_SEAL:
                if name not in parts:
                    known.elsewhere.add(segment)
                    continue
                for entry in _entries(body):
                    key = str(body.get("run")), str(entry.get("track"))
                    number = int(str(entry.get("next_seq", 0)))
                    if number >= last.get(key, (-1, ""))[0]:
                        last[key] = number, segment
    known.kept = {segment for _, segment in last.values()}
    return known


@dataclass(slots=True)
class _Condenser:
    known: _Known
    spans: dict[Key, dict[str, list[Range]]] = field(default_factory=dict)  # said to be removed
    past: dict[Key, dict[str, list[Range]]] = field(default_factory=dict)  # what the removed segments had
    numbers: dict[Key, dict[str, dict[str, list[Range]]]] = field(default_factory=dict)  # by track and run

    def run(self, fs: Fs, folder: Path, parts: list[str]) -> bytes:
        out: list[bytes] = []
        seen: dict[tuple[int, int], list[Range]] = {}
        group: list[LedgerRecord] = []
        first: Page | None = None
        last: Page | None = None
        for page in _all_pages(fs, folder, parts):
            told = _is_condensed(page) and page.records[0].body.get("pages")
            for run, epoch, low, high in told if isinstance(told, list) else ():
                seen.setdefault((int(run, 16), epoch), []).append((low, high))
            if first is None or last is None or not _goes_on(last, page, seen):
                if first is not None and last is not None:
                    out += _group(group, first, last)
                group, first = [], page
            last = page
            seen.setdefault((page.run, page.epoch), []).append((page.number, page.number + 1))
            group += [record for record in page.records if self._stays(record)]
        if first is None or last is None:
            return b""
        group += self._said(last)
        out += _group(group, first, last)
        pages = [
            [f"{run:016x}", epoch, low, high] for (run, epoch), held in seen.items() for low, high in _joined(held, 0)
        ]
        marker: Record = {"parts": parts, "pages": pages}
        begin = next(_all_pages(fs, folder, parts))
        head = LedgerRecord(int(LedgerKind.CONDENSED), begin.wall_us, marker)
        return encode_page([head], begin.run, begin.epoch, begin.number, begin.wall_us) + b"".join(out)

    def _stays(self, record: LedgerRecord) -> bool:
        """Is the record kept as it is? What it says of removed footage is noted otherwise."""
        body = record.body
        segment = str(body.get("segment", ""))
        if record.kind in (LedgerKind.ALIVE, LedgerKind.CONDENSED):
            return False
        if record.kind == LedgerKind.FORGOTTEN:
            self._merge(body)
            return False
        if record.kind in REMOVALS:
            if record.kind == LedgerKind.REMOVED and (segment in self.known.elsewhere or segment in self.known.kept):
                return True
            for entry in _entries(body):
                _at(self.spans, _key(body), entry).extend(_ranges(entry.get("spans")))
            return False
        if record.kind not in OF_SEGMENTS or not self.known.droppable(segment):
            return True
        if record.kind == LedgerKind.SEGMENT_SEAL:
            self._forget(body, self.known.removed[segment])
        return False

    def _forget(self, seal: Record, key: Key) -> None:
        for entry in _entries(seal):
            if entry.get("first_us") is not None:
                _at(self.past, key, entry).append((entry["first_us"], entry["end_us"]))
            runs = self.numbers.setdefault(key, {}).setdefault(str(entry.get("track")), {})
            runs.setdefault(str(seal.get("run")), []).append((entry["first_seq"], entry["next_seq"]))

    def _merge(self, body: Record) -> None:
        key = _key(body)
        for entry in _entries(body):
            _at(self.spans, key, entry).extend(_ranges(entry.get("spans")))
            _at(self.past, key, entry).extend(_ranges(entry.get("past")))
            runs = self.numbers.setdefault(key, {}).setdefault(str(entry.get("track")), {})
            for run, low, high in entry.get("numbers", ()):
                runs.setdefault(run, []).append((low, high))

    def _said(self, last: Page) -> Iterator[LedgerRecord]:
        for key in sorted({*self.spans, *self.past, *self.numbers}):
            spans, past, numbers = self.spans.get(key, {}), self.past.get(key, {}), self.numbers.get(key, {})
            tracks: list[Record] = [
                {
                    "track": track,
                    "spans": _joined(spans.get(track, []), TOUCHING_US),
                    "past": _joined(past.get(track, []), TOUCHING_US),
                    "numbers": [
                        [run, *one] for run, held in sorted(numbers.get(track, {}).items()) for one in _joined(held, 0)
                    ],
                }
                for track in sorted({*spans, *past, *numbers})
            ]
            body: Record = {"state": key[0], "rule": key[1], "tracks": tracks}
            yield LedgerRecord(int(LedgerKind.FORGOTTEN), last.wall_us, body)


def _goes_on(last: Page, page: Page, seen: dict[tuple[int, int], list[Range]]) -> bool:
    """Are these two pages of one opening, and none of another month between them?"""
    if (last.run, last.epoch) != (page.run, page.epoch):
        return False
    told = any(low <= last.number and page.number < high for low, high in seen.get((page.run, page.epoch), ()))
    return told or page.number in (last.number, last.number + 1)


def _month(name: str) -> str:
    return name.split(".")[0]


def _group(records: list[LedgerRecord], first: Page, last: Page) -> Iterator[bytes]:
    """Pages of one opening, from its first to its last sign of life in these parts."""
    whole = [records[at : at + PAGE_RECORDS] for at in range(0, len(records), PAGE_RECORDS)] or [[]]
    for piece in whole:
        yield encode_page(piece, first.run, first.epoch, first.number, first.wall_us)
    yield encode_page([], last.run, last.epoch, last.number, last.wall_us)


def _joined(ranges: list[Range], touching: int) -> list[list[int]]:
    out: list[list[int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + touching:
            out[-1][1] = max(out[-1][1], high)
        else:
            out.append([low, high])
    return out


def _at(table: dict[Key, dict[str, list[Range]]], key: Key, entry: Record) -> list[Range]:
    return table.setdefault(key, {}).setdefault(str(entry.get("track")), [])


def _key(body: Record) -> Key:
    return str(body.get("state", "deleted")), str(body.get("rule", ""))


def _entries(body: Record) -> list[Record]:
    tracks = body.get("tracks")
    return [one for one in tracks if isinstance(one, dict)] if isinstance(tracks, list) else []


def _ranges(given: object) -> list[Range]:
    return [(int(low), int(high)) for low, high in given] if isinstance(given, list) else []


def _is_condensed(page: Page) -> bool:
    return bool(page.records) and page.records[0].kind == LedgerKind.CONDENSED


def _records(fs: Fs, path: Path) -> Iterator[LedgerRecord]:
    for page in _pages(fs, path):
        yield from page.records


def _all_pages(fs: Fs, folder: Path, parts: list[str]) -> Iterator[Page]:
    for name in parts:
        yield from _pages(fs, folder / name)


def _pages(fs: Fs, path: Path, most: int = 0) -> Iterator[Page]:
    """Verified batches of a file, one by one; only those of the first 64 KiB when `most` is given."""
    status = fs.stat(path)
    if status is None:
        return
    fd = fs.open_read(path)
    try:
        end = status.size if not most else min(status.size, 64 << 10)
        for _, page in walk_pages(lambda length, offset: fs.pread(fd, length, offset), 0, end):
            yield page
    finally:
        fs.close(fd)
