"""What an export is asked for, and how its files are called.

Law: pure; the only place that knows how an order lies in a job's parameters. Called by the export service and by the
servers that show a job.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mediadb.movie.manifest import file_stem
from recorderd.core.timerange import format_time

KIND = "export"


@dataclass(frozen=True, slots=True)
class Target:
    """A camera and the storage that holds its footage."""

    id: uuid.UUID
    name: str
    storage: str


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of one camera: files whose names begin with `stem`."""

    target: Target
    stream: str
    stem: str


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """Footage of [start_us, end_us) of these cameras and streams; without sound unless `audio`. `asked`: the times in
    the words of the request, which mean other moments when it is repeated; () when there were none."""

    targets: tuple[Target, ...]
    start_us: int
    end_us: int
    streams: tuple[str, ...] = ("main",)
    audio: bool = True
    asked: tuple[str, ...] = ()

    def params(self) -> dict[str, Any]:
        """As parameters of a job."""
        return {
            "cameras": [{"id": str(one.id), "name": one.name, "storage": one.storage} for one in self.targets],
            "start": format_time(self.start_us),
            "end": format_time(self.end_us),
            "start_us": self.start_us,
            "end_us": self.end_us,
            "streams": list(self.streams),
            "audio": self.audio,
            "asked": list(self.asked),
        }

    def repeats(self, params: Mapping[str, Any]) -> bool:
        """Is this the request that the job of these parameters was made for?"""
        own, times = self.params(), ("asked",) if self.asked else ("start_us", "end_us")
        return all(own[name] == params.get(name) for name in ("cameras", "streams", "audio", *times))

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> ExportOrder:
        """Back from a job's parameters."""
        return cls(
            tuple(Target(uuid.UUID(one["id"]), one["name"], one["storage"]) for one in params["cameras"]),
            params["start_us"], params["end_us"], tuple(params["streams"]), params["audio"],
            tuple(params.get("asked", ())),
        )  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """In a fixed order, with names that no other part has: going on finds its own files."""
        taken: dict[str, int] = {}
        for target in self.targets:
            for stream in self.streams:
                stem = file_stem(target.name, stream, self.start_us)
                number = taken[stem] = taken.get(stem, 0) + 1
                yield Part(target, stream, stem if number == 1 else f"{stem}_{number}")
