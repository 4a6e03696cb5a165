"""The work of one export job: blocking, in a thread of its own at low priority.

Law: reads through the stores' readers, writes into the job's folder only, and stops within one step when told. Loop and
recording are never waited for and never wait. Called by `service`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mediadb.fs import Fs
from mediadb.movie.export import ExportRequest
from mediadb.movie.export_pieces import PieceExport, estimated_bytes
from mediadb.read.reader import Reader
from recorderd.core.errors import RecorderdError
from recorderd.services.exports.order import ExportOrder, Part

RESERVE_BYTES = 1 << 30  # what an export leaves free on its disk
NICE = 10


class BrokenOff(Exception):
    """The work was told to stop; what is on disk is good to go on from."""


class ExportFailed(RecorderdError):
    """An export cannot be made now; `code` says why."""

    def __init__(self, code: str, message: str, **params: object) -> None:
        super().__init__(message, **params)
        self.code = code  # type: ignore[misc]  # one class for the few codes of this place


@dataclass(slots=True)
class Meter:
    """Read by the loop while the thread writes: plain numbers, no lock needed."""

    total_bytes: int = 0
    done_bytes: int = 0
    camera: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self, written_bytes: int) -> None:
        self.done_bytes += written_bytes
        if self.stop.is_set():
            raise BrokenOff


@dataclass(frozen=True, slots=True)
class Work:
    """One job: `readers` by name of storage."""

    order: ExportOrder
    folder: Path
    readers: Mapping[str, Reader]
    fs: Fs
    meter: Meter
    reserve_bytes: int = RESERVE_BYTES


def lower_priority() -> None:
    """Of the calling thread alone: Linux counts niceness per thread."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def run(work: Work) -> dict[str, Any]:
    """The job's result. Raises BrokenOff, ExportFailed, MediaDbError, OSError; each leaves what is on disk to go on
    from."""
    work.fs.mkdirs(work.folder)
    try:
        _check_room(work)
        manifests = [_one(work, part) for part in work.order.parts()]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ExportFailed(
            "disk-full", f"the disk of {work.folder} is full; free some room and resume", path=str(work.folder)
        ) from error
    files = [{"name": path.name, "camera": record["camera"], **_sized(path)} for path, record in manifests]
    for _, record in manifests:
        files += [
            {"name": one["name"], "camera": record["camera"], "bytes": one["bytes"], "sha256": one["sha256"]}
            for one in record["files"]
        ]
    wrong = [record["name"] for _, record in manifests if record["skipped"] or not record["files"]]
    return {"files": files, "bytes": sum(one["bytes"] for one in files), "complete": not wrong, "incomplete": wrong}


def _check_room(work: Work) -> None:
    total = 0
    for part in work.order.parts():
        total += estimated_bytes(_reader(work, part), _request(work, part))
        work.meter.watch(0)
    work.meter.total_bytes = total
    held = sum(path.stat().st_size for path in work.folder.iterdir())
    free = work.fs.free_bytes(work.folder)[0]
    if total - held + work.reserve_bytes > free:
        raise ExportFailed(
            "disk-full", f"the export needs about {total} bytes and {work.reserve_bytes} stay free, but "
            f"{work.folder} has {free}; free some room and resume, or export less",
            needed_bytes=total, free_bytes=free, reserve_bytes=work.reserve_bytes,
        )  # fmt: skip


def _one(work: Work, part: Part) -> tuple[Path, dict[str, Any]]:
    """One part: its manifest and what it says."""
    work.meter.camera = part.target.name
    request = _request(work, part)
    manifest = PieceExport(_reader(work, part), work.fs, request, part.stem, work.meter.watch).run()
    record: dict[str, Any] = json.loads(manifest.read_text())
    return manifest, record


def _reader(work: Work, part: Part) -> Reader:
    reader = work.readers.get(part.target.storage)
    if reader is None:
        raise ExportFailed(
            "storage-unavailable", f"the storage {part.target.storage!r} is not open; resume when it is",
            storage=part.target.storage,
        )  # fmt: skip
    return reader


def _request(work: Work, part: Part) -> ExportRequest:
    order = work.order
    return ExportRequest(part.target.id, order.start_us, order.end_us, work.folder, part.stream, order.audio)


def _sized(path: Path) -> dict[str, Any]:
    """Length and SHA-256 of a small file."""
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
