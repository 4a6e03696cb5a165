"""Storages that fall ill under a recording server, each in its own way, and are cured: one scene for all of them.

Law: every storage has a file system of its own and cameras of its own; the last one stays well. Illness and cure are
what a disk, a kernel or an administrator does; the server is only watched. What must hold: within the memory budget
nothing recorded is lost, what is lost is declared, the state says what is wrong, the others notice nothing, and it is
back by itself, without a restart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.disks import MIB, Disk, FaultyDevice, need
from tests.e2e import sick_disk
from tests.e2e.harness import Farm, Server, run_mediadb, running, wait_until
from tests.e2e.sick_disk import Account, LiveViewer, Watcher, add_camera, add_storage

GOP = 25
LIVE_S = 3.0
BLKIO = Path("/sys/fs/cgroup/blkio")


class Illness:
    """`state` and `codes`: what the server must say while it lasts. `removes`: retention may take footage then."""

    name, state = "", "error"
    codes: frozenset[str] = frozenset()
    removes = False
    seconds = 8.0

    def __init__(self) -> None:
        self.disk: Disk

    def make(self, folder: Path, stack: ExitStack) -> None:
        self.disk = stack.enter_context(Disk(folder))

    def strike(self, server: Server) -> None:
        raise NotImplementedError

    def cure(self) -> None:
        raise NotImplementedError


class Failing(Illness):
    """Every write of the device fails; ext4 then takes none at all until it is mounted anew."""

    name, codes = (
        "failing",
        frozenset({"io-error", "read-only", "storage-missing", "storage-unusable", "storage-error"}),
    )

    def make(self, folder: Path, stack: ExitStack) -> None:
        self._device = FaultyDevice(folder / "device", size=200 * MIB)
        stack.callback(self._device.close)
        self.disk = stack.enter_context(Disk(folder, backing=self._device.file))

    def strike(self, server: Server) -> None:
        self._device.fail_writes()

    def cure(self) -> None:
        """The device is repaired; an administrator mounts it again: nobody holds it any more."""
        self._device.heal()
        self.disk.detach()
        self.disk.attach()


class ReadOnly(Illness):
    """The file system notices damage and makes itself read-only."""

    name, codes = "read-only", frozenset({"read-only", "io-error", "storage-unusable", "storage-error"})

    def make(self, folder: Path, stack: ExitStack) -> None:
        self.disk = stack.enter_context(Disk(folder, options="errors=remount-ro"))

    def strike(self, server: Server) -> None:
        Path(f"/sys/fs/ext4/{Path(self.disk.device).name}/trigger_fs_error").write_text("1")

    def cure(self) -> None:
        self.disk.detach()
        self.disk.attach()


class Full(Illness):
    """Foreign hands fill the disk; nothing but their file can be removed to make room, or the oldest footage."""

    name, codes, removes = "full", frozenset({"no-space", "storage-full", "segment-not-created"}), True

    def strike(self, server: Server) -> None:
        self._foreign = self.disk.fill()

    def cure(self) -> None:
        self._foreign.unlink()


class ThinFull(Illness):
    """A thin volume whose pool is full: writes succeed, the sync says that they did not."""

    name, codes = "thin", frozenset({"no-space", "io-error", "read-only", "storage-unusable", "storage-error"})

    def make(self, folder: Path, stack: ExitStack) -> None:
        self._pool = stack.enter_context(Disk(folder / "pool", kind="tmpfs", size=80 * MIB))
        backing = self._pool.mount / "thin"
        with backing.open("wb") as file:
            file.truncate(300 * MIB)
        self.disk = stack.enter_context(Disk(folder, backing=backing))

    def strike(self, server: Server) -> None:
        self._foreign = self._pool.fill()

    def cure(self) -> None:
        self._foreign.unlink()


class Slow(Illness):
    """The device takes less than the cameras send."""

    name, state, codes = "slow", "degraded", frozenset({"storage-slow"})
    seconds = 14.0
    bytes_per_s = 80_000

    def make(self, folder: Path, stack: ExitStack) -> None:
        super().make(folder, stack)
        self._group = BLKIO / f"recorderd-test-{os.getpid()}"
        stack.callback(self._remove)

    def strike(self, server: Server) -> None:
        assert server.process is not None
        self._group.mkdir()
        self._say(self.bytes_per_s)
        (self._group / "cgroup.procs").write_text(str(server.process.pid))

    def cure(self) -> None:
        self._say(0)

    def _say(self, limit: int) -> None:
        number = os.stat(self.disk.device).st_rdev
        line = f"{os.major(number)}:{os.minor(number)} {limit}"
        (self._group / "blkio.throttle.write_bps_device").write_text(line)

    def _remove(self) -> None:
        """The server has ended, or moves back."""
        with contextlib.suppress(OSError):
            for pid in (self._group / "cgroup.procs").read_text().split():
                (BLKIO / "cgroup.procs").write_text(pid)
            self._group.rmdir()


@dataclass(frozen=True)
class Plan:
    cameras: int = 2  # per storage
    bitrate: str = "1M"
    seconds: float = 0  # 0: as the illness needs


@dataclass
class Found:
    accounts: dict[str, Account]
    watcher: Watcher
    events: list[str]
    live_longest_s: float
    lag_p99_s: float
    advice: dict[str, str] = field(default_factory=dict)

    def rows(self) -> dict[str, object]:
        rows: dict[str, object] = {
            name: f"sent {one.sent}, recorded {one.recorded}, lost {one.lost}, declared {one.declared}; "
            f"{' > '.join(self.watcher.states[name])} ({', '.join(sorted(self.watcher.codes.get(name, ())))})"
            for name, one in self.accounts.items()
        }
        rows["loop lag p99"] = f"{self.lag_p99_s * 1000:.0f} ms"
        rows["slowest status answer"] = f"{self.watcher.slowest_s:.2f} s"
        rows["longest without live"] = f"{self.live_longest_s:.2f} s"
        return rows

    def wrong(self, illnesses: Iterable[Illness]) -> list[str]:
        broken = [words for one in self.accounts.values() for words in one.wrong]
        states = self.watcher.states
        checks = {
            f"the healthy storage: {states['well']}": states["well"] == ["ok"],
            f"{self.accounts['well'].lost} frames lost on the healthy storage": self.accounts["well"].lost == 0,
            f"live stood still for {self.live_longest_s:.1f} s": 0 < self.live_longest_s < LIVE_S,
            f"the API took {self.watcher.slowest_s:.1f} s": self.watcher.slowest_s < LIVE_S,
        }
        for one in illnesses:
            account, codes = self.accounts[one.name], self.watcher.codes.get(one.name, set())
            checks |= {
                f"{one.name} was never {one.state}: {states[one.name]}": one.state in states[one.name] or one.removes,
                f"{one.name} is not ok again: {states[one.name]}": states[one.name][-1] == "ok",
                f"{one.name}: codes {codes}": bool(codes & one.codes) or one.removes,
                f"{one.name}: readyz said nothing": one.removes
                or any(one.name in line for line in self.watcher.not_ready),
                f"{one.name}: {account.lost} frames lost within the budget": one.removes or account.lost == 0,
                f"{one.name}: {account.lost - account.declared} lost frames are not declared": (
                    account.lost == account.declared
                ),
            }
        return broken + [words for words, holds in checks.items() if not holds]


def play(folder: Path, illnesses: list[Illness], plan: Plan) -> Found:
    with ExitStack() as stack:
        for one in illnesses:
            one.make(folder / one.name, stack)
        well = stack.enter_context(Disk(folder / "well"))
        names = [*(one.name for one in illnesses), "well"]
        mounts = {**{one.name: one.disk.mount for one in illnesses}, "well": well.mount}
        options = ["--size", "640x360", "--bitrate", plan.bitrate, "--gop", str(GOP)]
        farm = Farm(folder, plan.cameras * len(names), options)
        server = Server(folder, video=mounts[names[0]])
        stack.enter_context(running(farm, server))
        farm.start()
        cameras = _cameras(server, farm, names, mounts, plan)
        server.start()
        wait_until(lambda: server.alive() and server.recording() == len(cameras), 60, server.log)
        time.sleep(3)
        live = LiveViewer(server, next(iter(cameras)))
        watcher = stack.enter_context(Watcher(server))
        wait_until(lambda: watcher.state("well") == "ok", 20)
        began = time.monotonic()
        for one in illnesses:
            one.strike(server)
        for one in illnesses:
            if not one.removes:
                wait_until(lambda one=one: one.state in watcher.states[one.name], 40, lambda: f"{watcher.states}")
        for one in sorted(illnesses, key=lambda one: one.seconds):
            time.sleep(max(0.0, began + (plan.seconds or one.seconds) - time.monotonic()))
            one.cure()
        for one in illnesses:
            sick_disk.until_state(watcher, one.name, "ok", 60)
        time.sleep(3)
        live.close()
        lag = sick_disk.metric(server, "recorderd_loop_lag_p99_seconds")
        codes = [str(event["code"]) for event in sick_disk.events(server)]
        farm.stop()
        time.sleep(1)
        watcher.__exit__()
        assert server.stop() == 0, server.log()
        removes = frozenset(one.name for one in illnesses if one.removes)
        accounts = sick_disk.account(farm, cameras, GOP, removes)
        per = {
            name: sick_disk.total(accounts[camera] for camera, (_, storage) in cameras.items() if storage == name)
            for name in names
        }
        with ThreadPoolExecutor(len(names)) as pool:
            verdicts = pool.map(lambda name: run_mediadb("verify", str(mounts[name])), names)
        for name, done in zip(names, verdicts, strict=True):
            if done.returncode:
                per[name].wrong.append(f"{name}: verify is red: {done.stdout[-600:]}{done.stderr[-300:]}")
        return Found(per, watcher, codes, live.longest_s, lag)


def _cameras(
    server: Server, farm: Farm, names: list[str], mounts: dict[str, Path], plan: Plan
) -> dict[str, tuple[Path, str]]:
    """Camera name -> where it is recorded, in the order of the farm."""
    server.main_storage = names[0]
    for name in names[1:]:
        add_storage(server, name, mounts[name])
    cameras = {}
    for index, name in enumerate(names):
        for number in range(plan.cameras):
            camera = f"{name}-{number}"
            add_camera(server, farm, index * plan.cameras + number, camera, name)
            cameras[camera] = mounts[name], name
    return cameras


def run_scene(argv: list[str], make: Callable[[], Illness], words: str | None) -> int:
    """The command of a scene: prints what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--cameras", type=int, default=6, help="per storage")
    parser.add_argument("--bitrate", default="1M")
    parser.add_argument("--for", type=float, default=20, dest="seconds")
    args = parser.parse_args(argv)
    need()
    illness = make()
    with tempfile.TemporaryDirectory() as folder:
        found = play(Path(folder), [illness], Plan(args.cameras, args.bitrate, args.seconds))
    sick_disk.table(found.rows())
    broken = found.wrong([illness])
    for line in broken:
        print(f"BROKEN: {line}")
    return 1 if broken else 0
