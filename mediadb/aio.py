"""The media database for an event loop: one store per log, everything blocking on the volume's own threads.

Law: the only module of the package that knows asyncio. It joins collector, writer thread, reader and reclaim, and
keeps the slot timer; it decides nothing about bytes. No call here blocks the loop: even `open` runs on a thread,
because a hung disk blocks it too. A store outlives its volume: a log that fails is let go and opened again when it is
back (`mediadb.reopening`); meanwhile samples wait in memory and reads are refused at once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from mediadb.errors import StorageError, StorageMissing
from mediadb.format.ledger_page import LedgerKind
from mediadb.fs import Fs, RealFs
from mediadb.guests import Guests
from mediadb.known_tail import KnownTail
from mediadb.ledger_cut import cut_months
from mediadb.locks import LogHandle, OpenRequest, no_log, open_log
from mediadb.lodging import Lodging, Place
from mediadb.read.damage import CORRUPT, WHOLE
from mediadb.read.desk import ReadDesk
from mediadb.read.joined import JoinedReader
from mediadb.read.reader import Reader
from mediadb.reclaim.forecast import Outlook
from mediadb.reclaim.keeper import KeeperCalls, ReclaimKeeper, camera_bytes
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reopening import Held, Reopening, begun, request_of
from mediadb.slot_clock import SlotClock
from mediadb.store_life import StoreLife
from mediadb.types import Names, TrackSpec
from mediadb.watched_fs import Calls, watch
from mediadb.write.collect import Collector, TrackWriter
from mediadb.write.commits import CommitInfo, StoreListener, StoreOptions
from mediadb.write.handover import begins_at, forgive
from mediadb.write.health import Health, Word
from mediadb.write.items import Now
from mediadb.write.retention import CameraLimits
from mediadb.write.witness import Witness
from mediadb.write.writer_thread import Ticking, WriterThread

T = TypeVar("T")
ROOM_AGAIN_BYTES = 64 << 20  # a disk that was full is tried again

__all__ = ["AsyncStore", "CommitInfo", "StoreListener", "StoreOptions", "TrackWriter"]


class AsyncStore:
    """One log, open for writing and reading. Made by `open`; everything but `read`'s calls runs on the loop thread."""

    reader: Reader  # of this log; of two storages while another one stands in where it must
    _own: Reader

    def __init__(self, storage: str, options: StoreOptions, listener: StoreListener, clock: Ticking) -> None:
        self._loop = asyncio.get_running_loop()
        self.storage, self._options, self._listener, self._clock = storage, options, listener, clock
        self._desk = ReadDesk(storage, clock.monotonic_us, self._post)
        self._pool = self._desk.pool
        self._calls = Calls(clock.monotonic_us)
        self._health = Health(options.commit_us)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._reopening: Reopening
        self._lodging: Lodging
        self._host: AsyncStore | None = None  # who stands in while our log takes nothing
        self._wanted_host: AsyncStore | None = None
        self._guests = Guests()  # for whom we stand in
        self.closing = False
        self.reopened: Callable[[uuid.UUID, int], object] | None = None  # told volume and epoch of each later opening
        self._timer: asyncio.TimerHandle | None = None
        self._thread: WriterThread
        self._collector: Collector
        calls = KeeperCalls(
            lambda code, params: self._post(self.on_trouble, code, params),
            lambda path: self._own.removed(path),
            lambda path: self._own.changed(path),
            lambda: camera_bytes(self._thread.writer.live_segments()),
        )
        limits = ReclaimOptions(options.retention_us, options.quota_bytes, cameras=options.limits or {})
        self._reclaim = ReclaimKeeper(limits, clock, calls, told=options.limits is not None)
        self._now = SlotClock(clock, self._clock_stepped).now
        self._last_commit_us = clock.monotonic_us()
        self._counts = {"commits": 0, "committed_samples": 0, "committed_bytes": 0, "troubles": 0, "commit_us": 0,
                        "commit_max_us": 0, "reclaimed_segments": 0}  # fmt: skip
        self.volume_id: uuid.UUID
        self.epoch = self.run = 0

    @classmethod
    async def open(
        cls,
        volume: Path,
        storage: str,
        *,
        server: uuid.UUID,
        clock: Ticking,
        options: StoreOptions,
        listener: StoreListener,
        fs: Fs | None = None,
    ) -> AsyncStore:
        """Check, lock and open; recording may begin when this returns, older segments are recovered beside.

        Raises StorageMissing, StorageForeign, StorageDoublyOwned, StorageOlder, StorageLocked, StorageDamaged; and
        StorageError when the volume does not take the new run's first record.
        """
        self = cls(storage, options, listener, clock)
        request = request_of(volume, storage, server, options, clock.utc_us())
        fs = watch(fs or RealFs(), self._calls)
        try:
            await begun(self._pool, partial(self._open_blocking, request, fs), lambda: self._thread.abandon())
        except BaseException:
            self._pool.shutdown(wait=False)
            raise
        known = replace(request, create=False, expected_volume=self.volume_id, known_epoch=self.epoch, known_tail=None)
        self._live(known, fs, StoreLife(options.let_go_us, options.retry_us))
        self._thread.beside(self._load_reader)  # behind recovery, so that it finds no file half recovered
        return self

    @classmethod
    def absent(
        cls,
        volume: Path,
        storage: str,
        *,
        server: uuid.UUID,
        clock: Ticking,
        options: StoreOptions,
        listener: StoreListener,
        fs: Fs | None = None,
    ) -> AsyncStore:
        """A store whose volume is not there (yet): as one that was let go. What comes waits in memory or goes to the
        store that stands in; the volume is opened when it comes."""
        self = cls(storage, options, listener, clock)
        request = request_of(volume, storage, server, options, clock.utc_us())
        fs = watch(fs or RealFs(), self._calls)
        self.run = request.run
        log = no_log(fs, request)
        self._thread = WriterThread(log, server, self._options, clock, self, self._post)
        self.reader = self._own = Reader.absent(volume, storage, clock.utc_us, fs, self._thread.writer, self._found)
        self._thread.start_without(self._now())
        life = StoreLife(options.let_go_us, options.retry_us)
        life.gone(clock.monotonic_us())
        life.fails(clock.monotonic_us(), stay=False)
        self._live(request, fs, life)
        return self

    def _live(self, request: OpenRequest, fs: Fs, life: StoreLife) -> None:
        held = Held(request, fs, self._thread, self._own, self._reclaim)
        self._reopening = Reopening(held, life, self, self._post)
        self._collector = Collector(self._thread.writer, self._options, self._listener.shed)
        self._lodging = Lodging(self.storage, self._thread, self._collector, self._post, self._on_moved)
        self._witness = Witness(self._options.waiting, self._thread.writer.ledger.add)
        self._arm()

    @property
    def away(self) -> bool:
        """No file of the volume is held: it was let go, or was not there at the start."""
        return self._reopening.life.away

    @property
    def thread(self) -> WriterThread:
        """Of the log: for a store that lodges here."""
        return self._thread

    def stand_in(self, host: AsyncStore | None) -> None:
        """While this log takes no commits, `host` writes what comes, and what was not durable. None: nobody does."""
        self._wanted_host = host
        if host is self._host or self.abroad:
            return  # abroad: when all are home again
        if self._host is not None:
            self._host._guests.leave(self)
        self._host = host
        self.reader = self._own
        if host is not None:
            host._guests.enter(self)
            self.reader = JoinedReader(self._own, [host._own], self._clock.utc_us)

    @property
    def abroad(self) -> bool:
        """Another store writes what comes, or some of it."""
        return self._lodging.place is not Place.HOME

    def _on_moved(self, code: str, params: dict[str, object]) -> None:
        self.on_trouble(code, params)
        self.stand_in(self._wanted_host)

    def track(self, spec: TrackSpec, names: Names) -> TrackWriter:
        """The writer of a track: the same object for the same track; new names are recorded."""
        fresh = self._options.first_number is not None and not self._collector.knows(spec.track)
        writer = self._collector.track(spec, names)
        if fresh and self._options.first_number is not None:
            number = writer.state.next_seq = self._options.first_number(spec.track)
            if number:
                now = self._now()
                self._thread.do(lambda log: begins_at(log, spec.track, number, now))
        return writer

    async def read(self, call: Callable[..., T], *args: object) -> T:
        """Run a blocking call of the reader on the volume's read pool. StorageMissing while the volume is away (and
        nobody stands in), StorageStalled when it does not answer."""
        if self._reopening.life.away and self._host is not None:
            return await self._desk.begin(call, *args)  # the other storage's footage is there
        if self._reopening.life.away:
            raise StorageMissing(f"the storage {self.storage!r} does not answer; see /api/v1/storages")
        await self._desk.gate(self._ready)
        return await self._desk.begin(call, *args)

    def read_ahead(self, call: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """As `read`, begun at once and awaited later, or never: then its error is nobody's. Only after a `read`."""
        return self._desk.ahead(call, *args)

    async def flush(self) -> None:
        """Commit now and wait until it is durable (or known not to be: see the listener)."""
        self._tick(commit=True)
        await asyncio.wrap_future(self._thread.flushed())

    async def close(self) -> list[str]:
        """Commit, seal, write the clean stop; returns in words what was not durable (empty: nothing)."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._guests.send_home(self._thread)
        self._collector.end_shedding(self._clock.utc_us())
        self._tick(commit=True)
        while (thread := self._lodging.busy) is not None:
            await asyncio.wrap_future(thread.flushed())
            await asyncio.sleep(0)
        await self._reopening.last_try(self._now())
        if not self._reopening.life.away:
            await asyncio.shield(self._ready)
        now = self._now()
        try:
            lost = await asyncio.wrap_future(self._thread.close(now))
        except Exception as error:
            lost = [f"everything after the writer failed: {error!r}"]
            await self._loop.run_in_executor(self._pool, self._thread.abandon)
        self._reopening.close()
        await self._loop.run_in_executor(self._pool, self._own.close)
        self._collector.release()
        self._witness.closed(lost)
        if self._host is not None:
            self._host._guests.leave(self)
            self._host = None
        self._desk.close()
        return lost

    def limits(
        self, retention_us: int | None, quota_bytes: int | None, cameras: Mapping[uuid.UUID, CameraLimits] | None = None
    ) -> None:
        """Other limits from the next reclaim step on; None = no limit. What is over them then goes, at once when it is
        less than half of what is there."""
        self._options = replace(self._options, retention_us=retention_us, quota_bytes=quota_bytes, limits=cameras or {})
        limits = ReclaimOptions(retention_us, quota_bytes, cameras=cameras or {})
        self._thread.writer.retention = limits.classes
        self._reclaim.limits(limits)

    def stats(self) -> dict[str, int]:
        """Counters since the start; `commit_us` is the duration of the last commit, `commit_max_us` of the longest,
        `held_bytes` not yet durable; `used_bytes`, `free_bytes`, `total_bytes` are a few seconds old and 0 before they
        are known; `retention_us`, `quota_bytes` are the limits, 0 without one. `forecast_kept_us`: how far back footage
        will reach at the present rate, `forecast_full_us`: until the oldest goes before its time (0: not known, or
        never), `forecast_short_cameras`: how many will not be kept as long as their limits say."""
        collector = self._collector
        return {
            **self._counts,
            "retention_us": self._options.retention_us or 0,
            "quota_bytes": self._options.quota_bytes or 0,
            **self._reclaim.figures(self.outlook()),
            "samples": collector.samples,
            "held_bytes": collector.held,
            "shed_samples": collector.shed_samples,
            "shed_bytes": collector.shed_bytes,
            "refused_samples": collector.refused,
            "failed": int(self._thread.writer.failed),
            **self._own.losses(),
            "ledger_pending": self._thread.writer.ledger.pending,
        }

    def outlook(self) -> Outlook:
        """How far back footage of the storage and of each camera will reach at the rate of now."""
        return self._reclaim.outlook({state.spec.track: state.spec.camera for state in self._collector.states()})

    @property
    def tail(self) -> KnownTail | None:
        """What is durable in the present epoch: to be remembered elsewhere, so that an older copy is known as one."""
        return self._thread.writer.newest

    def accept(self) -> None:
        """The disk that is there now is to be used, though it is an older copy of ours."""
        self._reopening.accept()

    @property
    def reclaim(self) -> ReclaimKeeper:
        """Retention of this log: what is held back and why, what would go, and the word that it may."""
        return self._reclaim

    # -- threads of the volume ------------------------------------------------------------------------------------

    def _open_blocking(self, request: OpenRequest, fs: Fs) -> None:
        try:
            log = open_log(fs, request)
        except OSError as error:
            raise StorageError(f"{request.volume}: {error}", path=str(request.volume)) from error
        self.volume_id, self.epoch, self.run = log.identity.volume, log.identity.epoch, log.identity.run
        try:
            self._options = self._options.on_volume(fs.free_bytes(log.root)[1])
            thread = WriterThread(log, request.owner, self._options, self._clock, self, self._post)
            self.reader = self._own = Reader(
                request.volume, request.storage, self._clock.utc_us, fs=fs, live=thread.writer, told=self._found
            )
            thread.start(self._now())
        except OSError as error:
            log.close()
            raise StorageError(f"{request.volume}: {error}", path=str(request.volume)) from error
        self._thread = thread

    def _load_reader(self) -> None:
        """Beside recording: what is on the volume from earlier runs."""
        newest_us = None
        try:
            self._own.refresh()
            newest_us = max((track.last_us for track in self._own.tracks()), default=None)
        except Exception as error:
            self._post(self.on_trouble, "reader-failed", {"text": repr(error)})
        thread = self._thread
        self._reclaim.open(thread.log, thread.writer.ledger, newest_us, thread.writer.sealing)
        thread.writer.use_room(self._reclaim.make_room)
        thread.beside(self._reclaim.repeat_unfinished)
        thread.beside(self._cut_ledger)
        self._post(self._loaded)

    def tidy(self) -> None:
        """Small regular work beside recording: the oldest months of the ledger, when nobody can ask for them."""
        self._thread.beside(self._cut_ledger)

    def _cut_ledger(self) -> None:
        log = self._thread.log
        if self._reopening.life.away or not log.still_there():
            return
        oldest_us = min((track.first_us for track in self._own.tracks()), default=None)
        if oldest_us is None:
            return
        months = cut_months(log.fs, log.ledger_folder, oldest_us - self._options.ledger_us, self.run)
        if months:
            self._post(self.on_trouble, "ledger-cut", {"months": months})

    def _reclaim_step(self) -> None:
        """Never on a disk that was put in the place of ours."""
        if not self._reopening.life.away and self._thread.log.still_there():
            self._reclaim.step()

    def _found(self, code: str, params: dict[str, object]) -> None:
        """On a reading thread: footage that does not verify (or does again), or that is not there any more."""
        if code in (CORRUPT, WHOLE) and params.get("lasting", True):
            body = {key: value for key, value in params.items() if key != "lasting"}
            self._thread.writer.ledger.add(LedgerKind.DAMAGED, self._clock.utc_us(), body)
        self._post(self.on_trouble, code, params)

    def on_sealed(self, path: Path) -> None:
        """On the sealing thread, while the segment is still among the open ones: nothing is invisible in between."""
        if not self._reopening.life.away:
            self._own.sealed(path)

    # -- loop thread ----------------------------------------------------------------------------------------------

    def on_committed(self, info: CommitInfo) -> None:
        self._collector.committed(info)
        self._reclaim.wrote(info)
        counts = self._counts
        counts["commits"] += 1
        counts["commit_us"] = info.duration_us
        counts["commit_max_us"] = max(counts["commit_max_us"], info.duration_us)
        for fact in info.tracks.values():
            counts["committed_samples"] += fact.samples
            counts["committed_bytes"] += fact.bytes
        self._listener.committed(info)
        self._guests.committed(info)

    def on_wrote(self, took_us: int, stated: int) -> None:
        self._witness.wrote(stated)
        self._say(self._health.wrote(self._clock.monotonic_us(), took_us))

    def given_up(self) -> None:
        """`close` did not return in time and the process ends: durable beside the volume is that it was stopped."""
        self._witness.given_up(self._calls.oldest(), self._collector.held, self._thread.next_commit, self._now())

    def _say(self, words: list[Word]) -> None:
        for code, params in words:
            params = {**params, "path": str(self._own.volume)}
            self._witness.word(code, params, self._thread.next_commit, self._now())
            self.on_trouble(code, params)

    def on_trouble(self, code: str, params: dict[str, object]) -> None:
        if code == "reclaimed":
            self._counts["reclaimed_segments"] += 1
        else:
            self._counts["troubles"] += 1
        self._listener.trouble(code, params)
        if code in ("storage-error", "storage-recovered") and "of" not in params:
            what = "fallback-error" if code == "storage-error" else "fallback-recovered"
            self._guests.trouble(what, {"fallback": self.storage, **params})

    def on_away(self) -> None:
        self._ready = self._loop.create_future()
        self.on_trouble("storage-let-go", {"path": str(self._own.volume)})

    def on_not_opened(self, code: str, message: str) -> None:
        self.on_trouble("storage-error", {"reason": code, "message": message, "path": str(self._own.volume)})

    def on_reopened(self, log: LogHandle) -> None:
        self.volume_id, self.epoch = log.identity.volume, log.identity.epoch
        self._thread.beside(self._load_reader)
        if self.reopened is not None:
            self.reopened(self.volume_id, self.epoch)

    def _loaded(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def on_refused(self, track: uuid.UUID, size: int) -> None:
        if self._collector.holds(track, size) or not self._guests.refused(track, size):
            self._collector.drop_refused(track, size)
        self.on_trouble("sample-refused", {"track": str(track), "bytes": size})

    def knows(self, track: uuid.UUID) -> bool:
        return self._collector.knows(track)

    def holds(self, track: uuid.UUID, size: int) -> bool:
        return self._collector.holds(track, size)

    def refused(self, track: uuid.UUID, size: int) -> None:
        self._collector.drop_refused(track, size)

    def on_host_trouble(self, code: str, params: dict[str, object]) -> None:
        self._listener.trouble(code, params)

    def recall(self) -> bool:
        waits = self._lodging.recall(self._now())
        self._tick(commit=False, always=True)
        return waits

    def _post(self, call: Callable[..., object], *args: object) -> None:
        """From any thread: run a call on the loop."""
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            pass  # the loop is closed: nobody is left to be told

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._options.slot_us / 1_000_000, self._on_timer)

    def _on_timer(self) -> None:
        self._arm()
        mono_us = self._clock.monotonic_us()
        self._tick(commit=mono_us - self._last_commit_us >= self._options.commit_us)
        self._say(self._health.look(mono_us, self._calls.oldest()))
        stalled = self._collector.stalled = self._health.stalled
        self._desk.look(stalled)
        if self._reclaim.due(mono_us) and not stalled:
            self._thread.beside(self._reclaim_step)
        now = self._now()
        self._witness.look(now)
        self._reopening.step(now)
        if self._host is not None:
            self._lodge(self._host, now)

    def _lodge(self, host: AsyncStore, now: Now) -> None:
        """Go to the store that stands in, or come home."""
        life, lodging, writer = self._reopening.life, self._lodging, self._thread.writer
        if lodging.place is Place.ABROAD:
            if not life.away and writer.failed and self._reclaim.room[1] >= ROOM_AGAIN_BYTES:
                self._thread.do(lambda writer: forgive(writer, now))
            elif not life.away and not writer.failed:
                lodging.come_home(now)
        elif life.fails_for(now.mono_us) >= self._options.let_go_us and not (host.failing or host.closing):
            lodging.leave(host, now)

    @property
    def failing(self) -> bool:
        """Nothing becomes durable here."""
        return self._reopening.life.failing_since_us is not None

    def _tick(self, *, commit: bool, always: bool = False) -> None:
        """Hand a slot to the writer thread; `always`: an empty one too."""
        now = self._now()
        items = self._collector.slot()
        if commit:
            self._last_commit_us = now.mono_us
        if items or commit or always:
            if self._lodging.place is Place.HOME:
                self._witness.handed(self._collector.notes, self._thread.next_commit, now)
            self._lodging.slot(items, now, commit)

    def _clock_stepped(self, delta_us: int, clock_run: int) -> None:
        self._post(self.on_trouble, "recorder-clock-step", {"delta_us": delta_us, "clock_run": clock_run})
