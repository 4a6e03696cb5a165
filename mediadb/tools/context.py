"""What every command of the tool gets, and how it names cameras and storages.

Law: no output here. Used by `mediadb.tool_*` only.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediadb.errors import StorageMissing
from mediadb.fs import Fs
from mediadb.locks import read_volume
from mediadb.read.reader import Reader, TrackInfo
from mediadb.types import TrackKind

HELD: Final = 0
WRONG: Final = 1
USAGE: Final = 2
UNREACHED: Final = 3
UNCHECKED: Final = 4


class UsageError(Exception):
    """The command line asks for something that is not there; the message says what is."""


@dataclass(frozen=True, slots=True)
class Context:
    """File calls, the time of the call, and whether the answer is JSON."""

    fs: Fs
    now_us: int
    as_json: bool

    def open(self, path: Path, storage: str | None) -> Reader:
        """A reader of a volume. StorageMissing when `path` is none, UsageError when the storage is not clear."""
        read_volume(self.fs, path)
        try:
            return Reader.open_offline(path, storage, lambda: self.now_us, self.fs)
        except StorageMissing as error:
            if error.params.get("storages"):
                raise UsageError(f"{error.message}; choose one with --storage") from None
            raise


def main_track(reader: Reader, camera: str) -> TrackInfo:
    """The track a camera's state is read from: its main video track; or the track of that id."""
    found = tracks_of(reader, camera)
    return min(found, key=lambda t: (t.spec.stream != "main", t.spec.kind is not TrackKind.VIDEO, t.spec.kind))


def main_tracks(reader: Reader) -> list[TrackInfo]:
    """The main track of every camera that the storage knows, by name."""
    cameras = {t.spec.camera: t.names.camera for t in reader.known_tracks()}
    return [main_track(reader, str(camera)) for camera in sorted(cameras, key=lambda c: (cameras[c], str(c)))]


def tracks_of(reader: Reader, camera: str) -> list[TrackInfo]:
    """All tracks of a camera given by name or id, or the one track of that id. UsageError names what there is."""
    tracks = reader.known_tracks()
    try:
        wanted = uuid.UUID(camera)
    except ValueError:
        found = [t for t in tracks if t.names.camera == camera]
        cameras = {t.spec.camera for t in found}
        if len(cameras) > 1:
            ids = ", ".join(sorted(map(str, cameras)))
            raise UsageError(f"{len(cameras)} cameras are named {camera!r}; use an id: {ids}") from None
    else:
        found = [t for t in tracks if wanted in (t.spec.track, t.spec.camera)]
    if not found:
        raise UsageError(f"nothing is known of {camera!r}; known are: {known_cameras(tracks)}")
    return found


def known_cameras(tracks: Sequence[TrackInfo]) -> str:
    """Names of the cameras, for a message."""
    names = sorted({t.names.camera or str(t.spec.camera) for t in tracks})
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none"
