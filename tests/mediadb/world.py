"""A recorder's whole life on the fault model, beside a plain model of what must be true of it.

`World` has one method per thing that can happen (film, commit, close, cut the power, reopen, reclaim, faults, clock)
and `check`, which compares disk, product reader, coverage and `verify` with the model. Nothing here is random: the
state machine and the fixed-seed runs choose. A violated promise raises `Red`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rig
from fault_fs import Crash, FaultFs
from judged import FPS, FRAME_US, Judged, Line, Red, S
from rig import Rig

from mediadb.errors import StorageError
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer, Way
from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, TrackItem
from mediadb.write.retention import CameraLimits
from mediadb.write.segment_chunk import TrackState

TICKS = 90_000 // FPS
GOP = 8
CODING = TrackConfig("h264", 90_000, b"\0\0\0\x08avc1", 640, 480, frame_ticks=TICKS)
OPTIONS = StoreOptions(create=True, segment_us=3 * S)
ALARMS = {"acknowledged-commits-lost", "segment-damaged", "recovery-failed", "segment-unreadable", "ledger-unreadable"}
RECORDED = Cause(State.RECORDED)


def camera_of(track: uuid.UUID) -> uuid.UUID:
    return uuid.UUID(int=track.int + 0xC0000)


def spec_of(track: uuid.UUID) -> TrackSpec:
    return TrackSpec(track, camera_of(track), uuid.UUID(int=0xA0), TrackKind.VIDEO)


class World(Judged):
    """See the module. `tracks` cameras of 5 frames a second."""

    def __init__(self, tracks: int = 2, seed: int = 0) -> None:
        self.fs = FaultFs(seed)
        self.utc_us, self.mono_us = rig.T0, 0
        self.lines: dict[uuid.UUID, Line] = {rig.track_id(n): Line() for n in range(tracks)}
        self.rig: Rig | None = None
        self.states: dict[uuid.UUID, TrackState] = {}
        self.jobs: list[Callable[[], None]] = []
        self.runs = 0
        self.faulty = False  # something failed since the last recovery: alarms may be true
        self.recovered = True
        self._told = 0
        self.open()

    # -- what can happen ------------------------------------------------------------------------------------------

    def open(self) -> bool:
        """Open the log and begin to record; True when that worked. Only under faults may it fail."""
        assert self.rig is None
        self.runs += 1
        self.states, self.jobs, self._told, self.recovered = {}, [], 0, False
        with self._power():
            try:
                run = Rig(self.fs, OPTIONS, start_us=self.utc_us, run=self.runs, beside=self.jobs.append)
            except (OSError, StorageError) as error:
                if not self.faulty:
                    raise Red(f"a reopen was refused: {error}") from error
                return False
            run.mono_us = self.mono_us
            self.rig = run
            for track in self.lines:
                spec, names = spec_of(track), Names("cam", "hw")
                self.states[track] = run.writer.track_state(spec, names)
                note = [TrackItem(spec, names), ConfigItem(CODING), CoverItem(self.utc_us, RECORDED)]
                run.put(self.states[track], *note)
        return self.rig is not None

    def recover(self) -> None:
        """What earlier runs left, beside the recording."""
        if self.rig is None or self.recovered:
            return
        with self._power():
            self.rig.recover()
            if not self.faulty and not self.fs.sync_lies and not self.fs.dir_sync_lies:
                bad = [trouble for trouble in self.rig.troubles if trouble[0] in ALARMS]
                if bad:
                    raise Red(f"false alarm: {bad}")
            try:
                self._reclaimer(ReclaimOptions()).repeat_unfinished(self.utc_us)
            except OSError:
                if not self.faulty:
                    raise
            self.recovered = True
            if not self.faulty:
                self._settle()

    def _settle(self) -> None:
        """What recovery found stays; what it did not find of an interrupted removal stays away."""
        on_disk = self._on_disk()
        for track, line in self.lines.items():
            there = {row.number for row in on_disk.get(track.bytes, [])}
            line.acked |= there - set(line.waiting)
            line.removed |= line.maybe - there
            line.maybe.clear()

    def film(self, seconds: int = 1) -> None:
        """All cameras record, nothing is committed."""
        if self.rig is None:
            return
        with self._power():
            for _ in range(seconds * FPS):
                for track, line in self.lines.items():
                    number = len(line.given)
                    first = not line.given or line.given[-1][0] != self.runs
                    key = KeyType.IDR if first or number % GOP == 0 else KeyType.DELTA
                    data = rig.content(track, number, 900 if key else 200)
                    dts = self.mono_us * 9 // 100
                    line.given.append((self.runs, self.utc_us))
                    line.waiting.append(number)
                    self.rig.put(self.states[track], Sample(data, dts, dts, int(key), self.utc_us))
                self.pass_time(FRAME_US)

    def pass_time(self, us: int) -> None:
        self.utc_us += us
        self.mono_us += us
        if self.rig is not None:
            self.rig.utc_us, self.rig.mono_us = self.utc_us, self.mono_us

    def step_clock(self, us: int) -> None:
        """The wall clock jumps; the cameras go on, and so do the commits."""
        self.utc_us = max(self.utc_us + us, 0)
        if self.rig is not None:
            self.rig.utc_us = self.utc_us
            self.rig.clock_run += 1
            self.commit()

    def away(self, seconds: int) -> None:
        """The cameras are away, and the engine says so; commits go on each second, as they do."""
        self._say(Cause(State.CAMERA_OFFLINE, "stall"))
        self.commit()
        self.pass_time(seconds * S)
        self._say(RECORDED)

    def commit(self) -> None:
        if self.rig is None:
            return
        with self._power():
            self.rig.commit(0)

    def work(self) -> None:
        """Seals and what else waits for the volume's other thread."""
        if self.rig is None:
            return
        with self._power():
            while self.jobs:
                self.jobs.pop(0)()

    def close(self) -> None:
        """A clean stop."""
        if self.rig is None:
            return
        self.work()
        with self._power():
            if self.rig is None:
                return
            lost = self.rig.writer.close(self.rig.now)
            if lost and not self.faulty:
                raise Red(f"a clean stop lost {lost}")
            self.rig.log.close()
            self._learn()
            self._forget_run()

    def cut(self, seed: int | None) -> None:
        """The power goes; with `seed` any legal image is left, else all that was not synced is lost."""
        self._learn()
        self.fs = self.fs.crash(None if seed is None else random.Random(seed))
        self._forget_run()
        self.pass_time(5 * S)

    def reclaim(self, share: float) -> None:
        """Remove the oldest segments until `share` of the bytes is left."""
        if self.rig is None or not self.recovered:
            return
        with self._removing() as step:
            used = sum(len(raw) for _, raw in self._files())
            step.options = ReclaimOptions(quota_bytes=max(int(used * share), 1))

    def forget_camera(self, number: int, keep_us: int, *, rewriting: bool) -> None:
        """One camera is kept for a shorter time: its ranges are punched, or the segment is copied without them."""
        if self.rig is None or not self.recovered:
            return
        track = rig.track_id(number % len(self.lines))
        with self._removing() as step:
            step.way = Way(rewriting=rewriting)
            step.options = ReclaimOptions(cameras={camera_of(track): CameraLimits(max_us=keep_us)})

    @contextmanager
    def _removing(self) -> Iterator[Reclaimer]:
        """One step of the yielded reclaimer; what went is learnt, and what may have gone when it was cut off."""
        before = self._sealed()
        whole = True
        with self._power():
            try:
                step = self._reclaimer(ReclaimOptions())
                yield step
                report = step.step(self.utc_us, self.mono_us)
                whole = not report.errors
                for removal in report.removed:
                    went = set(self.lines) if removal.rules is None else set(removal.rules)
                    self._gone([row for row in before[removal.fact.path] if row[0] in went], "removed")
                if report.errors and not self.faulty:
                    raise Red(f"reclaim failed: {report.errors}")
            except Crash:
                whole = False
                raise
            finally:
                for path, rows in before.items() if not whole else ():
                    if path not in self.fs.names or path.with_suffix(".gone") in self.fs.names:
                        self._gone(rows, "maybe")

    # -- faults ---------------------------------------------------------------------------------------------------

    def fault(self, call: str, nth: int, number: int) -> None:
        self.faulty = True
        self.fs.arm(call, nth, number)

    def fail_always(self, call: str, number: int) -> None:
        self.faulty = True
        self.fs.fail_always[call] = number

    def fill(self, room_bytes: int) -> None:
        """The disk has only so much room left."""
        self.faulty = True
        self.fs.capacity = self.fs.used() + room_bytes

    def read_only(self) -> None:
        self.faulty = self.fs.read_only = True

    def heal(self) -> None:
        """The fault is over: recording must come back without a restart, and lose nothing."""
        self.fs.heal()
        if self.rig is None:
            return
        for _ in range(3):
            self.away(11)
            self.work()
            self.commit()
        waiting = sum(len(line.waiting) for line in self.lines.values())
        if waiting:
            raise Red(f"{waiting} samples are not durable although the disk is well again")

    # -- inside ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _power(self) -> Iterator[None]:
        """The power may go at any call inside."""
        try:
            yield
        except Crash:
            self.cut(self.fs.calls.get("pwritev", 0) * 31 + self.runs)
        else:
            self._learn()

    def _learn(self) -> None:
        """Take note of what was acknowledged."""
        if self.rig is None:
            return
        for info in self.rig.commits[self._told :]:
            for track, fact in info.tracks.items():
                line = self.lines[track]
                line.acked.update(line.waiting[: fact.samples])
                del line.waiting[: fact.samples]
        self._told = len(self.rig.commits)

    def _forget_run(self) -> None:
        self.rig, self.jobs = None, []
        self.faulty = self.faulty and bool(self.fs.fail or self.fs.fail_always or self.fs.read_only or self.fs.capacity)
        for line in self.lines.values():
            line.waiting.clear()

    def _say(self, cause: Cause) -> None:
        if self.rig is not None:
            with self._power():
                for state in self.states.values():
                    self.rig.put(state, CoverItem(self.utc_us, cause))

    def _reclaimer(self, options: ReclaimOptions) -> Reclaimer:
        assert self.rig is not None
        fs, log = self.fs, self.rig.log
        free = lambda: fs.free_bytes(log.root)  # noqa: E731
        return Reclaimer(fs, log.folder, self.rig.writer.ledger, options, free, ClockBrake(None))

    def _sealed(self) -> dict[Path, list[tuple[uuid.UUID, int]]]:
        """Samples by sealed segment."""
        out: dict[Path, list[tuple[uuid.UUID, int]]] = {p: [] for p in self.fs.names if p.suffix == ".rseg"}
        for track, rows in self._on_disk().items():
            for row in rows:
                if row.path in out:
                    out[row.path].append((uuid.UUID(bytes=track), row.number))
        return out

    def _gone(self, rows: list[tuple[uuid.UUID, int]], how: str) -> None:
        for track, number in rows:
            line = self.lines[track]
            if how == "removed":
                line.removed.add(number)
                line.maybe.discard(number)
            elif number not in line.removed:
                line.maybe.add(number)
