"""Any legal state of a disk after a cut of power: unflushed writes reordered, left out or torn.

Law: the shutdown of a file system loses the page cache but never reorders what reached the device; a disk's own cache
does. The writer records on a disk that notes every write and flush; afterwards the disk is made again as it may have
been at many moments, mounted, read by the second parser, recovered by the database and read again. Root only.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.disks import MIB, Disk
from tests.disks import run as sh
from tests.e2e.store_cuts import OPTIONS, TRACKS, Nursery, numbers, rig

SIZE = 64 * MIB
SECTOR = 512
RECORD = struct.Struct("<BQI")
PLUGIN = Path(__file__).with_name("write_log_plugin.py")
WRITE, FLUSH = 1, 2


@dataclass
class Note:
    """A record of the log: `at` is where it ends in the log file."""

    kind: int
    offset: int
    data: bytes
    at: int


@dataclass
class Replays:
    """`acks`: (bytes of the log when it was heard, samples per track)."""

    folder: Path
    seed: int
    broken: str = ""
    replays: int = 0
    acks: list[tuple[int, dict[int, int]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def record(self, commits: int) -> list[Note]:
        """Let the writer commit on the noting disk; everything that reached it, in order."""
        log, show, socket = self.folder / "log", self.folder / "nbd", self.folder / "nbd.sock"
        show.mkdir()
        kit = subprocess.Popen(
            ["nbdkit", "-f", "-U", str(socket), "python", str(PLUGIN), f"bytes={SIZE}", f"log={log}"],
            stderr=subprocess.DEVNULL,
        )
        _until(socket)
        fuse = subprocess.Popen(["nbdfuse", str(show / "disk"), "--unix", str(socket)], stderr=subprocess.DEVNULL)
        try:
            _until(show / "disk")
            with Disk(self.folder / "noting", "ext4", SIZE, backing=show / "disk") as disk:
                self._live(disk, log, commits)
        finally:
            sh("umount", "-l", show, check=False)
            for process in (fuse, kit):
                process.kill()
                process.wait()
        return _notes(log.read_bytes())

    def _live(self, disk: Disk, log: Path, commits: int) -> None:
        root = disk.mount / "volume"
        rig.Rig(rig_fs(), OPTIONS, root, start_us=rig.T0 - 1_000_000_000).close()
        sh("sync", "-f", disk.mount)
        self.acks.append((log.stat().st_size, {}))
        with Nursery(self.broken) as nursery:
            nursery.begin(root, 0, "")
            acked: dict[int, int] = {}
            while len(self.acks) <= commits * len(TRACKS):
                nursery.hear(acked)
                self.acks.append((log.stat().st_size, dict(acked)))
            nursery.end(acked)

    def replay(self, notes: list[Note], times: int) -> None:
        """Make the disk as it may have been at `times` moments, and look."""
        rng = random.Random(self.seed)
        first = next(n for n, note in enumerate(notes) if note.at >= self.acks[0][0])
        cuts = sorted(rng.sample(range(first + 1, len(notes)), times))
        image = self.folder / "image"
        with image.open("w+b") as file:
            file.truncate(SIZE)
            disk = mmap.mmap(file.fileno(), SIZE)
            done = 0
            for cut in cuts:
                flushed = max((n for n in range(done, cut) if notes[n].kind == FLUSH), default=done)
                for note in notes[done:flushed]:
                    disk[note.offset : note.offset + len(note.data)] = note.data
                done = flushed
                kept = bytes(disk)
                loose = [note for note in notes[flushed:cut] if note.kind == WRITE]
                for note in rng.sample(loose, rng.randint(0, len(loose))):
                    data = note.data
                    if rng.random() < 0.2:
                        data = data[: rng.randrange(0, len(data), SECTOR)]
                    disk[note.offset : note.offset + len(data)] = data
                disk.flush()
                self._look(image, cut, notes[cut - 1].at, len(loose))
                disk[:] = kept
            disk.close()

    def _look(self, image: Path, cut: int, at: int, loose: int) -> None:
        acked = [acked for size, acked in self.acks if size <= at][-1]
        where = f"cut behind write {cut}, {loose} writes not flushed: "
        self.replays += 1
        try:
            with _mounted(image, self.folder / "replayed") as mount:
                root = mount / "volume"
                self._judge(root, acked, where)
                again = rig.Rig(rig_fs(), OPTIONS, root, start_us=rig.T0 + 100_000_000_000)
                again.recover()
                again.close()
                self._judge(root, acked, f"{where}recovered: ")
        except Exception as error:  # the volume cannot be opened at all
            self.wrong.append(f"{where}{type(error).__name__}: {error}")

    def _judge(self, root: Path, acked: dict[int, int], where: str) -> None:
        for track in TRACKS:
            found, wrong = numbers(root, track)
            if wrong:
                self.wrong.append(where + wrong)
            elif found != list(range(len(found))) or len(found) < acked.get(track, 0):
                self.wrong.append(f"{where}track {track}: {acked.get(track, 0)} acknowledged, {len(found)} there")


def rig_fs() -> rig.Fs:
    from mediadb.fs import RealFs

    return RealFs()


def run(folder: Path, replays: int, seed: int, broken: str = "") -> Replays:
    """Record once, look `replays` times."""
    done = Replays(folder, seed, broken)
    notes = done.record(commits=40)
    done.replay(notes, min(replays, len(notes) // 2))
    return done


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[Path]:
    """A copy is not needed: the caller puts its own bytes back afterwards."""
    place.mkdir(exist_ok=True)
    device = sh("losetup", "-f", "--show", image).strip()
    try:
        sh("mount", device, place)
        try:
            yield place
        finally:
            sh("umount", place)
    finally:
        sh("losetup", "-d", device)


def _notes(raw: bytes) -> list[Note]:
    notes, at = [], 0
    while at + RECORD.size <= len(raw):
        kind, offset, length = RECORD.unpack_from(raw, at)
        at += RECORD.size
        notes.append(Note(kind, offset, raw[at : at + length], at + length))
        at += length
    return notes


def _until(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.02)
