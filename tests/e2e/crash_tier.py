"""Kill the recording daemon at random moments and at every step of the writing procedure; look at what is left.

By hand: python -m tests.e2e.crash_tier --kills 1000 --seed 1
The oracle is the farm's log and the frames' own numbers and checksums, never the server's counters.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.fs import COMMIT_STEPS, FAILPOINTS
from tests.e2e.harness import Farm, Server, run_mediadb, running, wait_until
from tests.e2e.oracle import committed_frames

MAX_LOST_FRAMES = 30  # 1.2 s at 25 fps
CAMERAS = 3


@dataclass
class Crashes:
    """One storage, killed again and again; `worst` is the largest loss in frames, `wrong` everything forbidden."""

    folder: Path
    seed: int
    worst: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        options = ["--size", "320x240", "--bitrate", "200k", "--gop", "25", "--seed", str(self.seed)]
        self.farm = Farm(self.folder, CAMERAS, options).start()
        self.server = Server(self.folder)
        for number in range(CAMERAS):
            self.server.add(f"cam{number}", self.farm.url(number))

    def kill_at_random(self) -> None:
        self.server.start()
        wait_until(lambda: self.server.recording() == CAMERAS, 20, self.server.log)
        time.sleep(self.random.uniform(0.0, 2.2))
        self.server.kill()
        self.kills += 1

    def kill_at(self, failpoint: str) -> None:
        """Start with a failpoint armed; steps of the seal are reached by asking for a stop."""
        # Steps of a commit come every second; the others once, when the last run's segment is sealed or at a stop.
        nth = self.random.randint(1, 3) if failpoint in COMMIT_STEPS else 1
        self.server.start({"MEDIADB_FAILPOINT": f"{failpoint}:{nth}"}, wait=False)
        assert self.server.process is not None
        deadline = time.monotonic() + 6
        while self.server.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.server.process.poll() is None:
            self.server.process.terminate()
            self.server.process.wait(20)
        self.server.process.communicate()
        status = self.server.process.returncode
        self.server.process = None
        if status not in (137, -9):
            self.wrong.append(f"failpoint {failpoint} was never passed (status {status})")
        self.kills += 1

    def finish(self) -> None:
        """A last clean run, then judge every connection the farm ever had."""
        self.server.start()
        wait_until(lambda: self.server.recording() == CAMERAS, 20, self.server.log)
        time.sleep(1)
        self.farm.stop()
        time.sleep(1)
        status = self.server.stop()
        if status:
            self.wrong.append(f"the last clean stop ended with {status}")
        done = run_mediadb("verify", str(self.server.volume))
        if done.returncode:
            self.wrong.append(f"verify is red: {done.stdout}{done.stderr}")
        for number in range(CAMERAS):
            self._judge(number)

    def _judge(self, number: int) -> None:
        frames = {n for _, n in committed_frames(self.server.volume, f"cam{number}")}
        for line in self.farm.connections(number):
            if not line["sent"]:
                continue
            sent = range(line["first"], line["last"] + 1)
            kept = sorted(frames.intersection(sent))
            lost = len(sent) - len(kept)
            self.worst = max(self.worst, lost)
            if kept and kept != list(range(kept[0], kept[-1] + 1)):
                self.wrong.append(f"cam{number}: a hole inside {kept[0]}..{kept[-1]}")
            if kept and kept[0] != line["first"]:
                self.wrong.append(
                    f"cam{number}: frames {line['first']}..{kept[0] - 1} were committed later than others"
                )
            if lost > MAX_LOST_FRAMES:
                self.wrong.append(f"cam{number}: {lost} frames of {line['first']}..{line['last']} lost in one kill")


def run(folder: Path, kills: int, seed: int, failpoints: bool) -> Crashes:
    crashes = Crashes(folder, seed)
    with running(crashes.farm, crashes.server):
        for _ in range(kills):
            crashes.kill_at_random()
        for name in FAILPOINTS if failpoints else ():
            crashes.kill_at(name)
        crashes.finish()
    return crashes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recorderd-crash-") as folder:
        done = run(Path(folder), args.kills, args.seed, failpoints=True)
    print(f"{done.kills} kills, worst loss {done.worst} frames ({done.worst / 25:.2f} s), {len(done.wrong)} violations")
    for text in done.wrong:
        print(f"  {text}")
    return 1 if done.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
