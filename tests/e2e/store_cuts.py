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
    at, nurse = number * SPAN, os.getppid()
    while os.getppid() == nurse:  # nobody outlives the tier
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
            say("pid", os.getpid())  # before anything else it says
            try:
                record(Path(root), int(number), hold)
            except Exception as error:  # the disk is cut under us, or what the last cut left cannot be opened
                say("ended", type(error).__name__, str(error).replace("\n", " "))
            signal.pause()
        os.waitpid(pid, 0)
        say("gone")


class Nursery:
    """The parent's side of `nursery`: one life at a time."""

    def __init__(self, broken: str = "") -> None:
        argv = [sys.executable, "-m", "tests.e2e.store_cuts", broken]
        self._child = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._input, self._fd, self._rest = self._child.stdin, self._child.stdout.fileno(), b""
        self._pid = 0

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._child.kill()
        self._child.communicate()

    def begin(self, root: Path, number: int, hold: str) -> None:
        self._input.write(f"{root}\t{number}\t{hold}\n".encode())
        self._input.flush()
        words = self._words()
        assert words[0] == "pid", words
        self._pid = int(words[1])

    def hear(self, acked: dict[int, int]) -> list[str]:
        """The next thing said; an acknowledgement is entered."""
        words = self._words()
        if words[0] == "ack":
            acked[int(words[1])] = int(words[2])
        return words

    def drain(self, acked: dict[int, int]) -> None:
        """What was said up to now."""
        while b"\n" in self._rest or select.select([self._fd], [], [], 0)[0]:
            self.hear(acked)

    def end(self, acked: dict[int, int]) -> None:
        """Kill the life; `acked` takes what it said before it died."""
        os.kill(self._pid, signal.SIGKILL)
        while self.hear(acked)[0] != "gone":
            pass
        self._pid = 0

    def _words(self) -> list[str]:
        deadline = time.monotonic() + 60
        while b"\n" not in self._rest:
            ready = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, "the child says nothing"
            data = os.read(self._fd, 65536)
            assert data, "the child is gone"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode().split()


def numbers(root: Path, track: int) -> tuple[list[int], str]:
    """Sample numbers of a track by the second parser; with words when something there is wrong."""
    try:
        return rig.numbers(RealFs(), rig.track_id(track), root), ""
    except AssertionError as error:
        return [], f"track {track}: {error}"


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

    def run(self, cuts: int) -> None:
        with Nursery(self.broken) as nursery:
            while self.cuts < cuts and len(self.wrong) < 20:
                with Disk(self.folder / f"disk{self.cuts}", self.kind) as disk:
                    if self.broken:  # the break is to be seen in footage, not in a first start
                        rig.Rig(RealFs(), OPTIONS, disk.mount / "volume", start_us=rig.T0 - 1_000_000_000).close()
                        sh("sync", "-f", disk.mount)
                    promised: list[dict[int, int]] = []
                    for number in range(min(FRESH, cuts - self.cuts)):
                        self._round(nursery, disk, number, promised)

    def _round(self, nursery: Nursery, disk: Disk, number: int, promised: list[dict[int, int]]) -> None:
        root, hold = disk.mount / "volume", self._hold()
        acked: dict[int, int] = {}
        nursery.begin(root, number, hold)
        self._listen(nursery, acked, 200 if hold else self.random.randint(2, 24))
        sealed = [path.name for path in segments(root) if path.suffix == ".rseg"] if hold.startswith(NAMED) else []
        if not hold:
            time.sleep(self.random.uniform(0, 0.01))
        nursery.drain(acked)  # what is said from here on nobody could have heard: the power goes for all
        disk.cut()
        nursery.end({})
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

    def _listen(self, nursery: Nursery, acked: dict[int, int], acks: int) -> None:
        """Until the life stands still at its step, or so many acknowledgements came."""
        heard = 0
        while heard < acks:
            words = nursery.hear(acked)
            if words[0] == "ended":
                self.wrong.append(f"{self.kind}, cut {self.cuts + 1}: nothing is recorded: {' '.join(words[1:])}")
            if words[0] in ("held", "ended"):
                return
            heard += words[0] == "ack"

    def _look(self, root: Path, promised: list[dict[int, int]], sealed: list[str], where: str) -> None:
        now = segments(root)
        lost = sorted(set(sealed) - {path.name for path in now})
        if lost:
            self.wrong.append(f"{where}{lost[0]} was sealed, its folder was synced, and its name is lost")
        for path in now:
            raw = path.read_bytes()
            self.wrong += [where + text for text in foreign_blocks(path, raw)] if len(raw) > 4096 else []
        for track in TRACKS:
            found, wrong = numbers(root, track)
            if wrong:
                self.wrong.append(where + wrong)
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
