"""The recorder's clock is set while the real daemon records: back an hour, forward three, forward a year.

By hand: python -m tests.e2e.clock_scene --cameras 4 --seconds 10    (make scene S=clock)
The daemon alone sees another wall clock (libfaketime; its monotonic clock and the machine's are untouched). The oracle
is the farm's log: every frame sent is in the storage once, no instant is unexplained, nothing was deleted, no frame was
said to be lost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.read.reader import Reader
from mediadb.types import State, TrackKind
from tests.e2e.harness import Farm, Server, running, wait_until
from tests.e2e.oracle import committed_frames

OPTIONS = ["--size", "320x240", "--bitrate", "200k", "--gop", "25"]
STEPS_S = (-3_600, 3 * 3_600, 365 * 86_400)
S = 1_000_000


@dataclass
class FakedClock:
    """The wall clock that one process sees."""

    folder: Path
    offset_s: int = 0
    steps_s: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._write()

    @property
    def _file(self) -> Path:
        return self.folder / "faketime"

    def _write(self) -> None:
        new = self.folder / "faketime.new"
        new.write_text(f"{self.offset_s:+d}\n")
        os.replace(new, self._file)

    def step(self, seconds: int) -> None:
        self.offset_s += seconds
        self.steps_s.append(seconds)
        self._write()

    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self.offset_s * S


def library() -> Path | None:
    """libfaketime for programs with threads; None when it is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def play_scene(folder: Path, cameras: int, seconds: float) -> dict[str, object]:
    """Record `seconds` before, between and behind the steps; gives what was found."""
    farm, server, clock = Farm(folder, cameras, OPTIONS).start(), Server(folder), FakedClock(folder)
    for number in range(cameras):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start(env=clock.env())
        wait_until(lambda: server.alive() and server.recording() == cameras, 30, server.log)
        began_us = clock.now_us()
        time.sleep(seconds)
        for step_s in STEPS_S:
            clock.step(step_s)
            time.sleep(seconds)
        told = server.get("/api/v1/events?limit=500")["items"]
        ended_us = clock.now_us()
        farm.stop()
        time.sleep(1)
        assert server.stop() == 0, server.log()
    steps = [one["params"]["delta_us"] for one in told if one["code"] == "clock-step"]
    found = {"lost": 0, "frames": 0, "unexplained_us": 0, "holes_us": 0, "deleted": 0}
    for number in range(cameras):
        (line,) = farm.connections(number)
        sent = {(number, n) for n in range(line["first"], line["last"] + 1)}
        found["frames"] += len(sent)
        found["lost"] += len(sent ^ committed_frames(server.volume, f"cam{number}"))
    reader = Reader.open_offline(server.volume, "main", clock.now_us)
    for info in reader.tracks():
        if info.spec.kind is not TrackKind.VIDEO:
            continue
        span = min(began_us, info.first_us), clock.now_us()
        for one in reader.coverage([info.spec.track], *span)[info.spec.track]:
            if one.cause.state is State.UNEXPLAINED:
                found["unexplained_us"] += one.end_us - one.start_us
            elif one.cause.state in (State.NETWORK_LOSS, State.CAMERA_OFFLINE, State.OVERLOAD_SHED):
                found["holes_us"] += (one.end_us - one.start_us) * (began_us < one.start_us < ended_us)
            found["deleted"] += one.cause.state is State.DELETED
    reader.close()
    return {**found, "steps_told_s": sorted(round(int(str(one)) / S) for one in steps)}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="clock_scene", description=__doc__)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0, help="before, between and behind the steps")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="clock-scene-") as folder:
        found = play_scene(Path(folder), options.cameras, options.seconds)
    print(json.dumps(found, indent=2))
    told = found.pop("steps_told_s") == sorted(STEPS_S)
    frames = found.pop("frames")
    held = told and bool(frames) and not any(found.values())
    print("held" if held else "NOT HELD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
