"""A small volume filled over and over by the real writer at full speed, cameras of three retention classes on it.

By hand: python -m tests.e2e.turnovers_scene --turnovers 1000    (make scene S=turnovers ARGS="--turnovers 1000")
What must hold (promise 13): every sample that was acknowledged is there or was removed by a rule that coverage names;
no gap that nobody planned; the writer is never refused room while there is something to remove; the storage never
exceeds its limit. With --outsider a foreign program fills the disk and frees it again: recording goes on by itself.
What is on disk at the end is read by a second parser that knows nothing of the product.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.aio import AsyncStore, CommitInfo, StoreOptions, TrackWriter
from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.retention import CameraLimits
from tests.disks import MIB, Disk, need
from tests.mediadb import oracle

S = 1_000_000
T0 = 1_790_000_000 * S
FPS = 5
KEY_BYTES, DELTA_BYTES = 256 << 10, 64 << 10
CAMERAS = 4
SECONDS_AT_ONCE = 2  # of media per commit
OUTSIDER_TURNS = 200
SETTLE_S = 10.0  # promise: so soon after room came back recording goes on
VIDEO = TrackConfig("h264", 90_000, b"\0\0\0\x08avc1", 640, 480, frame_ticks=90_000 // FPS)
RECORDED = Cause(State.RECORDED)


@dataclass(frozen=True)
class Plan:
    """`limit_bytes` None: the disk itself is the limit. `outsider`: how often a foreign file fills the disk."""

    turnovers: int = 50
    size: int = 256 * MIB
    kind: str = "tmpfs"
    limit_bytes: int | None = None
    outsider: int = 0
    classes: int = 3


@dataclass
class Clock:
    """Stands still but for what is fed, so that a slow machine is not a longer time; `run` lets it run beside."""

    fed_us: int = 0

    def monotonic_us(self) -> int:
        return self.fed_us

    async def run(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.fed_us += int(seconds * S)

    def utc_us(self) -> int:
        return T0 + self.monotonic_us()


@dataclass
class Ears:
    """What the store says."""

    acked: dict[uuid.UUID, int] = field(default_factory=dict)
    troubles: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    reclaimed: dict[str, int] = field(default_factory=dict)
    shed_samples: int = 0

    def committed(self, info: CommitInfo) -> None:
        for track, fact in info.tracks.items():
            self.acked[track] = self.acked.get(track, 0) + fact.samples

    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None:
        self.shed_samples += samples

    def trouble(self, code: str, params: dict[str, object]) -> None:
        if code == "reclaimed":
            rule = f"{params['rule']}{'' if 'tracks' not in params else ' (tracks)'}"
            self.reclaimed[rule] = self.reclaimed.get(rule, 0) + 1
        else:
            self.troubles.append((code, params))


@dataclass
class Found:
    """What the scene saw. `wrong` is empty when the promise held."""

    turnovers: float = 0
    samples: int = 0
    seconds: float = 0
    most_used: int = 0
    limit_bytes: int = 0
    reclaimed: dict[str, int] = field(default_factory=dict)
    resumed_s: list[float] = field(default_factory=list)  # 0: it never stopped
    wrong: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, object]:
        rows: dict[str, object] = {
            "turnovers": f"{self.turnovers:.0f}",
            "samples": self.samples,
            "written": f"{self.turnovers * self.limit_bytes / self.seconds / 1e6:.0f} MB/s for {self.seconds:.0f} s",
            "most used": f"{self.most_used / MIB:.1f} of {self.limit_bytes / MIB:.0f} MiB",
            "removed by": ", ".join(f"{rule} {count}" for rule, count in sorted(self.reclaimed.items())),
        }
        if self.resumed_s:
            rows["recording again after"] = ", ".join(f"{s:.1f} s" for s in self.resumed_s)
        return rows


class Scene:
    """One volume, one store, `CAMERAS` cameras; camera n's track n. Camera 0 is kept a quarter of a turnover, camera 1
    half of one (with three classes), the others as long as there is room."""

    def __init__(self, plan: Plan, disk: Disk) -> None:
        self.plan, self.disk = plan, disk
        self.clock, self.ears, self.found = Clock(), Ears(), Found()
        self.found.limit_bytes = plan.limit_bytes or plan.size
        self.specs = [
            TrackSpec(uuid.UUID(int=0x700 + n), uuid.UUID(int=0xC00 + n), uuid.UUID(int=0xA0), TrackKind.VIDEO)
            for n in range(CAMERAS)
        ]
        self.fed = 0  # samples of each track
        self.writers: list[TrackWriter] = []
        self.store: AsyncStore

    @property
    def bytes_a_second(self) -> int:
        return CAMERAS * (KEY_BYTES + (FPS - 1) * DELTA_BYTES)

    async def open(self) -> None:
        turnover_us = self.found.limit_bytes * S // self.bytes_a_second
        limits = {self.specs[0].camera: CameraLimits(turnover_us // 4)}
        if self.plan.classes > 2:
            limits[self.specs[1].camera] = CameraLimits(turnover_us // 2)
        options = StoreOptions(
            create=True, commit_us=1 << 60, slot_us=20_000, quota_bytes=self.plan.limit_bytes, limits=limits
        )
        self.store = await AsyncStore.open(
            self.disk.mount, "main", server=uuid.UUID(int=7), clock=self.clock, options=options, listener=self.ears
        )
        await self.store.read(self.store.reader.tracks)
        for spec in self.specs:
            writer = self.store.track(spec, Names(f"cam {spec.track.int - 0x700}", "hw"))
            writer.config(VIDEO)
            writer.cover(self.clock.utc_us(), RECORDED)
            self.writers.append(writer)

    async def feed(self) -> None:
        """Two seconds of every camera, and wait until they are acknowledged or known not to be."""
        for n in range(self.fed, self.fed + FPS * SECONDS_AT_ONCE):
            at = self.clock.utc_us()
            key = n % FPS == 0
            for spec, writer in zip(self.specs, self.writers, strict=True):
                data = content(spec.track, n, KEY_BYTES if key else DELTA_BYTES)
                writer.append(Sample(data, n * 18_000, n * 18_000, KeyType.IDR if key else KeyType.DELTA, at))
            self.clock.fed_us += S // FPS
        self.fed += FPS * SECONDS_AT_ONCE
        await self.store.flush()
        self.look_at_size()

    def look_at_size(self) -> None:
        used = 0
        for path in (self.disk.mount / "log").rglob("*.*"):
            with contextlib.suppress(FileNotFoundError):  # sealed or removed since it was listed
                status = path.stat()
                used += status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else 0
        self.found.most_used = max(self.found.most_used, used)

    async def play(self) -> Found:
        await self.open()
        started = time.monotonic()
        feeds = self.plan.turnovers * self.found.limit_bytes // (self.bytes_a_second * SECONDS_AT_ONCE) + 1
        outsider_at = {feeds * (i + 1) // (self.plan.outsider + 1) for i in range(self.plan.outsider)}
        for number in range(feeds):
            if number in outsider_at:
                await self.meet_an_outsider()
            await self.feed()
            if number % max(1, feeds // 10) == feeds // 20:
                await self.check_coverage()
        self.found.seconds = time.monotonic() - started
        await self.check_coverage()
        self.found.wrong += [f"not durable at the end: {what}" for what in await self.store.close()]
        await asyncio.to_thread(self.check_disk)
        self.judge(feeds)
        return self.found

    async def meet_an_outsider(self) -> None:
        """A foreign file takes all room there is, again and again, until nothing is written any more; then it goes.
        Where the writer finds something to remove each time, it never stops: that is as good."""
        files: list[Path] = []
        for turn in range(OUTSIDER_TURNS):
            files.append(await asyncio.to_thread(self.disk.fill))
            files.append(files.pop().rename(self.disk.mount / f"foreign-{turn}"))
            if self.store.stats()["held_bytes"] < 64 * MIB:
                await self.feed()
            await self.clock.run(0.05)
            if self.store.stats()["failed"]:
                break
        stopped, acked = bool(self.store.stats()["failed"]), dict(self.ears.acked)
        freed = time.monotonic()
        for path in files:
            path.unlink()
        while stopped and self.ears.acked == acked and time.monotonic() < freed + 3 * SETTLE_S:
            await self.clock.run(0.05)
            await self.store.flush()
        self.found.resumed_s.append(time.monotonic() - freed if stopped else 0.0)

    # -- what must hold -------------------------------------------------------------------------------------------

    async def check_coverage(self) -> None:
        """Every instant since the start is recorded, or was removed by a rule; newest ones are recorded."""
        tracks = [spec.track for spec in self.specs]
        now = self.clock.utc_us()
        found = await self.store.read(self.store.reader.coverage, tracks, T0, now)
        last_us = await self.store.read(lambda: [self.store.reader.durable_us(track) for track in tracks])
        for track, end_us in zip(tracks, last_us, strict=True):
            rows = [row for row in found[track] if row.start_us < (end_us or 0) - S // FPS and row.end_us > T0 + 5 * S]
            planned = {(State.RECORDED, ""), *((State.DELETED, rule) for rule in ("age", "size", "space"))}
            odd = [row for row in rows if (row.cause.state, row.cause.reason) not in planned]
            self.found.wrong += [
                f"camera {track.int - 0x700}: {row.cause} {row.end_us - row.start_us} us" for row in odd
            ]
            if rows[-1].cause.state is not State.RECORDED if rows else now > T0 + 5 * S:
                self.found.wrong.append(f"camera {track.int - 0x700}: its newest footage is not there")

    def check_disk(self) -> None:
        """By the second parser: what was acknowledged last is there, without a hole, and its bytes are right."""
        there: dict[bytes, set[int]] = {spec.track.bytes: set() for spec in self.specs}
        for path in sorted((self.disk.mount / "log").rglob("*.rseg")):
            for track, number in samples_of(path):
                there[track].add(number)
        for spec in self.specs:
            numbers, camera = there[spec.track.bytes], spec.track.int - 0x700
            acked = self.ears.acked.get(spec.track, 0)
            if acked != self.fed:
                self.found.wrong.append(f"camera {camera}: {acked} of {self.fed} samples were acknowledged")
            if not numbers or numbers != set(range(min(numbers), acked)):
                self.found.wrong.append(
                    f"camera {camera}: {len(numbers)} samples on disk are not the last ones acknowledged"
                )
            elif acked - min(numbers) < 2 * FPS:
                self.found.wrong.append(f"camera {camera}: only {acked - min(numbers)} samples are left")

    def judge(self, feeds: int) -> None:
        found, ears = self.found, self.ears
        found.samples = sum(ears.acked.values())
        found.turnovers = feeds * self.bytes_a_second * SECONDS_AT_ONCE / found.limit_bytes
        found.reclaimed = ears.reclaimed
        if found.most_used > found.limit_bytes:
            found.wrong.append(f"{found.most_used} bytes were used of {found.limit_bytes}")
        if ears.shed_samples:
            found.wrong.append(f"{ears.shed_samples} samples were shed")
        planned = {
            "storage-error",
            "storage-recovered",
            "storage-full",
            "reclaim-short",
            "segment-not-created",
            "seal-failed",
        }
        bad = [one for one in ears.troubles if not self.plan.outsider or one[0] not in planned]
        found.wrong += [f"trouble: {code} {params}" for code, params in bad[:20]]
        found.wrong += [f"recording took {s:.1f} s to go on" for s in found.resumed_s if s > SETTLE_S]


def content(track: uuid.UUID, number: int, size: int) -> bytes:
    """Bytes of their own per sample; the number is in front, and decides what follows."""
    head = track.bytes + number.to_bytes(8, "big")
    return head + bytes([number % 251]) * (size - len(head))


def samples_of(path: Path) -> Iterator[tuple[bytes, int]]:
    """(track, number) of every sample of a sealed segment that verifies; wrong bytes end the scene."""
    raw = path.read_bytes()
    for track, rows in oracle.footer_chunks(raw).items():
        for _, at, length in rows:
            if not any(raw[at : at + 64]):
                continue  # taken out
            chunk = oracle.parse_chunk(raw[at : at + length], at)
            if chunk is None:
                raise AssertionError(f"{path}: a chunk at {at} does not verify")
            for data, *_ in chunk.samples:
                number = int.from_bytes(data[16:24], "big")
                if data != content(uuid.UUID(bytes=track), number, len(data)):
                    raise AssertionError(f"{path}: wrong bytes in sample {number}")
                yield track, number


def play(plan: Plan, folder: Path) -> Found:
    """The whole scene on a disk of its own below `folder`."""
    with Disk(folder, plan.kind, plan.size) as disk:
        return asyncio.run(Scene(plan, disk).play())


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="turnovers", description=__doc__)
    parser.add_argument("--turnovers", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="MiB of the volume")
    parser.add_argument("--disk", choices=("tmpfs", "ext4", "xfs"), default="tmpfs")
    parser.add_argument("--limit", type=int, help="max_size in MiB; without: the disk itself is the limit")
    parser.add_argument("--outsider", type=int, default=0, help="how often a foreign file fills the disk")
    args = parser.parse_args(argv)
    need()
    limit = args.limit * MIB if args.limit else None
    with tempfile.TemporaryDirectory() as folder:
        found = play(Plan(args.turnovers, args.size * MIB, args.disk, limit, args.outsider), Path(folder))
    for name, value in found.rows().items():
        print(f"{name:24} {value}")
    for what in found.wrong:
        print(f"WRONG: {what}")
    print("held" if not found.wrong else f"broken: {len(found.wrong)} things are wrong")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
