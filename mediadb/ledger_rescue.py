"""A ledger file that other hands removed, replaced or cut while it was written: its statements under a name again.

Law: reads through the descriptor that is still held and writes a new file; which file is current and what is said of
it is the writer's matter (`mediadb.ledger`). No page is there twice afterwards. Blocking.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediadb.blockfile import BlockFile
from mediadb.format.ledger_page import Page, walk_pages
from mediadb.fs import Fs

RESTORED: Final = "file-restored"  # a file that was taken from under the recorder is there again
LEDGER_LOST: Final = "ledger-lost"  # statements went with it


@dataclass(frozen=True, slots=True)
class Rescue:
    """`file` goes on in place of the one that was lost. `lost`: its end was cut off; the last statement that is left
    is of `until_us` (0: none is)."""

    file: BlockFile
    lost: bool
    until_us: int


def bring_back(fs: Fs, held: BlockFile, spare: Path) -> Rescue:
    """Write the pages of `held` into a new file: at its own name, or, where another file has that, at `spare`, then
    without the pages which that file holds as well. Raises OSError; then nothing changed and `held` is still open."""
    there = _keys(fs, held.path)
    file = BlockFile.create(fs, held.path if there is None else spare)
    until_us = 0
    try:
        size = min(fs.fstat(held.fd).size, held.end)
        for offset, page in walk_pages(lambda length, offset: fs.pread(held.fd, length, offset), 0, size):
            until_us = max(until_us, page.wall_us)
            if _key(page) not in (there or ()):
                file.end = file.write([fs.pread(held.fd, page.batch_len, offset)], offset)
        file.sync()
    except OSError:
        file.discard()
        raise
    if there is None:
        file.end = max(file.end, held.end)  # readers of this process go on where they were
    return Rescue(file, size < held.end, until_us)


def _keys(fs: Fs, path: Path) -> set[tuple[int, int, int, int]] | None:
    """The pages of a file; None when there is none."""
    status = fs.stat(path)
    if status is None:
        return None
    fd = fs.open_read(path)
    try:
        return {_key(page) for _, page in walk_pages(lambda length, at: fs.pread(fd, length, at), 0, status.size)}
    finally:
        fs.close(fd)


def _key(page: Page) -> tuple[int, int, int, int]:
    return page.epoch, page.number, page.run, page.wall_us
