"""The reclaim journal of a segment: `<segment>.gone`, intent before the deed, done after it.

Law: the same page framing as the ledger; nothing in it is ever changed. An intent is durable before a byte of the
segment goes, so a reader that finds bytes missing learns here whether that was on purpose. A journal whose intent names
ranges lives as long as its segment; one for the whole segment goes with it. Written by `reclaim`; asked by the reader,
by the inventory of segments, by verify and by fsck.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from mediadb.blockfile import BlockFile
from mediadb.format.constants import BLOCK_ALIGN
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page, scan_pages
from mediadb.format.records import Record
from mediadb.fs import Fs, read_file, replace_file

GONE: Final = ".gone"
INTENT: Final = "intent"
DONE: Final = "done"
MAX_JOURNAL_BYTES: Final = 16 << 20
Range = tuple[int, int]  # offset, length


class Removed(NamedTuple):
    """What became of bytes that are not there any more: "deleted" or "groomed", and by which rule."""

    state: str
    rule: str


def journal_of(segment: Path) -> Path:
    """The journal of a segment file, whatever its suffix."""
    return segment.with_suffix(GONE)


def read_journal(fs: Fs, path: Path) -> list[Record]:
    """Bodies of all verified records; an absent journal is empty. Records that are no journal records are left out."""
    try:
        raw = read_file(fs, path, MAX_JOURNAL_BYTES)
    except FileNotFoundError:
        return []
    bodies = (record.body for _, page in scan_pages(raw) if page is not None for record in page.records)
    return [body for body in bodies if body.get("phase") == DONE or _is_intent_of(path, body)]


def _is_intent_of(journal: Path, body: Record) -> bool:
    """A journal that was copied to another segment's name must not take that one's footage."""
    return body.get("phase") == INTENT and body.get("name", journal.stem) == journal.stem


def write_intent(fs: Fs, path: Path, body: Record, now_us: int) -> None:
    """Durable, with its name, when this returns."""
    page = _page({**body, "phase": INTENT}, now_us)
    if fs.stat(path) is None:
        BlockFile.create(fs, path, page).close()
        return
    file = BlockFile.open_append(fs, path)
    try:
        file.write([page], file.end)
        file.sync()
    finally:
        file.close()


def write_done(fs: Fs, path: Path, now_us: int) -> None:
    """The deed is durable. Written as a new file in place of the old one, so that the folder shows that the segment
    holds less now: a catalog compares folders, not files."""
    raw = read_file(fs, path, MAX_JOURNAL_BYTES)
    whole = len(raw) - len(raw) % BLOCK_ALIGN
    replace_file(fs, path, raw[:whole] + _page({"phase": DONE}, now_us))


def unfinished(fs: Fs, path: Path) -> Record | None:
    """The intent of a removal that has to be repeated; None when there is none. One for a whole segment is unfinished
    for as long as its journal is there."""
    bodies = read_journal(fs, path)
    if not bodies:
        return None
    last = bodies[-1]
    if last["phase"] == INTENT:
        return last
    before = [body for body in bodies if body["phase"] == INTENT]
    return before[-1] if before and before[-1].get("ranges") is None else None


def removal_of(fs: Fs, stem: Path, offset: int) -> Removed | None:
    """What became of the byte at `offset` of a segment by its journal; None when it was not removed. Whole-segment
    intents cover every byte."""
    for body in reversed(read_journal(fs, stem.with_name(stem.name + GONE))):
        if body["phase"] != INTENT:
            continue
        ranges = body.get("ranges")
        if ranges is None or any(low <= offset < low + length for low, length in ranges_in(ranges)):
            return Removed(str(body.get("state", "deleted")), str(body.get("rule", "")))
    return None


def removed_tracks(fs: Fs, path: Path) -> dict[uuid.UUID, Removed]:
    """Tracks of which nothing is left in the segment of a journal: only those whose removal is done."""
    found: dict[uuid.UUID, Removed] = {}
    intent: Record = {}
    for body in read_journal(fs, path):
        if body["phase"] == INTENT:
            intent = body
        elif intent.get("ranges") is not None:
            removed = Removed(str(intent.get("state", "deleted")), str(intent.get("rule", "")))
            found.update((track, removed) for track in _tracks(intent))
    return found


def removed_ranges(fs: Fs, path: Path) -> list[Range]:
    """Every range that a journal says was given back, or is about to be: what verify finds empty there is no damage."""
    return [
        one
        for body in read_journal(fs, path)
        if body["phase"] == INTENT and body.get("ranges") is not None
        for one in ranges_in(body["ranges"])
    ]


def ranges_in(given: object) -> Iterable[Range]:
    """What of a record of any content is a range."""
    for one in given if isinstance(given, list) else ():
        if isinstance(one, list) and len(one) == 2 and all(isinstance(number, int) for number in one):
            yield one[0], one[1]


def _tracks(intent: Record) -> Iterable[uuid.UUID]:
    tracks = intent.get("tracks")
    for one in tracks if isinstance(tracks, list) else ():
        try:
            yield uuid.UUID(one["track"])
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # a record of another program, or damage that its checksum did not show


def _page(body: Record, now_us: int) -> bytes:
    return encode_page([LedgerRecord(int(LedgerKind.REMOVED), now_us, body)], 0, 0, 0, now_us)
