"""Kill the recording daemon at random moments and at every step of its procedures; look at what is left.

By hand: python -m tests.e2e.crash_tier --kills 1000 --seed 1 [--break crc|reappend]
The judges are the farm's log, the acknowledgements heard over the stream API and a second parser: see docs/testing.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mediadb import fs as steps
from tests.e2e.acknowledged import Acknowledged, Ending
from tests.e2e.harness import Farm, Server, running
from tests.e2e.oracle import look, segments
from tests.e2e.torn_tail import lay_torn_block
from tests.e2e.verdict import FPS, Verdict, judge

MAX_LOST_FRAMES = 30  # 1.2 s at 25 fps
CAMERAS = 3
EARLY = 0.15  # share of kills at any moment of the start, recovery among them
TORN = 0.25  # share of kills behind which a torn block is laid, as a cut of power leaves one
PATIENCE_S = 60.0


class NotRecording(AssertionError):
    """A start after which nothing is ever acknowledged."""


WRITING = (*steps.COMMIT_STEPS, *steps.CREATE_STEPS, *steps.SEAL_STEPS, *steps.LEDGER_STEPS)
RECLAIMING = (*steps.RECLAIM_STEPS, *steps.PUNCH_STEPS)
ONCE = (*steps.COMMIT_STEPS, *steps.LEDGER_STEPS)  # passed every second or so; the others at a start, a roll, a stop


@dataclass
class Crashes:
    """One storage, killed again and again. `starts_s`: from start to the first acknowledgement of every camera."""

    folder: Path
    seed: int
    broken: str = ""
    reclaiming: bool = False
    kills: int = 0
    torn: int = 0
    endings: list[Ending] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(MAX_LOST_FRAMES))

    max_lost: ClassVar[int] = MAX_LOST_FRAMES
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        options = [
            "--size",
            "320x240",
            "--bitrate",
            "4M" if self.reclaiming else "200k",
            "--gop",
            "12",
            "--seed",
            str(self.seed),
        ]
        self.farm = Farm(self.folder, CAMERAS, options).start()
        self.server = Server(self.folder, further=("stream",))
        if self.reclaiming:
            self.server.storage_lines = ('max_size = "64MiB"',)
        if self.broken:
            self.server.program = ("tests.e2e.broken_daemon", "--break", self.broken)
        for number in range(CAMERAS):
            short = ('retention = "1m"',) if self.reclaiming and number == 0 else ()  # its tracks leave segments early
            self.server.add(f"cam{number}", self.farm.url(number), *short)

    def start(self, env: dict[str, str] | None = None) -> Acknowledged:
        self.server.start(env, wait=False)
        heard = Acknowledged(self.server.ports["stream"], [f"cam{number}" for number in range(CAMERAS)])
        heard.start()
        return heard

    def began(self, heard: Acknowledged) -> None:
        """Wait until every camera was acknowledged once."""
        began = time.monotonic()
        while not heard.wait_for(CAMERAS, 0.5):
            if not self.server.running() or time.monotonic() > began + self.patience_s:
                errors = [line[:400] for line in self.server.log().splitlines() if "storage-" in line]
                raise NotRecording(f"start {self.kills + 1} records nothing: {' '.join(errors[-1:])}")
        self.starts_s.append(time.time() - self.server.started_s)

    def ended(self, heard: Acknowledged, ending: Ending | None = None) -> None:
        """After the process is gone: what it had promised, and now and then a torn block behind its last commit."""
        heard.end()
        self.kills += 1
        self.endings.append(ending or heard.ended())
        unsealed = [path for path in segments(self.server.volume) if path.suffix == ".open"]
        if unsealed and (self.broken == "crc" or self.random.random() < TORN):
            self.torn += lay_torn_block(max(unsealed, key=lambda path: path.name.split("-")[1:]))

    def fill(self, seconds: float = 75) -> None:
        """Record until retention has something to do at every step from now on."""
        heard = self.start()
        self.began(heard)
        time.sleep(seconds)
        self.server.kill()
        self.ended(heard)

    def kill_at_random(self) -> None:
        heard = self.start()
        if self.random.random() < EARLY and self.kills:
            time.sleep(self.random.uniform(0.3, 2.5))
        else:
            self.began(heard)
            time.sleep(self.random.uniform(0.0, 1.1))
        self.server.kill()
        self.ended(heard)

    def kill_at(self, failpoint: str, nth: int = 0) -> None:
        """Start with a failpoint armed. The first seal of a start is recovery's, a later one comes at a stop."""
        often = failpoint in ONCE
        nth = nth or (self.random.randint(1, 3) if often else 1)
        heard = self.start({"MEDIADB_FAILPOINT": f"{failpoint}:{nth}"})
        process = self.server.process
        assert process is not None
        deadline = time.monotonic() + (20 if failpoint in steps.PUNCH_STEPS else PATIENCE_S)
        while process.poll() is None and time.monotonic() < deadline:
            # After two commits whatever a start passes is behind us: a stop reaches the rest.
            if heard.wait_for(2 * CAMERAS, 0.02) and not often and not failpoint.startswith("reclaim"):
                break
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_S)
        process.communicate()
        self.server.process = None
        if process.returncode not in (137, -9) and failpoint not in steps.PUNCH_STEPS:  # one way or the other is taken
            self.wrong.append(f"failpoint {failpoint}:{nth} was never passed (status {process.returncode})")
        self.ended(heard)

    def finish(self) -> Verdict:
        """A last clean run, then judge every connection the farm ever had."""
        heard = self.start()
        try:
            self.began(heard)
        except NotRecording as error:
            self.wrong.append(str(error))
        self.farm.stop()
        time.sleep(1)
        status = self.server.stop()
        heard.end()
        self.endings.append(heard.ended())
        if status:
            self.wrong.append(f"the last clean stop ended with {status}")
        return self.judge()

    def judge(self) -> Verdict:
        lines = self.farm.connections()
        self.verdict = judge(self.server.volume, lines, self.endings, self.max_lost, self.reclaiming)
        self.verdict.wrong[:0] = self.wrong
        return self.verdict


def run(folder: Path, kills: int, seed: int, failpoints: tuple[str, ...] = (), broken: str = "") -> Crashes:
    """Kills at random, then one at each failpoint ("name", "name:n"); steps of reclaim have a storage that is full."""
    reclaiming = any(name.startswith("reclaim") for name in failpoints)
    crashes = Crashes(folder, seed, broken, reclaiming)
    with running(crashes.farm, crashes.server):
        if reclaiming:
            crashes.fill()
        for number in range(kills):
            crashes.kill_at_random()
            if kills >= 50 and number % 10 == 9:
                print(f"  {number + 1} kills, {len(look(crashes.server.volume).wrong)} wrong so far", flush=True)
        for name in failpoints:
            point, _, nth = name.partition(":")
            while nth and not any(path.suffix == ".open" for path in segments(crashes.server.volume)):
                crashes.kill_at_random()  # recovery must have something to seal, so that the live seal is the second
            crashes.kill_at(point, int(nth or "0"))
        crashes.finish()
    return crashes


def report(name: str, done: Crashes) -> int:
    verdict = done.verdict
    lost = sorted(verdict.lost)
    median = lost[len(lost) // 2] if lost else 0
    print(
        f"{name}: {done.kills} kills of {CAMERAS} cameras: worst loss {verdict.worst} frames "
        f"({verdict.worst / FPS:.2f} s), median {median}, "
        f"{len(verdict.late)} late (up to {max(verdict.late, default=0)}); "
        f"{done.torn} torn tails laid; {verdict.removed} frames removed by retention, {verdict.bytes >> 20} MiB kept; "
        f"slowest start to the first acknowledgement {max(done.starts_s, default=0):.1f} s; "
        f"{len(verdict.wrong)} violations",
        flush=True,
    )
    for text in verdict.wrong[:40]:
        print(f"  {text}")
    return len(verdict.wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--break", dest="broken", choices=["sync", "dirsync", "crc", "reappend"], default="")
    args = parser.parse_args()
    if args.broken in ("sync", "dirsync"):
        print("kill -9 leaves the page cache whole, so this control is played as cuts of power", flush=True)
        from tests.e2e import powercut_tier

        argv = ["--cuts", str(args.kills), "--seed", str(args.seed), "--break", args.broken]
        return powercut_tier.main(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recorderd-crash-") as folder:
        red = report("at random", run(_in(folder, "a"), args.kills, args.seed, broken=args.broken))
        if not args.broken:
            live = tuple(f"{name}:2" for name in steps.SEAL_STEPS)  # the first seal of a start is recovery's
            red += report("at each step", run(_in(folder, "b"), 0, args.seed, (*WRITING, *live)))
            red += report("at each step of reclaim", run(_in(folder, "c"), 0, args.seed, RECLAIMING))
    print(f"{'RED' if red else 'green'} after {time.monotonic() - began:.0f} s")
    return 1 if red else 0


def _in(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path


if __name__ == "__main__":
    sys.exit(main())
