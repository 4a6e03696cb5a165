"""What a disk holds behind the page cache: content per page, names per folder, and what of both a power cut leaves.

A model of ext4 and XFS, on the harsh side: unsynced pages and unsynced names are kept or lost one by one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

PAGE = 4096
SECTOR = 512


def page_of(data: bytes | bytearray, number: int) -> bytes:
    """One page, filled up with zeroes."""
    raw = bytes(data[number * PAGE : (number + 1) * PAGE])
    return raw + bytes(PAGE - len(raw))


@dataclass
class Node:
    """A file. `data` is what reads show, `durable` what the disk holds, `dirty` the pages that differ on purpose.

    `cut` is the lowest size a truncate asked for since the last sync (None: none). `pages` are allocated, `reserved`
    counts those allocated ahead.
    """

    number: int
    path: Path = Path()
    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)
    pages: set[int] = field(default_factory=set)
    reserved: int = 0
    cut: int | None = None
    direct: bool = False

    def write(self, offset: int, raw: bytes) -> None:
        if len(self.data) < offset:
            self.data += bytes(offset - len(self.data))
        self.data[offset : offset + len(raw)] = raw
        touched = range(offset // PAGE, (offset + max(len(raw), 1) - 1) // PAGE + 1)
        self.dirty.update(touched)
        self.pages.update(touched)

    def truncate(self, size: int) -> None:
        if size < len(self.data):
            self.cut = size if self.cut is None else min(self.cut, size)
        del self.data[size:]
        self.data += bytes(size - len(self.data))
        self.dirty = {page for page in self.dirty if page * PAGE < size}
        self.pages = {page for page in self.pages if page * PAGE < size}
        self.reserved = 0

    def punch(self, offset: int, length: int) -> None:
        """Zeroes in the cache; on the disk only after a sync, page by page before it."""
        end = min(offset + length, len(self.data))
        if end <= offset:
            return
        self.data[offset:end] = bytes(end - offset)
        self.dirty.update(range(offset // PAGE, (end - 1) // PAGE + 1))
        whole = range(-(-offset // PAGE), end // PAGE if end < len(self.data) else -(-end // PAGE))
        self.pages.difference_update(whole)

    def sync(self) -> None:
        if self.cut is not None:
            del self.durable[self.cut :]
            self.cut = None
        if len(self.durable) < len(self.data):
            self.durable += bytes(len(self.data) - len(self.durable))
        for page in self.dirty:
            self.durable[page * PAGE : (page + 1) * PAGE] = self.data[page * PAGE : (page + 1) * PAGE]
        self.dirty.clear()

    def fail_sync(self, rng: random.Random | None) -> None:
        """The kernel marks all pages clean; some of them (by `rng`) reached the disk, the others never will."""
        if rng is not None:
            self.durable = self.left(rng)
        self.cut = None
        self.dirty.clear()

    def drop_cache(self) -> None:
        """Clean pages are read from the disk again: what a failed sync pretended is now gone for readers too."""
        size = len(self.data)
        kept = {page: page_of(self.data, page) for page in self.dirty}
        self.data = bytearray(self.durable[:size]) + bytearray(max(0, size - len(self.durable)))
        for page, raw in kept.items():
            self.data[page * PAGE : (page + 1) * PAGE] = raw[: max(0, size - page * PAGE)]

    def left(self, rng: random.Random | None) -> bytearray:
        """Content after a power cut. Without `rng` nothing that was not synced is there."""
        found = bytearray(self.durable)
        if rng is None:
            return found
        if self.cut is not None and rng.random() < 0.5:
            del found[self.cut :]
        share = rng.choice((0.0, 0.5, 0.5, 0.9, 1.0))
        for page in sorted(self.dirty):
            if rng.random() >= share:
                continue
            raw = self.data[page * PAGE : (page + 1) * PAGE]
            if rng.random() < 0.2:
                raw = _torn(page_of(found, page), raw, rng)
            if len(found) < page * PAGE:
                found += bytes(page * PAGE - len(found))
            found[page * PAGE : page * PAGE + len(raw)] = raw
        if len(found) < len(self.data) and rng.random() < 0.1:
            found += bytes(len(self.data) - len(found))  # the new size was written, the pages were not
        return found


def _torn(old: bytes, new: bytearray, rng: random.Random) -> bytearray:
    """Sectors of a page are written one by one: the first ones, or any of them."""
    out = bytearray(old[: len(new)])
    first = rng.randrange(0, 9) if rng.random() < 0.5 else None
    for number in range(-(-len(new) // SECTOR)):
        if number < first if first is not None else rng.random() < 0.5:
            at = number * SECTOR
            out[at : at + SECTOR] = new[at : at + SECTOR]
    return out


@dataclass(frozen=True)
class NameChange:
    """One change of folders that was not synced: `made` (with its file), `removed`, or both for a rename."""

    made: Path | None
    node: Node | None
    removed: Path | None

    def touches(self, folder: Path) -> bool:
        return any(path is not None and path.parent == folder for path in (self.made, self.removed))

    def apply(self, names: dict[Path, Node]) -> None:
        if self.removed is not None:
            names.pop(self.removed, None)
        if self.made is not None and self.node is not None:
            names[self.made] = self.node


def names_left(durable: dict[Path, Node], changes: list[NameChange], rng: random.Random | None) -> dict[Path, Node]:
    """Names after a power cut: with `rng` any subset of the unsynced changes happened, else none."""
    names = dict(durable)
    if rng is not None:
        share = rng.choice((0.0, 0.5, 0.5, 1.0))
        for change in changes:
            if rng.random() < share:
                change.apply(names)
    return names
