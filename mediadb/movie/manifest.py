"""The manifest of an export: what is in its files, what is missing, and why.

Law: the one place that knows its format and how files of an export are named; pure. Written by `movie.export` and by
whoever exports from a running server; read by `mediadb.tools.verify`. It is the recorder's statement, not a proof.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mediadb.errors import UnsupportedVersion
from mediadb.times import show_time
from mediadb.types import State

FORMAT: Final = "recorderd-export"
VERSION: Final = 0
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LATER_FILE: Final = re.compile(r"-\d{3,}$")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One MP4. `first_us`: wall time of presentation time 0."""

    name: str
    size_bytes: int
    sha256: str
    samples: int
    first_us: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One camera and a range [start_us, end_us). `tracks` and `skipped` as `track_record` and `skipped_record` make
    them; `problems`: what could not be given, in words."""

    camera: str
    name: str
    hardware: str
    stream: str
    start_us: int
    end_us: int
    files: Sequence[FileFacts] = ()
    tracks: Sequence[dict[str, Any]] = ()
    skipped: Sequence[dict[str, Any]] = ()
    problems: Sequence[str] = field(default=())

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "signed": False,
            "statement": "Causes of gaps are what the recorder stated; this manifest is not signed.",
            "camera": self.camera,
            "name": self.name,
            "hardware": self.hardware,
            "stream": self.stream,
            "start": show_time(self.start_us),
            "end": show_time(self.end_us),
            "first_sample": show_time(self.files[0].first_us) if self.files else None,
            "files": [
                {
                    "name": f.name, "bytes": f.size_bytes, "sha256": f.sha256, "samples": f.samples,
                    "first_sample": show_time(f.first_us),
                }
                for f in self.files
            ],
            "skipped": list(self.skipped),
            "problems": list(self.problems),
            "tracks": list(self.tracks),
        }  # fmt: skip


def track_record(track: str, kind: str, coverage: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A track with its coverage (intervals as JSON with `start_us`, `end_us`, `state`)."""
    held = (State.RECORDED.value, State.RETRIEVED.value)
    recorded_us = sum(one["end_us"] - one["start_us"] for one in coverage if one["state"] in held)
    return {"track": track, "kind": kind, "coverage": list(coverage), "recorded_us": recorded_us}


def skipped_record(track: str, start_us: int, end_us: int, what: str) -> dict[str, Any]:
    """Footage that is in storage and could not be given."""
    times = {"start": show_time(start_us), "end": show_time(end_us), "start_us": start_us, "end_us": end_us}
    return {"track": track, **times, "what": what}


def file_stem(name: str, stream: str, start_us: int) -> str:
    """'gate_20260301T120000Z': safe in every file system."""
    at = show_time(start_us)[:19].replace(":", "").replace("-", "")
    suffix = "" if stream == "main" else f"_{_UNSAFE.sub('_', stream)}"
    return f"{_UNSAFE.sub('_', name).strip('._') or 'camera'}{suffix}_{at}Z"


def file_name(stem: str, number: int) -> str:
    """The `number`-th MP4 (from 0) of an export."""
    return f"{stem}.mp4" if number == 0 else f"{stem}-{number + 1:03}.mp4"


def manifest_of(path: Path) -> Path:
    """The manifest beside a later file of an export, which all its files share."""
    return path.with_name(_LATER_FILE.sub("", path.stem) + ".json")


def listed_files(record: object) -> list[tuple[str, int, str, int]]:
    """(name, bytes, SHA-256, samples) of every file. Raises UnsupportedVersion for a manifest of another program or
    version, ValueError, KeyError, TypeError for a damaged one."""
    if not isinstance(record, dict):
        raise TypeError("not an object")
    if (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        raise UnsupportedVersion(
            f"not checked: this manifest is {record.get('format')!r} version {record.get('version')!r}; this program"
            f" knows {FORMAT!r} version {VERSION}"
        )
    return [(str(f["name"]), int(f["bytes"]), str(f["sha256"]), int(f["samples"])) for f in record["files"]]
