"""The daemon with one promise broken, or held still at one step: for negative controls and for cuts of power.

    python -m tests.e2e.broken_daemon [--break sync|dirsync|crc|reappend] [--hold POINT:N --tell FILE] -- ARGUMENTS

Law: lives in tests and patches the running process; the product has no switch for any of it. `sync`: fdatasync does
nothing. `dirsync`: the sync of a folder does nothing. `crc`: a checksum is made but never compared. `reappend`: what an
ended run left unsealed is appended to instead of sealed. `--hold`: at the N-th pass of a failpoint the thread writes a
line into FILE (a FIFO) and stays there for good, while every other thread goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from mediadb.blockfile import BlockFile
from mediadb.fs import RealFs
from mediadb.segment_scan import SegmentScan, scan_segment
from mediadb.write.items import Now
from mediadb.write.recover import Recovery
from mediadb.write.segment import OPEN_SUFFIX, SegmentWriter
from mediadb.write.segments import Segments


class Unchecked(int):
    """A checksum that is equal to every other."""

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = int.__hash__


def _no_sync() -> None:
    RealFs.fdatasync = lambda self, fd: None  # type: ignore[method-assign]


def _no_dirsync() -> None:
    RealFs.fsync_dir = lambda self, path: None  # type: ignore[method-assign]


def _no_crc() -> None:
    import mediadb.read.reader  # noqa: F401 - everything that compares is loaded before it is patched
    from mediadb.format.checksum import crc32

    def unchecked(data: bytes, start: int = 0) -> Unchecked:
        return Unchecked(crc32(data, start))

    for name, module in list(sys.modules.items()):
        if name.startswith("mediadb.") and getattr(module, "crc32", None) is crc32:
            module.crc32 = unchecked  # type: ignore[attr-defined]


def _reappend() -> None:
    """Recovery leaves unsealed segments alone; the writer's first segment is the newest of them."""
    create = Segments._create

    def first(self: Segments, number: int, now: Now) -> SegmentWriter:
        old = sorted(self._log.folder.glob(f"*/*{OPEN_SUFFIX}"), key=lambda path: path.name)
        scan: SegmentScan | None = scan_segment(self._fs, old[-1]) if old and number == 0 else None
        if scan is None or not scan.blocks:
            return create(self, number, now)
        segment = SegmentWriter(BlockFile.open_append(self._fs, old[-1]), scan.header, self._options.segment_limit)
        self._live = (*self._live, segment.live)
        return segment

    Segments._create = first  # type: ignore[method-assign]
    Recovery._recover = lambda self, path, scan, epoch: None  # type: ignore[method-assign]


BREAKS: dict[str, Callable[[], None]] = {
    "sync": _no_sync,
    "dirsync": _no_dirsync,
    "crc": _no_crc,
    "reappend": _reappend,
}


def hold(point: str, nth: int, tell: Path) -> None:
    """See the module, `--hold`."""
    passes, left = RealFs.point, nth

    def watched(self: RealFs, name: str) -> None:
        nonlocal left
        passes(self, name)
        if name == point:
            left -= 1
            if left == 0:
                fd = os.open(tell, os.O_WRONLY)
                os.write(fd, f"{name}\n".encode())
                threading.Event().wait()

    RealFs.point = watched  # type: ignore[method-assign]


def main(argv: list[str]) -> int:
    at = argv.index("run")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--break", dest="broken", choices=BREAKS)
    parser.add_argument("--hold")
    parser.add_argument("--tell", type=Path)
    args = parser.parse_args(argv[:at])
    if args.broken:
        BREAKS[args.broken]()
    if args.hold:
        name, _, nth = args.hold.partition(":")
        hold(name, int(nth or "1"), args.tell)
    from recorderd.cli.daemon_cli import main as recorderd

    return recorderd(argv[at:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
