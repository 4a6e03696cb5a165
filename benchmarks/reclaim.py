"""B=reclaim: how fast footage is forgotten, what that costs a commit meanwhile, and what holes do to new segments.

On real file systems (loop devices; root). Footage of two retention classes, half of the bytes each. Unlinking and
punching are compared with the rate of writing that 200 cameras of 4 Mbit/s need (100 MB/s): promised is 50 times that.
What is measured costs per segment, not per byte; the one here is of ten seconds of that rate, a real one of minutes.
Commits are timed in one run, while reclaim is at work without a pause and just before. Extents: a file system is
filled, the shorter class taken out of everything, and the segments that are then written into the holes are looked at
(filefrag).
Options: --mib 1024 --rounds 6 --rate 100 (MB/s of ingest).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from benchmarks.report import publish, verdict
from mediadb.aio import AsyncStore, CommitInfo, StoreOptions
from mediadb.fs import RealFs
from mediadb.ledger import LedgerWriter
from mediadb.locks import OpenRequest, open_log
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.types import KeyType, Names, Sample, TrackConfig, TrackKind, TrackSpec
from mediadb.write.items import ConfigItem, Now
from mediadb.write.retention import CameraLimits
from mediadb.write.store import LogWriter
from recorderd.aio.system_clock import SystemClock
from tests.disks import MIB, Disk, need

S = 1_000_000
T0 = 1_790_000_000 * S
FPS = 5
CAMERAS = 16
KEY_BYTES, DELTA_BYTES = 160_000, 85_000  # 4 Mbit/s
VIDEO = TrackConfig("h264", 90_000, b"\x00\x00\x00\x08avc1", frame_ticks=18_000)
SPECS = [
    TrackSpec(uuid.UUID(int=n + 1), uuid.UUID(int=1000 + n), uuid.UUID(int=9), TrackKind.VIDEO) for n in range(CAMERAS)
]
SHORT = {spec.camera: CameraLimits(1) for spec in SPECS[::2]}  # every second camera
PLENTY = (1 << 40, 1 << 41)
QUIET_COMMITS = 80  # about as many as while reclaim is at work


class Quiet:
    """Hears nothing but how long commits took."""

    def __init__(self) -> None:
        self.commits_us: list[int] = []

    def committed(self, info: CommitInfo) -> None:
        self.commits_us.append(info.duration_us)

    def shed(self, *what: object) -> None: ...
    def trouble(self, code: str, params: dict[str, object]) -> None: ...
    def refused(self, track: uuid.UUID, size: int) -> None: ...
    def sealed(self, path: Path) -> None: ...


class Writer:
    """A log on its own time: `film` writes seconds of all cameras as fast as the disk takes them."""

    def __init__(self, root: Path, options: StoreOptions) -> None:
        self.log = open_log(RealFs(), OpenRequest(root, "main", uuid.UUID(int=7), 1, T0, True))
        self.writer = LogWriter(self.log, uuid.UUID(int=7), options, Quiet(), lambda job: job())
        self.now_us, self.number = T0, 0
        self.writer.start(self.now)
        self.states = [self.writer.track_state(spec, Names("c", "h")) for spec in SPECS]
        self.writer.take([(state, ConfigItem(VIDEO)) for state in self.states], self.now)

    @property
    def now(self) -> Now:
        return Now(self.now_us, self.now_us - T0)

    def film(self, seconds: int) -> None:
        for _ in range(seconds):
            for n in range(self.number, self.number + FPS):
                at, key = self.now_us + (n % FPS) * S // FPS, n % FPS == 0
                self.writer.take([(state, sample(n, key, at)) for state in self.states], self.now)
            self.number += FPS
            self.now_us += S
            self.writer.commit(self.now)

    def close(self) -> None:
        assert self.writer.close(self.now) == []
        self.log.close()


def sample(n: int, key: bool, at: int) -> Sample:
    data = (KEY if key else DELTA)[:-8] + n.to_bytes(8, "big")
    return Sample(data, n * 18_000, n * 18_000, KeyType.IDR if key else KeyType.DELTA, at)


KEY, DELTA = os.urandom(KEY_BYTES), os.urandom(DELTA_BYTES)
BYTES_A_SECOND = CAMERAS * (KEY_BYTES + (FPS - 1) * DELTA_BYTES)


def reclaimer(root: Path, options: ReclaimOptions) -> Reclaimer:
    fs = RealFs()
    folder = next((root / "log" / "main").iterdir())
    ledger = LedgerWriter(fs, root / "ledger" / "main" / folder.name, 99, 2)
    return Reclaimer(fs, folder, ledger, options, lambda: PLENTY, ClockBrake(None))


def segments(root: Path) -> list[Path]:
    return sorted(root.rglob("*.rseg"))


def forget(root: Path, options: ReclaimOptions) -> tuple[int, float]:
    """Everything that the limits let go: bytes given back, seconds."""
    made = reclaimer(root, options)
    now = T0 + 10**12
    used = sum(path.stat().st_blocks * 512 for path in segments(root))
    began = time.monotonic()
    while made.step(now, 0).removed:
        pass
    took = time.monotonic() - began
    return used - sum(path.stat().st_blocks * 512 for path in segments(root)), took


def speed(folder: Path, kind: str, mib: int) -> tuple[float, float]:
    """Bytes a second given back by punching one of two classes, then by unlinking the rest."""
    with Disk(folder, kind, mib * 2 * MIB) as disk:
        made = Writer(disk.mount, StoreOptions(create=True, segment_us=1 << 60, segment_bytes=mib * MIB, limits=SHORT))
        made.film(mib * MIB // BYTES_A_SECOND)
        made.close()
        punched, punching_s = forget(disk.mount, ReclaimOptions(cameras=SHORT))
        gone, unlinking_s = forget(disk.mount, ReclaimOptions(1))
        assert min(punched, gone) > mib * MIB * 0.4, (punched, gone)
        return punched / punching_s, gone / unlinking_s


async def beside(folder: Path) -> tuple[list[int], list[int]]:
    """Durations of commits while reclaim is at work beside them, and of as many without it just before."""
    with Disk(folder, "ext4", 1500 * MIB) as disk:
        old = Writer(disk.mount, StoreOptions(create=True, segment_bytes=4 * MIB, limits=SHORT))
        old.film(400 * MIB // BYTES_A_SECOND)
        old.close()
        ears, clock = Quiet(), SystemClock()
        options = StoreOptions(create=True, commit_us=1 << 60)
        store = await AsyncStore.open(
            disk.mount, "main", server=uuid.UUID(int=7), clock=clock, options=options, listener=ears
        )
        await store.read(store.reader.tracks)
        writers = [store.track(spec, Names("c", "h")) for spec in SPECS]
        for writer in writers:
            writer.config(VIDEO)

        async def one_commit(n: int) -> None:
            for writer in writers:
                writer.append(sample(n * FPS, True, clock.utc_us()))
            await store.flush()
            await asyncio.sleep(0.02)

        for n in range(QUIET_COMMITS):
            await one_commit(n)
        quiet, ears.commits_us = ears.commits_us, []
        forgetting = asyncio.ensure_future(asyncio.to_thread(_forget_all, disk.mount))
        for n in itertools.count(QUIET_COMMITS):
            await one_commit(n)
            if forgetting.done():
                break
        removed, busy = await forgetting, list(ears.commits_us)
        assert removed > 200, f"reclaim had little to do: {removed} removals"
        await store.close()
        return quiet, busy


def _forget_all(root: Path) -> int:
    """Tracks first, then whole segments, until nothing is left; how many removals that were."""
    removed = 0
    for options in (ReclaimOptions(cameras=SHORT), ReclaimOptions(1)):
        made = reclaimer(root, options)
        while found := made.step(T0 + 10**12, 0).removed:
            removed += len(found)
    return removed


def extents(folder: Path, kind: str, classes: bool) -> float:
    """Extents of a segment that was written into the holes of the shorter class, on average."""
    with Disk(folder, kind, 400 * MIB) as disk:
        room = os.statvfs(disk.mount)
        mib = room.f_bavail * room.f_frsize // MIB
        limits = SHORT if classes else {}
        made = Writer(disk.mount, StoreOptions(create=True, segment_bytes=32 * MIB, limits=limits))
        made.film((mib - 60) * MIB // BYTES_A_SECOND)
        made.close()
        before = set(segments(disk.mount))
        forget(disk.mount, ReclaimOptions(cameras=SHORT))
        again = Writer(disk.mount, StoreOptions(create=True, segment_bytes=32 * MIB, limits=limits))
        again.now_us = T0 + 3600 * S
        again.film((mib // 2 - 60) * MIB // BYTES_A_SECOND)
        again.close()
        return statistics.mean(map(pieces, set(segments(disk.mount)) - before))


def pieces(path: Path) -> int:
    said = subprocess.run(["filefrag", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) extents? found", said)
    assert found, said
    return int(found[1])


def p99(values: Iterable[int]) -> float:
    return statistics.quantiles(values, n=100)[98] / 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="reclaim", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="of the one segment that is forgotten")
    parser.add_argument("--rounds", type=int, default=6, help="of commits without and beside reclaim")
    parser.add_argument("--rate", type=int, default=100, help="MB/s that is recorded")
    args = parser.parse_args()
    need()
    rows: list[tuple[str, str, str, str]] = []
    data: dict[str, object] = {"mib": args.mib}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("ext4", "xfs"):
            punch, unlink = (rate / (args.rate * 1e6) for rate in speed(folder / f"speed-{kind}", kind, args.mib))
            rows.append((f"{kind}: punching, times ingest", f"{punch:.0f} x", ">= 50 x", verdict(punch >= 50)))
            rows.append((f"{kind}: unlinking, times ingest", f"{unlink:.0f} x", ">= 50 x", verdict(unlink >= 50)))
            data[f"{kind}_punch_ratio"], data[f"{kind}_unlink_ratio"] = punch, unlink
        quiet: list[int] = []
        busy: list[int] = []
        for number in range(args.rounds):
            without, with_it = asyncio.run(beside(folder / f"beside-{number}"))
            quiet, busy = quiet + without, busy + with_it
        ratio = p99(busy) / p99(quiet)
        rows.append((f"commit p99 without reclaim ({len(quiet)} commits)", f"{p99(quiet):.0f} ms", "", ""))
        rows.append(
            (f"commit p99 beside reclaim ({len(busy)} commits)", f"{p99(busy):.0f} ms", "<= 2 x", verdict(ratio <= 2))
        )
        data |= {"p99_quiet_ms": p99(quiet), "p99_busy_ms": p99(busy)}
        for kind in ("ext4", "xfs"):
            mixed, sorted_ = (extents(folder / f"extents-{kind}-{by}", kind, by) for by in (False, True))
            rows.append((f"{kind}: extents of a new 32-MiB segment", f"{sorted_:.0f}", f"mixed: {mixed:.0f}", ""))
            data |= {f"{kind}_extents_classes": sorted_, f"{kind}_extents_mixed": mixed}
    publish("reclaim", rows, data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
