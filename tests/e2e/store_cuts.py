"""Cuts of power at the level of the store: hundreds a minute, with the database's writer in a process of its own.

Law: the child records two tracks whose every byte is a function of track and number, and says through a pipe what it
acknowledged; the parent cuts the disk, ends the child, mounts again and reads with the second parser. Each round begins
with the recovery of the one before, so recovery is cut too. Called by `powercut_tier` and by tests; root only.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mediadb"))

import rig

from mediadb.fs import COMMIT_STEPS, CREATE_STEPS, LEDGER_STEPS, SEAL_STEPS, RealFs
from mediadb.write.commits import StoreOptions
from tests.disks import Disk
from tests.disks import run as sh
from tests.e2e.oracle import foreign_blocks, segments
from tests.e2e.torn_tail import lay_torn_block

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = StoreOptions(create=True, segment_us=3_000_000)  # a segment is three commits long
POINTS = (*COMMIT_STEPS, *CREATE_STEPS, *SEAL_STEPS, *LEDGER_STEPS)
NAMED = "seal_ledger"  # a folder's sync has returned
TRACKS = (0, 1)
SPAN = 100_000  # numbers of one round
FRESH = 25  # rounds on one disk


def say(*words: object) -> None:
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


def record(root: Path, number: int, hold: str) -> None:
    """One life: recover, then commit for ever; `hold` = "point:n" stands still there."""
    name, _, left = hold.partition(":")
    passes = int(left or "0")

    def hook(point: str) -> None:
        nonlocal passes
        passes -= point == name
        if point == name and passes == 0:
            say("held")
            signal.pause()

    run = rig.Rig(RealFs(hook), OPTIONS, root, start_us=rig.T0 + number * 1_000_000_000)
    run.recover()
    at = number * SPAN
    while True:
        for track in TRACKS:
            run.frames(at, 25, number=track, base_us=run.utc_us - at * rig.FRAME_US)
        at += 25
        run.commit()
        for track in TRACKS:
            say("ack", track, run.acked.get(rig.track_id(track), 0))


def nursery(broken: str) -> None:
    """Warm and single-threaded: a life per line of input, forked. What a life says goes to our standard output."""
    if broken:
        from tests.e2e.broken_daemon import BREAKS

        BREAKS[broken]()
    for line in sys.stdin:
        root, number, hold = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            try:
                record(Path(root), int(number), hold)
            except Exception as error:  # the disk is cut under us, or what the last cut left cannot be opened
                say("ended", type(error).__name__, str(error).replace("\n", " "))
            signal.pause()
        say("pid", pid)
        os.waitpid(pid, 0)
        say("gone")


@dataclass
class StoreCuts:
    """`cuts` on disks of one kind."""

    folder: Path
    kind: str
    seed: int
    broken: str = ""
    cuts: int = 0
    acked: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._rest = b""
        argv = [sys.executable, "-m", "tests.e2e.store_cuts", self.broken]
        self.child = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, cuts: int) -> None:
        try:
            while self.cuts < cuts and len(self.wrong) < 20:
                with Disk(self.folder / f"disk{self.cuts}", self.kind) as disk:
                    if self.broken:  # the break is to be seen in footage, not in a first start
                        rig.Rig(RealFs(), OPTIONS, disk.mount / "volume", start_us=rig.T0 - 1_000_000_000).close()
                        sh("sync", "-f", disk.mount)
                    promised: list[dict[int, int]] = []
                    for number in range(min(FRESH, cuts - self.cuts)):
                        self._round(disk, number, promised)
        finally:
            self.child.kill()
            self.child.communicate()

    def _round(self, disk: Disk, number: int, promised: list[dict[int, int]]) -> None:
        root = disk.mount / "volume"
        assert self.child.stdin is not None
        hold = self._hold()
        self.child.stdin.write(f"{root}\t{number}\t{hold}\n".encode())
        self.child.stdin.flush()
        acked: dict[int, int] = {}
        pid = self._listen(acked, hold, self.random.randint(2, 24))
        sealed = [path.name for path in segments(root) if path.suffix == ".rseg"] if hold.startswith(NAMED) else []
        if not hold:
            time.sleep(self.random.uniform(0, 0.01))
        disk.cut()
        os.kill(pid, signal.SIGKILL)
        self._listen(acked, "gone", 0)
        disk.revive()
        self.cuts += 1
        self.acked += sum(acked.values())
        promised.append(acked)
        self._look(root, promised, sealed, f"{self.kind}, cut {self.cuts}{f' at {hold}' if hold else ''}: ")
        unsealed = [path for path in segments(root) if path.suffix == ".open"]
        if unsealed and (self.broken == "crc" or self.random.random() < 0.2):
            lay_torn_block(max(unsealed, key=lambda path: path.name.split("-")[1:]))

    def _hold(self) -> str:
        if self.broken == "dirsync":
            return f"{NAMED}:{self.random.randint(1, 3)}"
        if self.broken or self.random.random() < 0.4:
            return ""
        return f"{self.random.choice(POINTS)}:{self.random.randint(1, 4)}"

    def _listen(self, acked: dict[int, int], until: str, acks: int) -> int:
        """Up to "held", "gone", or so many acknowledgements; the pid of the life."""
        assert self.child.stdout is not None
        fd, pid, heard = self.child.stdout.fileno(), 0, 0
        deadline = time.monotonic() + 60
        while True:
            while b"\n" not in self._rest:
                assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], "the child says nothing"
                data = os.read(fd, 65536)
                assert data, "the child is gone"
                self._rest += data
            line, _, self._rest = self._rest.partition(b"\n")
            words = line.decode().split()
            if words[0] == "pid":
                pid = int(words[1])
            elif words[0] == "ack":
                acked[int(words[1])] = int(words[2])
                heard += 1
            elif words[0] == "ended" and until != "gone":
                self.wrong.append(f"{self.kind}, cut {self.cuts + 1}: nothing is recorded: {line.decode()[6:]}")
            enough = heard >= acks and until != "gone" and (not until or heard >= 200)
            if words[0] == "gone" or (until != "gone" and (words[0] in ("held", "ended") or (pid and enough))):
                return pid

    def _look(self, root: Path, promised: list[dict[int, int]], sealed: list[str], where: str) -> None:
        now = segments(root)
        lost = sorted(set(sealed) - {path.name for path in now})
        if lost:
            self.wrong.append(f"{where}{lost[0]} was sealed, its folder was synced, and its name is lost")
        for path in now:
            raw = path.read_bytes()
            self.wrong += [where + text for text in foreign_blocks(path, raw)] if len(raw) > 4096 else []
        for track in TRACKS:
            try:
                found = rig.numbers(RealFs(), rig.track_id(track), root)
            except AssertionError as error:
                self.wrong.append(f"{where}{error}")
                continue
            for number, acked in enumerate(promised):
                there = [n - number * SPAN for n in found if n // SPAN == number]
                if there != list(range(len(there))):
                    self.wrong.append(f"{where}track {track}, life {number}: order or a hole: {there[-5:]}")
                if len(there) < acked.get(track, 0):
                    self.wrong.append(
                        f"{where}track {track}, life {number}: {acked[track]} acknowledged, {len(there)} there"
                    )


if __name__ == "__main__":
    nursery(sys.argv[1])
