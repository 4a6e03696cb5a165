"""Which day folders of a storage changed since the catalog was compared with them.

Law: lists and stats, decides nothing about segments; used by `read.index` only. A folder's inode and change time are
the version of its list of names: a folder that shows what the catalog remembers is not listed again, so that opening
a large volume costs one stat per day folder and not one per segment. What changed inside a file without its folder
knowing (damage, truncation) is found by the checksum of what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.catalog import Catalog, FolderStamp, SegmentRow, folder_of
from mediadb.fs import Fs
from mediadb.segment_files import SegmentPlace, list_folders, list_places

# A change in the same tick of the file system's clock leaves the change time as it is; ticks are up to 2 s (FAT).
SETTLED_US: Final = 10_000_000
UNSETTLED: Final = FolderStamp(0, 0)


@dataclass(slots=True)
class Changes:
    """Folders that differ from what the catalog remembers: `places` are their files, `known` the catalog's rows."""

    generation: int = 0
    places: dict[str, SegmentPlace] = field(default_factory=dict)
    known: dict[str, SegmentRow] = field(default_factory=dict)
    stamps: dict[str, FolderStamp] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)


def find_changes(fs: Fs, volume: Path, storage: str, catalog: Catalog) -> Changes:
    """Compare the folders of a storage with the catalog. May raise CatalogLost."""
    changes, there = Changes(catalog.generation), set[str]()
    remembered = catalog.folders()
    for folder in list_folders(fs, volume, storage):
        status = fs.stat(folder)  # before the list: a change in between shows as a newer stamp next time
        if status is None or not status.is_dir:
            continue
        name, stamp = str(folder.relative_to(volume)), FolderStamp(status.inode, status.changed_us)
        there.add(name)
        if stamp.changed_us and remembered.get(name) == stamp:
            continue
        changes.stamps[name] = stamp
        changes.places.update((place.name, place) for place in list_places(fs, volume, folder))
        changes.known.update(catalog.segments(name))
    for name in remembered.keys() - there:
        changes.gone.append(name)
        changes.known.update(catalog.segments(name))
    return changes


def remember(catalog: Catalog, changes: Changes, unfit: Container[str], now_us: Callable[[], int] | None) -> None:
    """Let the catalog remember the folders of which it has every segment; `unfit` names folders of which it has not.
    `now_us` on the file system's clock; None: no folder is remembered. May raise CatalogLost."""
    settled_us = now_us() - SETTLED_US if now_us is not None else 0
    stamps = {
        name: stamp if stamp.changed_us <= settled_us and name not in unfit else UNSETTLED
        for name, stamp in changes.stamps.items()
    }
    catalog.keep_folders(stamps, changes.gone, changes.generation)


def unfit_folders(changes: Changes, names: set[str]) -> set[str]:
    """Folders with an unsealed segment, and those of the segments in `names`."""
    unsealed = {folder_of(place.name) for place in changes.places.values() if not place.sealed}
    return unsealed | {folder_of(name) for name in names}
