"""Where a segment of a log belongs by its own header, for verify and fsck.

Law: values only. The reader goes by `mediadb.segment_files.belongs`; this says where that would hold.
"""

from __future__ import annotations

from pathlib import Path

from mediadb.format.segment_header import SegmentHeader
from mediadb.segment_files import belongs
from mediadb.write.segment import segment_name


def home_of(path: Path, header: SegmentHeader) -> Path | None:
    """The place of a segment file in the storage it lies in; None when its header tells no time."""
    try:
        name = segment_name(header.created_us, header.epoch, header.number)
    except (ValueError, OverflowError, OSError):
        return None
    return path.parent.parent.parent / str(header.log) / f"{name}{path.suffix}"


def out_of_place(path: Path, header: SegmentHeader) -> str | None:
    """What is wrong with the place of a segment of a log, in words; None when readers find it there."""
    if belongs(path, header):
        return None
    home = home_of(path, header)
    place = f"its place is {home.relative_to(path.parent.parent.parent)}" if home else "it belongs elsewhere"
    return f"by its header {place}: no reader shows it here"
