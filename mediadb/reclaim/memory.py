"""What reclaim remembers beside a log: the limits in force, what holds deletion back, what the probe found.

Law: one small JSON file, `RECLAIM`, replaced as a whole; limits and the probe's finding are a cache of what the
configuration and the volume say themselves. Lost or damaged it is as if nothing had been remembered. Read by `mediadb
reclaim` and at every opening.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mediadb.fs import Fs, read_file, replace_file
from mediadb.reclaim.brake import FREE, HELD, PACED, Doubt
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.write.retention import CameraLimits

MEMORY_NAME: Final = "RECLAIM"
MAX_BYTES: Final = 4 << 20
PUNCHING: Final = "punching"
REWRITING: Final = "rewriting"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Memory:
    """`way`: punching | rewriting | unknown, found at `probed_us` (UTC, 0: never); `seeks`: the disk rotates. `known`:
    were limits remembered at all? `doubt`: what held deletion back."""

    options: ReclaimOptions = field(default_factory=ReclaimOptions)
    way: str = UNKNOWN
    probed_us: int = 0
    seeks: bool = False
    known: bool = False
    doubt: Doubt = field(default_factory=Doubt)


def read_memory(fs: Fs, folder: Path) -> Memory:
    """What is remembered of a log."""
    try:
        found = json.loads(read_file(fs, folder / MEMORY_NAME, MAX_BYTES))
        cameras = {uuid.UUID(name): CameraLimits(*map(_number, one)) for name, one in found["cameras"].items()}
        options = ReclaimOptions(_number(found["retention_us"]), _number(found["quota_bytes"]), cameras=cameras)
        way = found["way"] if found["way"] in (PUNCHING, REWRITING) else UNKNOWN
        return Memory(options, way, int(found["probed_us"]), bool(found["seeks"]), True, _doubt(found))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory()


def write_memory(fs: Fs, folder: Path, memory: Memory) -> None:
    """Durable when it returns. Raises OSError."""
    options = memory.options
    cameras = {str(camera): [one.max_us, one.min_us, one.max_bytes] for camera, one in options.cameras.items()}
    body: dict[str, Any] = {
        "retention_us": options.retention_us,
        "quota_bytes": options.quota_bytes,
        "cameras": cameras,
        "way": memory.way,
        "probed_us": memory.probed_us,
        "seeks": memory.seeks,
        "doubt": asdict(memory.doubt),
    }
    replace_file(fs, folder / MEMORY_NAME, json.dumps(body).encode())


def _doubt(found: dict[str, Any]) -> Doubt:
    """None in a file that was written before there was one."""
    said = found.get("doubt", {})
    state = said.get("state")
    if state not in (HELD, PACED):
        return Doubt(FREE)
    of_bytes, gap_us, at_us = (_number(said[key]) or 0 for key in ("of_bytes", "gap_us", "at_us"))
    return Doubt(state, str(said["reason"]), of_bytes, gap_us, at_us)


def _number(value: object) -> Any:
    """A whole number or nothing, as the file should have it."""
    if value is not None and not isinstance(value, int):
        raise ValueError(value)
    return value
