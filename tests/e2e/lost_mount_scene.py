"""Disks that go from under a recording server and come back, one with a storage that stands in, one without.

By hand: python -m tests.e2e.lost_mount_scene --cameras 6 --for 20    (make scene S=lost-mount)
What must hold: nothing is written below the mount points, no frame is lost within the memory budget, no camera is
connected anew, the administrator can unmount, and everything is one film afterwards. The oracle is the farm's log.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.disks import Disk, need, run
from tests.e2e.harness import Farm, Server, marker, mp4_samples, run_mediadb, running, wait_until
from tests.e2e.oracle import look
from tests.e2e.sick_disk import Watcher, add_camera, add_storage, events, table, until_state, utc

STORAGES = ("alone", "guarded", "spare")  # `spare` stands in for `guarded`
NOTICED_S = 8.0  # on a loaded machine; the daemon looks once a second


@dataclass(frozen=True)
class Plan:
    cameras: int = 2  # per storage
    seconds: float = 5.0
    bitrate: str = "400k"
    again: int = 0  # how often the guarded disk goes once more, as soon as its footage is home


@dataclass
class Stage:
    """A server on three disks, and what was found."""

    folder: Path
    plan: Plan
    stack: ExitStack
    wrong: list[str] = field(default_factory=list)
    rows: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.disks = {name: self.stack.enter_context(Disk(self.folder / name)) for name in STORAGES}
        options = ["--size", "320x240", "--bitrate", self.plan.bitrate, "--gop", "25"]
        self.farm = Farm(self.folder, self.plan.cameras * len(STORAGES), options)
        self.server = Server(self.folder, video=self.disks["alone"].mount)
        self.server.main_storage = "alone"
        self.stack.enter_context(running(self.farm, self.server))
        self.farm.start()
        self.cameras: dict[str, str] = {}
        for name in STORAGES[1:]:
            fallback = ['fallback = "spare"'] if name == "guarded" else []
            add_storage(self.server, name, self.disks[name].mount, *fallback)
        for number in range(self.plan.cameras * len(STORAGES)):
            storage = STORAGES[number // self.plan.cameras]
            camera = f"{storage}-{number}"
            add_camera(self.server, self.farm, number, camera, storage)
            self.cameras[camera] = storage
        self.server.start()
        self.began_s = time.time()
        wait_until(lambda: self.server.alive() and self.server.recording() == len(self.cameras), 60, self.server.log)
        time.sleep(3)
        self.watcher = self.stack.enter_context(Watcher(self.server))
        for name in STORAGES:
            until_state(self.watcher, name, "ok", 20)

    def check(self, holds: bool, words: str) -> None:
        if not holds:
            self.wrong.append(words)

    def take(self, name: str) -> None:
        self.disks[name].detach(lazy=True)

    def until_code(self, name: str, code: str) -> None:
        codes = self.watcher.codes
        wait_until(lambda: code in codes.get(name, ()), 40, lambda: f"{name}: {codes}, {self.server.log()}")

    def until_event(self, code: str, count: int = 1) -> None:
        def told() -> bool:
            return sum(event["code"] == code for event in events(self.server)) >= count

        wait_until(told, 60, self.server.log)

    def finish(self) -> None:
        """Back to ok, one film, everything accounted for."""
        for name in STORAGES:
            until_state(self.watcher, name, "ok", 60)
        self.until_event("moved-home")
        time.sleep(2)
        camera = next(name for name, storage in self.cameras.items() if storage == "guarded")
        self.one_film(camera)
        self.farm.stop()
        time.sleep(1.5)
        self.watcher.__exit__()
        self.check(self.server.stop() == 0, self.server.log())
        self.account()

    def one_film(self, camera: str) -> None:
        """Coverage and movie over both storages, from the beginning to now."""
        start, end = utc(self.began_s + 3), utc(time.time() - 2)
        found = self.server.get(f"/api/v1/cameras/{camera}/coverage?start={start}&end={end}")
        told = [one for track in found["tracks"] if track["kind"] == "video" for one in track["intervals"]]
        self.check({one["state"] for one in told} == {"recorded"}, f"{camera}: coverage says {told}")
        movie = self.folder / "film.mp4"
        movie.write_bytes(self.server.get(f"/api/v1/cameras/{camera}/media.mp4?start={start}&end={end}", raw=True))
        frames = [found[1] for found in map(marker, mp4_samples(movie)) if found is not None]
        whole = frames == list(range(frames[0], frames[0] + len(frames)))
        self.check(whole and len(frames) > 100, f"{camera}: a movie of {len(frames)} frames, without a hole: {whole}")
        self.rows["movie over both storages"] = f"{len(frames)} frames, none missing: {whole}"

    def account(self) -> None:
        footage = {name: look(disk.mount, name) for name, disk in self.disks.items()}
        for name, one in footage.items():
            self.wrong += [f"{name}: {words}" for words in one.wrong]
            done = run_mediadb("verify", str(self.disks[name].mount))
            self.check(done.returncode == 0, f"{name}: verify is red: {done.stdout[-400:]}{done.stderr[-200:]}")
        sums = {name: [0, 0, 0] for name in STORAGES}
        for number, (camera, storage) in enumerate(self.cameras.items()):
            frames = set(footage[storage].frames(camera))
            abroad = set(footage["spare"].frames(camera)) if storage == "guarded" else set()
            self.check(not frames & abroad, f"{camera}: {len(frames & abroad)} frames lie in both storages")
            self.check(storage != "guarded" or bool(abroad), f"{camera}: nothing of it went to the spare storage")
            lines = [line for line in self.farm.connections(number) if line["sent"]]
            self.check(len(lines) == 1, f"{camera}: connected {len(lines)} times")
            for line in lines:
                self.check(not line["dropped"] and not line["skipped"], f"{camera}: the farm left frames out")
                sent = set(range(line["first"], line["last"] + 1))
                sums[storage][0] += len(sent)
                sums[storage][1] += len(sent - frames - abroad)
                sums[storage][2] += len(abroad)
        for name, (total, lost, guests) in sums.items():
            self.check(lost == 0, f"{name}: {lost} of {total} frames are lost")
            states = " > ".join(self.watcher.states[name])
            self.rows[name] = f"sent {total}, lost {lost}, {guests} in the spare storage; {states}"


def content(folder: Path) -> list[tuple[str, str]]:
    """Names and hashes of everything below a folder. The catalog's two side files are left out: when SQLite closes the
    catalog of a disk that another one was put in the place of, it removes them by their path. It is a cache."""
    return [
        (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in sorted(folder.rglob("*"))
        if path.name not in ("catalog.db-wal", "catalog.db-shm")
    ]


def held_by(server: Server, folder: Path) -> list[str]:
    """Descriptors of the server below a folder: what would keep an administrator from unmounting it."""
    assert server.process is not None
    links = []
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(path.readlink()))
    return [link for link in links if link.startswith(str(folder))]


@contextlib.contextmanager
def in_its_place(disk: Path, mount: Path) -> Iterator[None]:
    run("mount", "--bind", disk, mount)
    try:
        yield
    finally:
        run("umount", mount)


def play(folder: Path, plan: Plan) -> Stage:
    with ExitStack() as stack:
        stage = Stage(folder, plan, stack)
        began = time.monotonic()
        for name in ("alone", "guarded"):
            stage.take(name)
        for name in ("alone", "guarded"):
            until_state(stage.watcher, name, "missing", 30)
            late_s = stage.watcher.since[name, "missing"] - began
            stage.rows[f"{name}: noticed after"] = f"{late_s:.1f} s"
            stage.check(late_s < NOTICED_S, f"{name}: noticed late")
        stage.until_event("moved-to-fallback")
        stage.until_event("storage-let-go", 2)
        time.sleep(max(0.0, began + plan.seconds - time.monotonic()))
        for name in ("alone", "guarded"):
            mount = stage.disks[name].mount
            stage.check(content(mount) == [], f"{name}: written below the mount point: {content(mount)}")
            held = held_by(stage.server, mount)
            stage.check(held == [], f"{name}: still holds {held}")
            run("fsck.ext4", "-fn", stage.disks[name].device)  # raises when it is in use or damaged
            stage.disks[name].attach()
        for turn in range(plan.again):
            stage.until_event("moved-home", turn + 1)
            time.sleep(0.2 + 0.2 * turn)  # before, or just behind, the first commit at home
            stage.take("guarded")
            time.sleep(4.5)
            stage.disks["guarded"].attach()
        stage.until_event("moved-home", plan.again + 1)
        stage.finish()
        return stage


def command(argv: list[str], words: str | None, scene: Callable[[Path, Plan], Stage]) -> int:
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--cameras", type=int, default=6, help="per storage")
    parser.add_argument("--bitrate", default="1M")
    parser.add_argument("--for", type=float, default=20, dest="seconds")
    parser.add_argument("--again", type=int, default=4, help="outages behind each other (lost-mount)")
    args = parser.parse_args(argv)
    need()
    with tempfile.TemporaryDirectory() as folder:
        stage = scene(Path(folder), Plan(args.cameras, args.seconds, args.bitrate, args.again))
    table(stage.rows)
    for line in stage.wrong:
        print(f"BROKEN: {line}")
    return 1 if stage.wrong else 0


def main(argv: list[str]) -> int:
    return command(argv, __doc__, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
