"""What a log must at least have, by the memory of the server that wrote it.

Law: reads only, decides nothing. A backup, snapshot or clone that was made in the same epoch shows no older epoch; it
lacks what came after. After a start two witnesses must both lack it before a disk is called older: the newest segment,
which other hands or retention may have taken, and the ledger, which they take seldom and never with it. Asked by
`mediadb.locks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mediadb.format.ledger_page import walk_pages
from mediadb.fs import Fs

SUFFIXES = (".open", ".rseg", ".open")  # twice: it may be sealed between the first two looks


class KnownTail(NamedTuple):
    """`segment` below the log, without suffix, had so many durable `bytes`; the ledger so many `pages` of the epoch.
    `pages` None: this very process wrote the segment, it alone is proof."""

    segment: str
    bytes: int
    pages: int | None


def lacks(fs: Fs, folder: Path, ledger: Path, epoch: int, tail: KnownTail) -> bool:
    """Does the log in `folder` with its `ledger` hold less than the tail known of `epoch`? False when that cannot be
    read: a sick disk is not an old one."""
    try:
        if _has_segment(fs, folder, tail):
            return False
        return tail.pages is None or not _has_page(fs, ledger, epoch, tail.pages)
    except OSError:
        return False


def _has_segment(fs: Fs, folder: Path, tail: KnownTail) -> bool:
    found = (fs.stat(folder / (tail.segment + suffix)) for suffix in SUFFIXES)
    return any(status is not None and status.size >= tail.bytes for status in found)


def _has_page(fs: Fs, folder: Path, epoch: int, pages: int) -> bool:
    """Is the last known page of the epoch there, or a later one?"""
    for name in reversed(fs.listdir(folder)):  # newest month first
        status = fs.stat(folder / name)
        if status is None:
            continue
        fd = fs.open_read(folder / name)
        try:
            read = walk_pages(lambda length, offset, fd=fd: fs.pread(fd, length, offset), 0, status.size)  # type: ignore[misc]
            if any((page.epoch, page.number + 1) >= (epoch, pages) for _, page in read):
                return True
        finally:
            fs.close(fd)
    return False
