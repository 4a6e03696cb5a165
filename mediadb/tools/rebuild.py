"""Make catalog.db again from what lies on the volume.

Law: the catalog is a cache; throwing it away loses nothing. May run beside a daemon: that notices and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mediadb.fs import Fs
from mediadb.read.reader import Reader
from mediadb.segment_files import list_storages


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One storage: segments entered, and files whose footer could not be read, with the reason."""

    storage: str
    segments: int
    damaged: dict[str, str]


def rebuild_catalog(fs: Fs, volume: Path, now_us: Callable[[], int]) -> list[Rebuilt]:
    """Throw away and fill the catalog of every storage on the volume. Raises OSError."""
    out = []
    for storage in list_storages(fs, volume):
        reader = Reader(volume, storage, now_us, fs=fs)
        try:
            out.append(Rebuilt(storage, reader.index.rebuild(), dict(reader.index.damaged)))
        finally:
            reader.close()
    return out
