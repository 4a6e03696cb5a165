"""Does punching a hole give space back on this volume, and does its disk seek?

Law: the answer of the file system is measured, never believed: a file is written, most of it punched and synced, and
the free space compared. Other writers move the free space too, so a gain is believed only near what was punched, in one
of a few tries. One test file, removed again whatever happens. Runs on the volume's keeper thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mediadb.fs import Fs, read_file, write_all
from mediadb.reclaim.memory import PUNCHING, REWRITING, UNKNOWN

PROBE_NAME: Final = "PROBE.tmp"
PROBE_BYTES: Final = 4 << 20
EDGE_BYTES: Final = 64 << 10
ROOM_BYTES: Final = 64 << 20  # with less there is no time for experiments
TRIES: Final = 3


def probe(fs: Fs, folder: Path) -> str:
    """`punching`, `rewriting` (nothing was gained), or `unknown` where there is no room to try. Raises OSError."""
    path = folder / PROBE_NAME
    if fs.stat(path) is not None:
        fs.unlink(path)
    if fs.free_bytes(folder)[0] < ROOM_BYTES:
        return UNKNOWN
    for _ in range(TRIES):
        gained = _try(fs, path)
        if PROBE_BYTES // 2 <= gained <= PROBE_BYTES * 2:
            return PUNCHING
    return REWRITING


def _try(fs: Fs, path: Path) -> int:
    """Bytes of free space gained by punching most of PROBE_BYTES; 0 where the file system refuses."""
    fd = fs.create(path)
    try:
        write_all(fs, fd, [os.urandom(PROBE_BYTES)], 0)
        fs.fdatasync(fd)
        before = fs.free_bytes(path.parent)[0]
        try:
            fs.punch(fd, EDGE_BYTES, PROBE_BYTES - 2 * EDGE_BYTES)
        except OSError:
            return 0  # not supported: said by the copy that is made instead
        fs.fdatasync(fd)
        return fs.free_bytes(path.parent)[0] - before
    finally:
        fs.close(fd)
        fs.unlink(path)


def seeks(fs: Fs, folder: Path) -> bool:
    """Is it a disk with a head? False where the kernel does not say."""
    status = fs.stat(folder)
    if status is None:
        return False
    block = Path(f"/sys/dev/block/{os.major(status.device)}:{os.minor(status.device)}")
    for place in (block / "queue" / "rotational", block / ".." / "queue" / "rotational"):  # of a partition: its disk's
        try:
            return read_file(fs, place, 8).strip() == b"1"
        except OSError:
            continue
    return False
