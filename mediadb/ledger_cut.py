"""Forgetting of the ledger: whole months that are older than anybody can still ask about.

Law: takes away files, never parts of them, oldest first, and only while no run of a month lives on into one that stays:
what a run said holds until it ends. Without footage nothing is taken: there is no telling what is old. Blocking; on the
thread beside the writer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mediadb.format.ledger_page import walk_pages
from mediadb.fs import Fs
from mediadb.ledger import ledger_files


def cut_months(fs: Fs, folder: Path, before_us: int, run: int) -> list[str]:
    """Take away the months of a log's ledger that ended before `before_us`; `run` is the one that writes. Returns the
    names of the files. Raises OSError."""
    names = ledger_files(fs, folder)
    old = [name for name in names if _month_end_us(name) <= before_us]
    kept = [name for name in names if name not in old]
    if not old or not kept:
        return []
    living = _runs(fs, folder / kept[0]) | {run}
    while old and not living.isdisjoint(_runs(fs, folder / old[-1])):
        living |= _runs(fs, folder / old.pop())
    for name in old:
        fs.unlink(folder / name)
    if old:
        fs.fsync_dir(folder)
    return old


def _runs(fs: Fs, path: Path) -> set[int]:
    """Whoever wrote into a file, or is spoken of in what waited."""
    status = fs.stat(path)
    if status is None:
        return set()
    fd = fs.open_read(path)
    try:
        pages = walk_pages(lambda length, offset: fs.pread(fd, length, offset), 0, status.size)
        return {page.run for _, page in pages}
    finally:
        fs.close(fd)


def _month_end_us(name: str) -> int:
    """When the month of a ledger file is over; a name that is no month never ends."""
    try:
        first = datetime.strptime(name.split(".")[0], "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        return 1 << 62
    year, month = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)
    try:
        return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        return 1 << 62
