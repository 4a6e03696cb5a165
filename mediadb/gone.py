"""The reclaim journal of a segment: `<segment>.gone`, intent before the deed, done after it.

Law: the same page framing as the ledger, append-only. An intent is durable before a byte of the segment goes, so a
reader that finds bytes missing learns here whether that was on purpose. Written by `reclaim`, asked by the
reader and by verify.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mediadb.blockfile import BlockFile
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page, scan_pages
from mediadb.format.records import Record
from mediadb.fs import Fs, read_file

GONE: Final = ".gone"
INTENT: Final = "intent"
DONE: Final = "done"
MAX_JOURNAL_BYTES: Final = 16 << 20


def read_journal(fs: Fs, path: Path) -> list[Record]:
    """Bodies of all verified records; an absent journal is empty."""
    try:
        raw = read_file(fs, path, MAX_JOURNAL_BYTES)
    except FileNotFoundError:
        return []
    return [record.body for _, page in scan_pages(raw) if page is not None for record in page.records]


def write_intent(fs: Fs, path: Path, body: Record, now_us: int) -> None:
    """Durable, with its name, when this returns."""
    there = fs.stat(path) is not None
    file = BlockFile.open_append(fs, path) if there else BlockFile.create(fs, path)
    _append(file, {**body, "phase": INTENT}, now_us)


def write_done(fs: Fs, path: Path, now_us: int) -> None:
    """The deed is durable."""
    _append(BlockFile.open_append(fs, path), {"phase": DONE}, now_us)


def removal_of(fs: Fs, stem: Path, offset: int) -> str | None:
    """State of the byte at `offset` of a segment by its journal: "deleted", "groomed", or None when it was not
    removed. Whole-segment intents cover every byte."""
    for body in reversed(read_journal(fs, stem.with_name(stem.name + GONE))):
        if body.get("phase") != INTENT:
            continue
        ranges = body.get("ranges")
        if ranges is None or any(low <= offset < low + length for low, length in ranges):
            return str(body.get("state", "deleted"))
    return None


def _append(file: BlockFile, body: Record, now_us: int) -> None:
    try:
        record = LedgerRecord(int(LedgerKind.REMOVED), now_us, body)
        file.write([encode_page([record], 0, 0, 0, now_us)], file.end)
        file.sync()
    finally:
        file.close()
