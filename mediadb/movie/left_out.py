"""What of a range an MP4 cannot carry: named, so that no file is silent about it.

Law: reads the index and codings, no samples. Says nothing of damage, which is `Skipped`'s. Called by the export and by
whoever serves a movie; blocking.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from mediadb.errors import MediaDbError
from mediadb.mp4.entries import movable
from mediadb.read.reader import Reader
from mediadb.types import TrackConfig, TrackKind, TrackSpec


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Footage of a track in this coding is stored and is in no MP4. `kind`: "audio" or "metadata"."""

    track: uuid.UUID
    kind: str
    codec: str

    @property
    def what(self) -> str:
        """For people."""
        reason = "metadata documents" if self.kind == "metadata" else "there is no MP4 form of it"
        return f"{self.kind} ({self.codec}) is recorded but not in the file: {reason}"

    def record(self) -> dict[str, str]:
        """As JSON."""
        return {"track": str(self.track), "kind": self.kind, "codec": self.codec, "what": self.what}


def fits_movie(kind: TrackKind, config: TrackConfig) -> bool:
    """May samples of this coding go into an MP4?"""
    return kind is not TrackKind.METADATA and movable(config.sample_entry)


def left_out(reader: Reader, tracks: Iterable[uuid.UUID], start_us: int, end_us: int) -> list[LeftOut]:
    """Codings of [start_us, end_us) that a movie of these tracks leaves out, each once per track."""
    found: dict[LeftOut, None] = {}
    for track in tracks:
        for part in reader.index.parts(track, start_us, end_us):
            media = part.media
            inside = zip(media.config[: part.count], media.recv_us[: part.count], strict=True)
            for number in {number for number, time_us in inside if time_us < end_us}:
                try:
                    spec, config = reader.index.config(part.name, part.configs[number])
                except (MediaDbError, IndexError):
                    continue  # cannot be read: the movie names that as skipped
                if not fits_movie(spec.kind, config):
                    found[_named(track, spec, config)] = None
    return list(found)


def _named(track: uuid.UUID, spec: TrackSpec, config: TrackConfig) -> LeftOut:
    return LeftOut(track, spec.kind.name.lower(), config.codec_string if config.codec == "g726" else config.codec)
