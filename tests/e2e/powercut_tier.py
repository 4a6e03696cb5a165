"""Cut the power of the recording daemon's disk, on ext4 and XFS; look at what is left. Root only.

By hand: python -m tests.e2e.powercut_tier --cuts 50 --seed 1 [--fs ext4|xfs] [--break sync|dirsync|crc|reappend]
The disk is a loop device of its own and the cut is the file system's shutdown: what was not synced is gone. Segments
are short and the disk is nearly full, so that roll, seal and reclaim are always near. See docs/testing.md.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mediadb import fs as steps
from tests.disks import MIB, Disk, need
from tests.disks import run as sh
from tests.e2e import replay_cuts
from tests.e2e.crash_tier import Crashes, NotRecording, report
from tests.e2e.harness import running
from tests.e2e.oracle import look, segments
from tests.e2e.store_cuts import StoreCuts
from tests.e2e.verdict import Verdict

MAX_LOST_FRAMES = 37  # 1.5 s at 25 fps
ROOM_BYTES = 28 * MIB  # free for footage and the 16 MiB that reclaim keeps free: it begins after a few rounds
REPLAY_SHARE = 2  # states of a reordering disk for each cut of the whole daemon
STORE_SHARE = 10  # cuts of the writer alone for each of the whole daemon
HELD = 0.5  # share of cuts at a step of a procedure, while the thread that came there stands still
HOLD_S = 10.0
NAMED = "seal_ledger"  # at this step a folder's sync has returned, and no other seal or reclaim is under way


@dataclass
class PowerCuts(Crashes):
    """One disk. `state_too`: the daemon's own database is on it and loses its power with it."""

    kind: str = "ext4"
    state_too: bool = False
    cuts: int = 0
    held: dict[str, int] = field(default_factory=dict)

    max_lost: ClassVar[int] = MAX_LOST_FRAMES

    def __post_init__(self) -> None:
        self.disk = Disk(self.folder / "disk", self.kind)
        self.reclaiming = True
        self.patience_s = 15 if self.broken else self.patience_s
        super().__post_init__()
        self.server.video = self.disk.mount / "video"
        self.server.data = self.disk.mount / "state" if self.state_too else None
        self.server.volume.mkdir()
        self.server.data_dir.mkdir(exist_ok=True)
        sh("sync", "-f", self.disk.fill(leave=ROOM_BYTES))  # folders and filler are there for good
        self.tell = self.folder / "tell"
        os.mkfifo(self.tell)

    def warm_up(self) -> None:
        """A sound daemon makes the volume: the break is to be seen in footage, not in a first start."""
        self.server.program = ("recorderd",)
        heard = self.start()
        self.began(heard)
        self.server.stop()
        heard.end()
        sh("sync", "-f", self.server.volume)

    def cut(self) -> None:
        """Start, wait for a step or for a moment, cut, kill, mount again, look."""
        point = self._point()
        broken = ("--break", self.broken) if self.broken else ()
        hold = ("--hold", point, "--tell", str(self.tell)) if point else ()
        self.server.program = ("tests.e2e.broken_daemon", *broken, *hold)
        told = os.open(self.tell, os.O_RDONLY | os.O_NONBLOCK)
        heard = self.start()
        sealed: list[str] = []
        try:
            if point and select.select([told], [], [], HOLD_S)[0]:
                self.held[point] = self.held.get(point, 0) + 1
                sealed = self._sealed() if point.startswith(NAMED) else []
            elif self.random.random() < 0.9:
                self.began(heard)
                time.sleep(self.random.uniform(0.0, 1.1))
            else:
                time.sleep(self.random.uniform(0.3, 2.0))
        finally:
            os.close(told)
        ending = heard.ended()  # what is said from here on nobody could have heard: the power goes for all
        self.disk.cut()
        self.server.kill()
        self.disk.revive()
        self.cuts += 1
        self.ended(heard, ending)
        self._look(f"{self.kind}, cut {self.cuts}{f' at {point}' if point else ''}: ", sealed)

    def _point(self) -> str:
        if self.broken == "dirsync":
            return f"{NAMED}:{self.random.randint(1, 3)}"
        if self.broken or self.random.random() > HELD:
            return ""
        name = self.random.choice(steps.FAILPOINTS)
        return f"{name}:{self.random.randint(1, 4)}"

    def _sealed(self) -> list[str]:
        return [path.name for path in segments(self.server.volume) if path.suffix == ".rseg"]

    def _look(self, where: str, sealed: list[str]) -> None:
        """The disk as the cut left it, before any recovery: what the last run had promised, and names."""
        footage = look(self.server.volume)
        now = Verdict(MAX_LOST_FRAMES)
        now.wrong += footage.wrong
        now.floor(footage, self.endings[-1:], reclaiming=True)
        lost = sorted(set(sealed) - set(self._sealed()))
        if lost:
            now.wrong.append(f"{lost[0]} was sealed, its folder was synced, and its name is lost ({len(lost)} such)")
        self.wrong += [where + text for text in now.wrong]


def run(folder: Path, cuts: int, seed: int, kind: str, state_too: bool = False, broken: str = "") -> PowerCuts:
    """`cuts` on one disk, a clean end, the verdict. The disk is taken away whatever happens."""
    scene = PowerCuts(folder, seed, broken, kind=kind, state_too=state_too)
    with scene.disk, running(scene.farm, scene.server):
        if broken:
            scene.warm_up()
        try:
            for _ in range(cuts):
                scene.cut()
        except NotRecording as error:
            scene.wrong.append(str(error))
            scene.server.kill()
            scene.farm.stop()
            scene.judge()
            return scene
        scene.server.program = ("tests.e2e.broken_daemon", "--break", broken) if broken else ("recorderd",)
        scene.finish()
    return scene


def stores(kind: str, cuts: int, seed: int, broken: str) -> int:
    """The same of the writer alone, many more cuts in the same time. Returns the violations."""
    with tempfile.TemporaryDirectory(prefix="recorderd-storecut-") as folder:
        done = StoreCuts(Path(folder), kind, seed, broken)
        began = time.monotonic()
        done.run(cuts)
    rate = done.cuts * 60 / max(time.monotonic() - began, 0.001)
    print(
        f"{kind}, the writer alone: {done.cuts} cuts ({rate:.0f} a minute), {done.acked} samples acknowledged, "
        f"{len(done.wrong)} violations",
        flush=True,
    )
    for text in done.wrong[:10]:
        print(f"  {text}")
    return len(done.wrong)


def states(times: int, seed: int, broken: str) -> int:
    """States that a disk with a cache of its own may be found in. Returns the violations."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recorderd-replay-") as folder:
        done = replay_cuts.run(Path(folder), times, seed, broken)
    print(
        f"ext4, a disk that reorders and tears: {done.replays} states after {len(done.acks)} acknowledgements, "
        f"{len(done.wrong)} violations, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for text in done.wrong[:10]:
        print(f"  {text}")
    return len(done.wrong)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fs", choices=["ext4", "xfs"])
    parser.add_argument("--break", dest="broken", choices=["sync", "dirsync", "crc", "reappend"], default="")
    args = parser.parse_args(argv)
    need()
    began, red = time.monotonic(), 0
    kinds = [args.fs] if args.fs else ["ext4", "xfs"]
    red += states(args.cuts * REPLAY_SHARE, args.seed, args.broken)
    for kind in kinds:
        red += stores(kind, args.cuts * STORE_SHARE // len(kinds), args.seed, args.broken)
    scenes = [(kind, state) for kind in kinds for state in (False, True)]
    with tempfile.TemporaryDirectory(prefix="recorderd-powercut-") as folder:
        for number, (kind, state_too) in enumerate(scenes):
            place = Path(folder) / f"{number}"
            place.mkdir()
            share = args.cuts // len(scenes) + (number < args.cuts % len(scenes))
            if not share:
                continue
            done = run(place, share, args.seed + number, kind, state_too, args.broken)
            red += report(f"{kind}{', state too' if state_too else ''}", done)
            print(f"  held at {sum(done.held.values())} steps: {', '.join(sorted(done.held)) or 'none'}", flush=True)
    print(f"{'RED' if red else 'green'} after {time.monotonic() - began:.0f} s")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
