"""Reclaim of one open log, as the store runs it: made behind recovery, stepped every few seconds, told other limits.

Law: joins the reclaimer with the volume's threads and with who must be told; decides nothing about footage and knows
no event loop. One call at a time works on the log, whichever thread it comes from. `open`, `step` run on the volume's
keeper thread, `make_room` on its writer thread; `limits`, `room`, `due` may be called from any. Used by `mediadb.aio`.
"""

from __future__ import annotations

import errno
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from mediadb.ledger import LedgerWriter
from mediadb.ledger_condense import keep_share
from mediadb.locks import LogHandle
from mediadb.reclaim.brake import FREE, SHORTENED, ClockBrake, Verdict
from mediadb.reclaim.forecast import Outlook, Rates, outlook
from mediadb.reclaim.limits import DAY_US, MIN_RESERVE_BYTES, ReclaimOptions, Room, headroom
from mediadb.reclaim.memory import REWRITING, UNKNOWN, Memory, read_memory, write_memory
from mediadb.reclaim.plan import Removal
from mediadb.reclaim.probe import probe, seeks
from mediadb.reclaim.reclaimer import Reclaimer, Report, Way
from mediadb.segment_index import LiveSegment
from mediadb.write.commits import CommitInfo

RECLAIM_US: Final = 5_000_000
PROBE_US: Final = 30 * DAY_US
SHORT_US: Final = 60_000_000  # between two words that there is no room to be made
SHORT_ERRORS: Final = 10  # reasons in one of them
STEPS_AT_ONCE: Final = 16  # when room is needed now: so many batches before the writer is told that there is none
Tell = Callable[[str, dict[str, object]], object]


class Clocks(Protocol):
    """UTC that may step, and a monotonic count."""

    def utc_us(self) -> int: ...
    def monotonic_us(self) -> int: ...


@dataclass(slots=True)
class KeeperCalls:
    """Who is told: `tell(code, params)` takes trouble and the code "reclaimed"; `removed` each segment that went,
    `changed` each of which tracks went. `open_cameras`: bytes of cameras in segments without a footer."""

    tell: Tell
    removed: Callable[[Path], None]
    changed: Callable[[Path], None]
    open_cameras: Callable[[], Mapping[uuid.UUID, int]] = field(default=dict)


@dataclass(slots=True)
class _Short:
    """What is not yet told of steps that could not do all they should."""

    times: int = 0
    errors: list[str] = field(default_factory=list)
    short_bytes: int = 0


def camera_bytes(segments: Iterable[LiveSegment]) -> dict[uuid.UUID, int]:
    """Bytes of each camera in segments without a footer."""
    out: dict[uuid.UUID, int] = {}
    for segment in segments:
        for entry in list(segment.index.tracks.values()):
            camera = entry.spec.camera
            out[camera] = out.get(camera, 0) + entry.stored_bytes
    return out


class ReclaimKeeper:
    """See the module."""

    def __init__(self, options: ReclaimOptions, clock: Clocks, calls: KeeperCalls, *, told: bool = True) -> None:
        """`told`: the limits of cameras are known; until `limits` says them, those hold that the log remembers."""
        self._options, self._clock, self._calls, self._told = options, clock, calls, told
        self._memory = Memory()
        self._probed_us = 0  # tried then, whatever came of it
        self._lock = threading.Lock()
        self._weighed: tuple[ReclaimOptions, bool] | None = None  # limits, and would they delete more than half?
        self._reclaimer: Reclaimer | None = None
        self._log: LogHandle | None = None
        self._sealing: Callable[[], bool] = lambda: False
        self._ledger_bytes = 0  # of the ledger when it was made small last
        self._full = False
        self._told_brake = FREE
        self._short_of = _Short()
        self._short_next_us = clock.monotonic_us()
        self._last_us = clock.monotonic_us()
        self.brake = Verdict(FREE, "", 0)
        self.room = (0, 0, 0)  # used, free and total bytes, as the last step found them
        self._rates = Rates()
        self._written: dict[uuid.UUID, int] = {}  # of each track since the rates were folded

    def open(
        self, log: LogHandle, ledger: LedgerWriter, newest_us: int | None, sealing: Callable[[], bool] = lambda: False
    ) -> None:
        """From now on `step` works; `newest_us`: the newest footage on the volume (for the clock brake). `sealing`:
        segments get their footer just now, and may go then: no room is not told."""
        calls = self._calls
        with self._lock:
            self._log, self._ledger_bytes, self._sealing = log, 0, sealing
            self._memory = memory = read_memory(log.fs, log.folder)
            way = Way(memory.way == REWRITING, memory.seeks)
            self._reclaimer = Reclaimer(
                log.fs,
                log.folder,
                ledger,
                memory.options if memory.known else self._options,
                lambda: log.fs.free_bytes(log.root),
                ClockBrake(None),
                calls.removed,
                calls.changed,
                calls.open_cameras,
                way=way,
            )
            self._prime(self._reclaimer, log.identity.epoch, newest_us)

    def _prime(self, reclaimer: Reclaimer, epoch: int, newest_us: int | None) -> None:
        """The brake sees both clocks now: a jump before the first step is one. What time it was tells the footage that
        was recorded last; newer footage may come from a clock that was ahead."""
        now_us, mono_us = self._clock.utc_us(), self._clock.monotonic_us()
        try:
            last_us = reclaimer.facts.recorded_last_us(epoch)
        except OSError:
            last_us = None  # told by whoever reads it next
        if last_us is not None and not (newest_us is not None and 0 <= newest_us - last_us <= DAY_US):
            newest_us = last_us
        reclaimer.brake = ClockBrake(newest_us)
        reclaimer.brake.resume(self._memory.doubt, now_us, mono_us)
        self.brake = reclaimer.brake.judge(now_us, mono_us, 0)

    def shut(self) -> None:
        """The log is let go: `step` does nothing until `open`."""
        self._reclaimer = None

    def repeat_unfinished(self) -> None:
        """Finish what a crash interrupted. Raises OSError."""
        with self._lock:
            if self._reclaimer is not None:
                self._reclaimer.repeat_unfinished(self._clock.utc_us())

    def limits(self, options: ReclaimOptions) -> None:
        """Other limits from the next step on."""
        self._options, self._told = options, True

    def confirm(self) -> None:
        """Somebody says that clock and limits are right: what is overdue goes from the next step on."""
        reclaimer = self._reclaimer
        if reclaimer is not None:
            reclaimer.brake.confirm(self._clock.utc_us(), self._clock.monotonic_us())

    def wrote(self, info: CommitInfo) -> None:
        """A commit is durable; on the thread that asks `due`."""
        written = self._written
        for track, fact in info.tracks.items():
            written[track] = written.get(track, 0) + fact.bytes

    def due(self, mono_us: int) -> bool:
        """Is it time for a step? True once per interval."""
        elapsed_us = mono_us - self._last_us
        if elapsed_us < RECLAIM_US:
            return False
        self._last_us = mono_us
        written, self._written = self._written, {}
        self._rates.fold(written, elapsed_us)
        return True

    @property
    def way(self) -> str:
        """How bytes of single tracks are given back on this volume: punching, rewriting, or unknown yet."""
        return self._memory.way

    def outlook(self, camera_of: Mapping[uuid.UUID, uuid.UUID]) -> Outlook:
        """How far back footage will reach. `camera_of`: the cameras of the tracks that are recorded."""
        rates: dict[uuid.UUID, float] = {}
        for track, rate in self._rates.tracks.items():
            camera = camera_of.get(track)
            if camera is not None and rate >= 1:
                rates[camera] = rates.get(camera, 0.0) + rate
        return outlook(self._options, Room(*self.room, int(self._rates.recent)), rates)

    def figures(self, outlook: Outlook) -> dict[str, int]:
        """What `stats` of a store says of room and retention; 0 where nothing is known."""
        used, free, total = self.room
        return {
            "used_bytes": used,
            "free_bytes": free,
            "total_bytes": total,
            "rate_bytes_s": outlook.rate_bytes_s,
            "forecast_kept_us": outlook.kept_us or 0,
            "forecast_full_us": outlook.full_us or 0,
            "forecast_short_cameras": sum(camera.short for camera in outlook.cameras.values()),
            "reclaim_held": int(self.brake.state != FREE),
        }

    def plan(self, options: ReclaimOptions | None = None) -> list[Removal]:
        """What these limits (None: those in force) would remove now by age and size; blocking, nothing is removed."""
        reclaimer = self._reclaimer
        return [] if reclaimer is None else reclaimer.would_go(options or reclaimer.options, self._clock.utc_us())

    def step(self) -> None:
        """Remove what the limits ask for and tell what went; a ledger beyond its share is made small."""
        self._weigh()
        with self._lock:
            self._step(0)
        log, reclaimer = self._log, self._reclaimer
        if log is not None and reclaimer is not None:
            quota, now_us = self._options.quota_bytes, self._clock.utc_us()
            try:
                self._ledger_bytes = keep_share(log, reclaimer.ledger, quota, self._ledger_bytes, now_us)
            except OSError as error:  # the same again at the next step
                self._short([f"{log.ledger_folder}: {error}"])
            self._short([])

    def _weigh(self) -> None:
        """Would other limits delete more than half of what is there? That may read much, and the writer waits for
        nobody who reads: the lock is not held, and until it is known the limits are the old ones."""
        reclaimer, options, memory = self._reclaimer, self._options, self._memory
        if reclaimer is None or not self._told or not memory.known or memory.options == options:
            return
        now_us = self._clock.utc_us()
        try:
            sealed = reclaimer.facts.under(options).used_bytes(None)
            going = sum(removal.freed_bytes for removal in reclaimer.would_go(options, now_us))
            going -= sum(removal.freed_bytes for removal in reclaimer.would_go(memory.options, now_us))
        except OSError as error:  # the disk is in trouble, and told so elsewhere: the same again at the next step
            self._short([str(error)])
        else:
            self._weighed = options, going * 2 > sealed

    def make_room(self, length: int) -> bool:
        """Room for `length` more bytes (no more than the limit of size sets aside for a segment), within that limit and
        on the disk, before a segment for them is made. False when that is not there yet: something is sealed just now,
        or there is nothing to remove. Raises OSError (EDQUOT) when nothing may go any more and the limit of size leaves
        no room."""
        with self._lock:
            for _ in range(STEPS_AT_ONCE):
                reclaimer = self._reclaimer
                if reclaimer is None:
                    return True
                quota = reclaimer.options.quota_bytes
                free, total = reclaimer.free_bytes()
                length = min(length, headroom(total if quota is None else min(quota, total)))
                if quota is None and free >= length + MIN_RESERVE_BYTES:
                    return True
                report = self._step(length)
                if report is None or not report.more:
                    break
            else:
                return True
            if self._sealing():
                return False
            used = report.used_bytes - report.freed_bytes if report is not None else 0
            if report is not None and quota is not None and used + length > quota and report.brake.quota_floor <= quota:
                raise OSError(
                    errno.EDQUOT, f"max_size {quota} is reached and nothing may go: {used} bytes are kept", "max_size"
                )
            return report is None or not report.short_bytes

    def _step(self, ahead: int) -> Report | None:
        reclaimer, clock = self._reclaimer, self._clock
        if reclaimer is None or not (self._told or self._memory.known):
            return None  # whose footage is to be kept for longer is not known yet
        self._adopt(reclaimer)
        report = reclaimer.step(clock.utc_us(), clock.monotonic_us(), ahead)
        self.room = report.used_bytes, report.free_bytes, report.total_bytes
        for removal in report.removed:
            params: dict[str, object] = {"path": str(removal.fact.path), "rule": removal.rule}
            if not removal.whole:
                params["tracks"] = len(removal.rules or ())
            self._calls.tell("reclaimed", params)
        if report.errors or (report.short_bytes and not self._sealing()):
            self._short(report.errors, report.short_bytes)
        self._watch_room(reclaimer, report)
        self._watch_brake(report.brake)
        self._remember_doubt(reclaimer, report.brake)
        return report

    def _remember_doubt(self, reclaimer: Reclaimer, verdict: Verdict) -> None:
        """A restart must not end it: what is recorded behind a jump is as new as the clock says."""
        doubt, known = reclaimer.brake.doubt(verdict, self._clock.utc_us()), self._memory.doubt
        if (doubt.state, doubt.reason, doubt.of_bytes) == (known.state, known.reason, known.of_bytes):
            return
        memory = replace(self._memory, options=reclaimer.options, doubt=doubt)
        try:
            write_memory(reclaimer.fs, reclaimer.log_folder, memory)
            self._memory = memory
        except OSError:
            pass  # a disk in trouble is told elsewhere; the same again at the next step

    def _adopt(self, reclaimer: Reclaimer) -> None:
        """Let the limits be those that were told last, once they are weighed. When they would delete more than half of
        what is there, it goes at a pace."""
        reclaimer.rate_bytes_s = int(self._rates.recent)
        now_us, mono_us = self._clock.utc_us(), self._clock.monotonic_us()
        same = reclaimer.options == self._options and self._memory.known
        if not self._told or (same and not self._probe_due(self._options, now_us)):
            return
        try:
            options = self._options
            if self._memory.known and self._memory.options != options:
                if self._weighed is None or self._weighed[0] != options:
                    return
                if self._weighed[1]:
                    reclaimer.brake.pace(SHORTENED, mono_us, reclaimer.facts.used_bytes(0))
            reclaimer.options, self._weighed = options, None
            self._memory = self._probed(reclaimer, replace(self._memory, options=options, known=True), now_us)
            reclaimer.way = Way(self._memory.way == REWRITING, self._memory.seeks)
            verdict = reclaimer.brake.judge(now_us, mono_us, reclaimer.facts.used_bytes(0))
            self._memory = replace(self._memory, doubt=reclaimer.brake.doubt(verdict, now_us))
            write_memory(reclaimer.fs, reclaimer.log_folder, self._memory)
        except OSError as error:  # the disk is in trouble, and told so elsewhere: the same again at the next step
            self._short([str(error)])

    def _probe_due(self, options: ReclaimOptions, now_us: int) -> bool:
        """Only where tracks go before their segments does it matter whether punching gives space back."""
        return options.by_track and abs(now_us - max(self._memory.probed_us, self._probed_us)) > PROBE_US

    def _probed(self, reclaimer: Reclaimer, memory: Memory, now_us: int) -> Memory:
        """What a probe of the volume finds, once a month. Raises OSError."""
        if not self._probe_due(memory.options, now_us):
            return memory
        self._probed_us = now_us
        fs, folder = reclaimer.fs, reclaimer.log_folder
        way = probe(fs, folder)
        return memory if way == UNKNOWN else replace(memory, way=way, probed_us=now_us, seeks=seeks(fs, folder))

    def _short(self, errors: Iterable[str], short_bytes: int = 0) -> None:
        """Retention could not do all it should. A full disk says so at each step: told once a minute, with every reason
        since. Without arguments: tell what still waits."""
        waiting = self._short_of
        waiting.times += bool(errors) or short_bytes > 0
        waiting.errors = list(dict.fromkeys([*waiting.errors, *errors]))[:SHORT_ERRORS]
        waiting.short_bytes = short_bytes or waiting.short_bytes
        mono_us = self._clock.monotonic_us()
        if waiting.times and mono_us >= self._short_next_us:
            self._short_of, self._short_next_us = _Short(), mono_us + SHORT_US
            params: dict[str, object] = {"errors": waiting.errors, "short_bytes": waiting.short_bytes}
            self._calls.tell("reclaim-short", {**params, "times": waiting.times})

    def _watch_room(self, reclaimer: Reclaimer, report: Report) -> None:
        """Tell once when the disk is as good as full and retention finds nothing to remove, and once when that ends."""
        try:
            free = reclaimer.free_bytes()[0]
        except OSError:
            return  # a disk that does not answer is found by the next commit
        full = bool(report.short_bytes) and free < MIN_RESERVE_BYTES
        if full and self._sealing():
            return
        if full is not self._full:
            self._full = full
            params: dict[str, object] = {"free_bytes": free, "short_bytes": report.short_bytes}
            code = "storage-full" if full else "storage-recovered"
            self._calls.tell(code, params if full else {"of": "storage-full"})

    def _watch_brake(self, verdict: Verdict) -> None:
        """Tell once when deletion by age is held back, and once when it is not any more."""
        self.brake = verdict
        if verdict.state == self._told_brake:
            return
        self._told_brake = verdict.state
        if verdict.state == FREE:
            self._calls.tell("storage-recovered", {"of": "reclaim-held"})
        else:
            self._calls.tell("reclaim-held", {"state": verdict.state, "reason": verdict.reason})
