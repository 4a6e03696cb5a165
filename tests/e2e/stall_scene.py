"""A disk that does not answer: two file systems are frozen under a recording server, a third one is not.

By hand: python -m tests.e2e.stall_scene --cameras 100 --for 30    (make scene S=stall ARGS="--cameras 100 --for 30")
What must hold (promise 12): of the cameras whose storage may keep them in memory nothing is lost; of those with little
memory whole GOPs are shed and all of it is declared; the third storage, live viewers, the API and the service manager
notice nothing but the word; reads answer in bounded time; it is back by itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.disks import MIB, Disk, need
from tests.e2e import sick_disk
from tests.e2e.harness import Farm, Server, running, wait_until
from tests.e2e.sick_disk import Account, LiveViewer, Manager, Watcher, add_camera, add_storage

GOP = 25
READ_S = 15.0  # an answer must come within
LIVE_S = 3.0
WATCHDOG_S = 8.0
TIGHT_CAMERAS = 3


@dataclass(frozen=True)
class Plan:
    cameras: int = 3
    seconds: float = 8
    bitrate: str = "200k"
    tight_bitrate: str = "6M"
    start_s: float = 60
    reads: int = 12


@dataclass
class Found:
    """What the scene saw."""

    patient: Account
    tight: Account
    well: Account
    watcher: Watcher
    manager: Manager
    events: list[str]
    live_longest_s: float
    lag_p99_s: float
    held_most: float
    reads: list[tuple[int, float]]

    def rows(self) -> dict[str, object]:
        accounts = {"within the budget": self.patient, "beyond it": self.tight, "storage not frozen": self.well}
        rows: dict[str, object] = {
            name: f"sent {one.sent}, recorded {one.recorded}, lost {one.lost}, declared {one.declared}"
            for name, one in accounts.items()
        }
        rows["states"] = "; ".join(f"{name}: {' > '.join(seen)}" for name, seen in self.watcher.states.items())
        rows["held at most"] = f"{self.held_most / MIB:.0f} MiB"
        rows["loop lag p99"] = f"{self.lag_p99_s * 1000:.0f} ms"
        rows["slowest status answer"] = f"{self.watcher.slowest_s:.2f} s"
        rows["longest without live"] = f"{self.live_longest_s:.2f} s"
        rows["longest unfed watchdog"] = f"{self.manager.longest_s:.2f} s of {WATCHDOG_S:.0f}"
        statuses = [status for status, _ in self.reads]
        slowest = max(took for _, took in self.reads)
        rows["reads while stalled"] = f"{statuses.count(200)} answered, {statuses.count(503)} refused, {slowest:.1f} s"
        return rows

    def wrong(self) -> list[str]:
        """Promises that were broken, in words."""
        broken = [*self.patient.wrong, *self.tight.wrong, *self.well.wrong]
        checks = {
            f"{self.patient.lost} frames lost within the budget": self.patient.lost == 0,
            f"{self.well.lost} frames lost on a healthy storage": self.well.lost == 0,
            "nothing was shed beyond the budget: the scene proves nothing": self.tight.lost > 0,
            f"{self.tight.lost - self.tight.declared} lost frames are not declared": (
                self.tight.lost == self.tight.declared
            ),
            f"{self.tight.loose} stretches do not end at a key": self.tight.loose == 0,
            "a frozen storage was never called stalled": all(
                "stalled" in self.watcher.states[name] for name in ("main", "tight")
            ),
            "the healthy storage was not ok all the time": self.watcher.states["well"] == ["ok"],
            f"events: {self.events}": {"storage-stalled", "storage-recovered"} <= set(self.events),
            f"live stood still for {self.live_longest_s:.1f} s": 0 < self.live_longest_s < LIVE_S,
            f"the watchdog starved for {self.manager.longest_s:.1f} s": 0 < self.manager.longest_s < WATCHDOG_S,
            f"the API took {self.watcher.slowest_s:.1f} s": self.watcher.slowest_s < LIVE_S,
            f"reads: {self.reads}": all(
                status in (200, 206, 404, 503) and took < READ_S for status, took in self.reads
            ),
            "readyz said nothing": any("stalled" in line for line in self.watcher.not_ready),
        }
        return broken + [words for words, holds in checks.items() if not holds]


def play(folder: Path, plan: Plan) -> Found:
    with ExitStack() as stack:
        disks = {
            name: stack.enter_context(Disk(folder / f"disk-{name}", size=size * MIB))
            for name, size in (("main", 1024), ("tight", 1024), ("well", 300))
        }
        low = Farm(
            folder / "low", plan.cameras + 1, ["--size", "320x180", "--bitrate", plan.bitrate, "--gop", str(GOP)]
        )
        high = Farm(
            folder / "high", TIGHT_CAMERAS, ["--size", "640x360", "--bitrate", plan.tight_bitrate, "--gop", str(GOP)]
        )
        server = Server(folder, video=disks["main"].mount)
        stack.enter_context(running(low, high, server))
        manager = Manager(folder)
        stack.callback(manager.close)
        for farm in (low, high):
            farm.folder.mkdir()
            farm.start()
        patient = _cameras(server, low, high, disks, plan)
        server.start(manager.env(WATCHDOG_S))
        everybody = plan.cameras + 1 + TIGHT_CAMERAS
        wait_until(lambda: server.alive() and server.recording() == everybody, plan.start_s, server.log)
        time.sleep(2)
        live = LiveViewer(server, "cam0")
        watcher = stack.enter_context(Watcher(server))
        held, reads = _freeze(server, [disks["main"], disks["tight"]], plan)
        for name in ("main", "tight"):
            sick_disk.until_state(watcher, name, "ok")
        time.sleep(3)
        live.close()
        lag = sick_disk.metric(server, "recorderd_loop_lag_p99_seconds")
        codes = [str(event["code"]) for event in sick_disk.events(server)]
        low.stop()
        high.stop()
        time.sleep(1)
        watcher.__exit__()
        assert server.stop() == 0, server.log()
        tight = {f"tight{n}": (disks["tight"].mount, "tight") for n in range(TIGHT_CAMERAS)}
        accounts = sick_disk.account(low, patient, GOP)
        well = accounts.pop("well")
        return Found(
            sick_disk.total(iter(accounts.values())),
            sick_disk.total(iter(sick_disk.account(high, tight, GOP).values())),
            well,
            watcher,
            manager,
            codes,
            live.longest_s,
            lag,
            held,
            reads,
        )


@dataclass
class Ended:
    """How a server ended while its disk did not answer. `told` are the states and reasons, in order, between the last
    footage before and the first after, as the next start says; `took_s` is how long it took until it had said what is
    lost."""

    status: int
    took_s: float
    log: str
    told: list[tuple[str, str, float]]  # state, reason, how long


def play_end(folder: Path, seconds: float, *, kill: bool = False) -> Ended:
    """Stop or kill the server when its disk has not answered for a while, and start it again. The kernel lets the
    process itself go only when the call returns."""
    with ExitStack() as stack:
        disk = stack.enter_context(Disk(folder / "disk"))
        farm = Farm(folder, 1, ["--size", "320x180", "--bitrate", "200k", "--gop", str(GOP)])
        server = Server(folder, video=disk.mount)
        stack.enter_context(running(farm, server))
        farm.start()
        server.add("cam0", farm.url(0))
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 1, 40, server.log)
        process = server.process
        assert process is not None
        time.sleep(2)
        with sick_disk.frozen(disk):
            frozen_s, began = time.time(), time.monotonic()
            wait_until(lambda: '"storage-stalled"' in server.log(), 30, server.log)
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
            began = time.monotonic()
            if kill:
                process.kill()
            else:
                process.terminate()
                wait_until(lambda: '"event": "not-durable"' in server.log(), 30, server.log)
            took = time.monotonic() - began
        process.communicate(timeout=30)
        server.process, log = None, server.log()
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 1, 40, server.log)
        query = f"start={sick_disk.utc(frozen_s - 1.5)}&end={sick_disk.utc(server.started_s)}"
        told = server.get(f"/api/v1/cameras/cam0/coverage?{query}")["tracks"][0]["intervals"]
        server.stop()
        return Ended(process.returncode, took, log, [_word(one) for one in told])


def _word(interval: dict[str, str]) -> tuple[str, str, float]:
    start, end = (datetime.fromisoformat(interval[key]) for key in ("start", "end"))
    return interval["state"], interval.get("reason", ""), (end - start).total_seconds()


def _cameras(server: Server, low: Farm, high: Farm, disks: dict[str, Disk], plan: Plan) -> dict[str, tuple[Path, str]]:
    """Cameras of the low farm, by name, with where they are recorded; the last one to the healthy disk."""
    add_storage(server, "tight", disks["tight"].mount, 'memory = "16MiB"')
    add_storage(server, "well", disks["well"].mount)
    places = {}
    for number in range(plan.cameras):
        add_camera(server, low, number, f"cam{number}")
        places[f"cam{number}"] = disks["main"].mount, "main"
    add_camera(server, low, plan.cameras, "well", "well")
    places["well"] = disks["well"].mount, "well"
    for number in range(TIGHT_CAMERAS):
        add_camera(server, high, number, f"tight{number}", "tight")
    return places


def _freeze(server: Server, disks: list[Disk], plan: Plan) -> tuple[float, list[tuple[int, float]]]:
    """Freeze them for the time of the plan; most bytes held, and what reads of footage were answered meanwhile."""
    clip = f"start={sick_disk.utc(time.time() - 2)}&end={sick_disk.utc(time.time() - 1)}"
    paths = [f"/api/v1/cameras/cam0/media.mp4?{clip}", f"/api/v1/cameras/tight0/coverage?{clip}"]
    held = 0.0
    for path in paths:
        sick_disk.answer_of(server, path)  # what a first read remembers in the catalog is written
    with sick_disk.frozen(*disks), ThreadPoolExecutor(plan.reads) as pool:
        asked = [pool.submit(sick_disk.answer_of, server, paths[n % 2]) for n in range(plan.reads)]
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            held = max(held, sick_disk.metric(server, "recorderd_storage_held_bytes"))
            server.alive()
        reads = [one.result() for one in asked]
    return held, reads


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=100)
    parser.add_argument("--for", type=float, default=30, dest="seconds")
    parser.add_argument("--bitrate", default="64k")
    args = parser.parse_args(argv)
    need()
    with tempfile.TemporaryDirectory() as folder:
        found = play(Path(folder), Plan(args.cameras, args.seconds, args.bitrate, start_s=120, reads=40))
    sick_disk.table(found.rows())
    for words in found.wrong():
        print(f"BROKEN: {words}")
    return 1 if found.wrong() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
