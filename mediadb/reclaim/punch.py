"""Taking tracks out of a sealed segment: which bytes those are, giving them back, or copying the rest.

Law: `ranges_of` computes exact ranges, neighbours merged, and touches no byte of a chunk that stays; `punch` and
`rewrite` are the two ways to give them back and may be repeated at any point. A copy has the same bytes at the same
offsets (header, directories, footer), so that whoever has the old file open and whoever opens the new one see the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError
from mediadb.format.constants import align_up
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES
from mediadb.fs import Fs, write_all
from mediadb.gone import Range
from mediadb.segment_files import read_footer, read_track

COPY: Final = ".copy"
PIECE_BYTES: Final = 1 << 20


def ranges_of(fs: Fs, path: Path, tracks: Collection[uuid.UUID], gone: Collection[uuid.UUID]) -> list[Range]:
    """What the `tracks` fill in a sealed segment. Padding behind them goes too, up to the page on which something else
    begins. `gone`: tracks that were taken out before. What the index names outside of the blocks is not there any more.
    FormatError when the footer cannot be read, or would have bytes of another track go."""
    fd = fs.open_read(path)
    try:
        head, _ = read_footer(fs, fd)
        pieces: list[tuple[int, int, bool]] = []  # offset, end, does it go?
        for summary in head.tracks:
            goes = summary.track in tracks
            configs, media, notes = read_track(fs, fd, summary)
            if summary.track in gone:
                continue
            pieces += [(place.offset, place.offset + place.length, goes) for place in configs]
            for columns in (media, notes):
                pairs = zip(columns.offset[: columns.count], columns.length[: columns.count], strict=True)
                pieces += [(offset, offset + length, goes) for offset, length in pairs]
    finally:
        fs.close(fd)
    pieces = sorted((max(low, SEGMENT_PAGE_BYTES), min(end, head.data_end), goes) for low, end, goes in pieces)
    pieces = [piece for piece in pieces if piece[0] < piece[1]]
    if any(end > low and goes != also for (_, end, goes), (low, _, also) in pairwise(pieces)):
        raise FormatError("the index of the segment names the same bytes for two tracks")
    return [(low, high - low) for low, high in _merged(pieces)]


def _merged(pieces: list[tuple[int, int, bool]]) -> Iterator[tuple[int, int]]:
    """Stretches of neighbours that go: between two of them lies nothing but padding."""
    low = high = -1
    for i, (offset, end, goes) in enumerate(pieces):
        if not goes:
            continue
        if low >= 0 and pieces[i - 1][2] and offset <= align_up(high):
            high = max(high, end)
        else:
            if low >= 0:
                yield low, high
            low, high = offset, end
        following = pieces[i + 1][0] if i + 1 < len(pieces) else None
        padded = align_up(high)
        if following is None or following >= padded:
            high = padded  # the area ends here: the rest of its last page is padding
    if low >= 0:
        yield low, high


def punch(fs: Fs, path: Path, ranges: Iterable[Range]) -> None:
    """`reclaim_punch` and `reclaim_punch_sync`: durable when it returns. Raises OSError."""
    fd = fs.open_write(path)
    try:
        size = fs.fstat(fd).size
        for offset, length in ranges:
            fs.point("reclaim_punch")
            length = min(length, size - offset)
            if offset >= SEGMENT_PAGE_BYTES and length > 0:
                fs.punch(fd, offset, length)
        fs.point("reclaim_punch_sync")
        fs.fdatasync(fd)
    finally:
        fs.close(fd)


def rewrite(fs: Fs, path: Path, holes: Iterable[Range]) -> None:
    """`reclaim_rewrite` and `reclaim_rename`: put a copy without the `holes` in place of the segment, durable when it
    returns. Needs room for what stays. Raises OSError; then the segment is as it was."""
    copy = path.with_suffix(COPY)
    if fs.stat(copy) is not None:
        fs.unlink(copy)
    source = fs.open_read(path)
    target = -1
    try:
        target = fs.create(copy)
        size = fs.fstat(source).size
        for low, high in _between(holes, size):
            fs.point("reclaim_rewrite")
            _copy(fs, source, target, low, high)
        fs.truncate(target, size)
        fs.fdatasync(target)
    except OSError:
        if target >= 0:
            fs.unlink(copy)
        raise
    finally:
        fs.close(source)
        if target >= 0:
            fs.close(target)
    fs.point("reclaim_rename")
    fs.rename(copy, path)
    fs.fsync_dir(path.parent)


def kept_bytes(holes: Iterable[Range], size: int) -> int:
    """What a copy without the holes takes."""
    return sum(high - low for low, high in _between(holes, size))


def _copy(fs: Fs, source: int, target: int, low: int, high: int) -> None:
    while low < high:
        raw = fs.pread(source, min(PIECE_BYTES, high - low), low)
        if not raw:
            return
        write_all(fs, target, [raw], low)
        low += len(raw)


def _between(holes: Iterable[Range], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for offset, length in sorted(holes):
        low, high = max(SEGMENT_PAGE_BYTES, offset), min(size, offset + length)
        if low > at:
            yield at, min(low, size)
        at = max(at, high)
    if at < size:
        yield at, size
