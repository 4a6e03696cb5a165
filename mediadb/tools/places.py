"""Where a segment of a log belongs by its own header, for verify and fsck.

Law: looks, changes nothing. The reader goes by `mediadb.segment_files.belongs`; this says where that would hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mediadb.format.segment_header import SegmentHeader
from mediadb.fs import Fs
from mediadb.segment_files import belongs
from mediadb.write.segment import segment_name


def home_of(path: Path, header: SegmentHeader) -> Path | None:
    """The place of a segment file in the storage it lies in; None when its header tells no time."""
    try:
        name = segment_name(header.created_us, header.epoch, header.number)
    except (ValueError, OverflowError, OSError):
        return None
    return path.parent.parent.parent / str(header.log) / f"{name}{path.suffix}"


def in_its_day(path: Path) -> bool:
    """Does a segment lie in the folder of the day in its name?"""
    return path.parent.name == f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}"


def second_names(fs: Fs, paths: Iterable[Path], first: set[Path]) -> set[Path]:
    """Those of `paths` that are further names of a file in the list: a day that was moved and linked to, a hard link.
    Of the names of one file those in `first` go before others. Raises OSError."""
    names: dict[tuple[int, int], Path] = {}
    further = set()
    for path in sorted(paths, key=lambda path: (path not in first, path)):
        status = fs.stat(path)
        if status is not None and names.setdefault((status.device, status.inode), path) != path:
            further.add(path)
    return further


def out_of_place(path: Path, header: SegmentHeader) -> str | None:
    """What is wrong with the place of a segment of a log, in words; None when readers find it there."""
    if belongs(path, header):
        return None
    home = home_of(path, header)
    place = f"its place is {home.relative_to(path.parent.parent.parent)}" if home else "it belongs elsewhere"
    return f"by its header {place}: no reader shows it here"
