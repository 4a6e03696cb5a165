"""What `recorderctl doctor` reads of the machine it runs on.

Law: looks, and leaves nothing behind: the write test's file has no name from the moment it exists. What cannot be had
is None, never a guess; no judgement here (`doctor_checks`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import statistics
import time
from pathlib import Path

from mediadb.errors import MediaDbError
from mediadb.format.identity import decode_volume
from recorderd.cli.doctor_checks import ClockFacts, DiskFacts, MountFacts

PIECE_BYTES = 1 << 20
PIECES = 48
_TIME_ERROR = 5
_STA_UNSYNC = 0x0040


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2); only what comes first is read."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_long * 48),
    )  # fmt: skip


def clock_facts() -> ClockFacts | None:
    """Ask the kernel; changes nothing (modes = 0)."""
    answer = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    synchronised = state != _TIME_ERROR and not answer.status & _STA_UNSYNC
    return ClockFacts(synchronised, answer.maxerror / 1e6)


def mount_facts(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> MountFacts | None:
    """None when the path cannot be seen from here."""
    try:
        device = path.stat().st_dev
        on_root = device == Path("/").stat().st_dev
        lines = mounts.read_text().splitlines()
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return None
    return MountFacts(_file_system(path, lines), read_only, on_root, _volume(path))


def _file_system(path: Path, lines: list[str]) -> str:
    """The type of the longest mount point that holds the path; the last mount of equals covers the others."""
    real = os.path.realpath(path)
    best, kind = "", "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or not tail:
            continue
        point = fields[4].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, tail[0]
    return kind


def _volume(path: Path) -> str:
    try:
        return str(decode_volume((path / "VOLUME").read_bytes()).volume)
    except (OSError, MediaDbError):
        return ""


def disk_facts(path: Path, pieces: int = PIECES) -> DiskFacts:
    """Write and sync `pieces` MiB in a file without a name. Raises OSError (no permission, full, read-only)."""
    fd = os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    buffer = mmap.mmap(-1, PIECE_BYTES)  # aligned, as O_DIRECT wants it
    try:
        buffer.write(os.urandom(4096) * (PIECE_BYTES // 4096))
        took = []
        begin = time.monotonic()
        for _ in range(pieces):
            before = time.monotonic()
            os.write(fd, buffer)
            os.fdatasync(fd)
            took.append(time.monotonic() - before)
        whole_s = max(time.monotonic() - begin, 1e-9)
    finally:
        buffer.close()
        os.close(fd)
    return DiskFacts(pieces * PIECE_BYTES / whole_s, statistics.median(took), max(took))
