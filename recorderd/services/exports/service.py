"""Exports as jobs: queued, made beside recording, told of, cancelled, gone on with, and removed when old.

Law: at most `at_once` run, each in a thread of low priority (`work`); the rest waits in the order of asking. A job that
the server's end broke off is queued again at the next start and goes on from what is on disk; a failed one goes on when
told to. Files lie in FOLDER/JOB until they are older than `keep_us` or removed. Built by the composition root, called
by the servers.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from mediadb.aio import AsyncStore
from mediadb.errors import MediaDbError
from mediadb.fs import Fs, RealFs
from recorderd.aio.supervisor import Supervisor
from recorderd.core.clock import Clock
from recorderd.core.errors import RecorderdError
from recorderd.core.timerange import DAY_US
from recorderd.services.exports.order import KIND, ExportOrder
from recorderd.services.exports.work import RESERVE_BYTES, BrokenOff, Meter, Work, lower_priority, run
from recorderd.state.jobs import Job, Jobs, JobState

REPORT_S = 1.0
UPKEEP_S = 3600.0
STOP_S = 2.0

_log = structlog.get_logger("exports")


class ExportConflict(RecorderdError):
    """The job's state, or an earlier request under the same key, does not allow it."""

    code = "conflict"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`keep_us`: how long finished exports stay; `reserve_bytes` are left free on their disk."""

    at_once: int = 2
    keep_us: int = 7 * DAY_US
    reserve_bytes: int = RESERVE_BYTES


class ExportService:
    """`start` once the jobs of the last process are sorted out; `stop` before the stores close."""

    def __init__(
        self, jobs: Jobs, stores: Mapping[str, AsyncStore], clock: Clock, supervisor: Supervisor, folder: Path,
        options: ExportOptions = ExportOptions(), fs: Fs | None = None,
    ) -> None:  # fmt: skip
        self._jobs, self._stores, self._clock, self._folder = jobs, stores, clock, folder
        self._options = options
        self._fs = fs or RealFs()
        self._tree = supervisor.child("exports", together=True)
        self._pool = ThreadPoolExecutor(options.at_once, "export", lower_priority)
        self._files = ThreadPoolExecutor(1, "export-files")
        self._running: dict[uuid.UUID, Meter] = {}
        self._over: dict[uuid.UUID, asyncio.Event] = {}
        self._ends: set[asyncio.Future[Any]] = set()
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()
        self._stopping = False

    async def start(self) -> None:
        """Go on with what the last process left, and take orders."""
        for number in range(self._options.at_once):
            self._tree.restarting(f"worker {number}", self._serve, _again_after_a_second)
        self._tree.restarting("upkeep", self._upkeep, _again_after_a_second)

    async def stop(self) -> None:
        """Break off what runs; it goes on at the next start."""
        self._stopping = True
        for meter in self._running.values():
            meter.stop.set()
        if self._ends:
            await asyncio.wait(self._ends, timeout=STOP_S)
        await self._tree.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._files.shutdown(wait=False)

    # -- what is asked --------------------------------------------------------------------------------------------

    async def submit(self, order: ExportOrder, key: str | None = None) -> Job:
        """A job, or the one made under the same key before. Raises ExportConflict when that asked for another."""
        async with self._asking:
            if key is not None and (known := await self._jobs.find(KIND, key)) is not None:
                if not order.repeats(known.params):
                    raise ExportConflict("this Idempotency-Key was used for another export", job=str(known.id))
                return known
            job = await self._jobs.create(KIND, order.params(), key)
        self._wake.set()
        return job

    async def get(self, job: uuid.UUID) -> Job:
        """Raises NotFoundError."""
        return await self._jobs.get(job)

    async def cancel(self, job: uuid.UUID) -> Job:
        """End it and remove what it wrote; a job that has ended already stays as it is."""
        found = await self._jobs.get(job)
        if found.finished_us is None:
            await self._jobs.cancel(job)
            meter = self._running.get(job)
            found = await self._jobs.get(job)
            if meter is not None:
                meter.stop.set()
            elif found.state is JobState.CANCELLED:  # else it ended in the meantime
                await self._remove_files(job)
        return found

    async def resume(self, job: uuid.UUID) -> Job:
        """Go on with a failed job. Raises ExportConflict for any other."""
        if not await self._jobs.resume(job):
            found = await self._jobs.get(job)
            raise ExportConflict(f"the job is {found.state}; only a failed one can go on", state=str(found.state))
        self._wake.set()
        return await self._jobs.get(job)

    async def remove(self, job: uuid.UUID) -> None:
        """Cancel it if it is open, remove its files and forget it."""
        await self.cancel(job)
        over = self._over.get(job)
        if over is not None:
            await over.wait()
        await self._remove_files(job)
        await self._jobs.remove(job)

    def folder_of(self, job: uuid.UUID) -> Path:
        return self._folder / str(job)

    async def read(self, path: Path, start: int, length: int) -> bytes:
        """Bytes of a finished file. Raises FileNotFoundError when it has expired."""
        return await asyncio.get_running_loop().run_in_executor(self._files, _read, path, start, length)

    # -- the workers ----------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while not self._stopping:
            self._wake.clear()
            waiting = [job for job in await self._jobs.unfinished(KIND) if job.id not in self._running]
            if not waiting:
                await self._wake.wait()
                continue
            await self._make(waiting[0])

    async def _make(self, job: Job) -> None:
        meter = self._running[job.id] = Meter()
        over = self._over[job.id] = asyncio.Event()
        try:
            await self._jobs.start(job.id)
            try:
                end = await self._run(job, meter)
            except Exception as error:  # its progress could not be written: it fails, or is begun again
                end = error
            await self._finish(job, end)
        finally:
            meter.stop.set()
            del self._running[job.id], self._over[job.id]
            over.set()
            self._wake.set()

    async def _run(self, job: Job, meter: Meter) -> dict[str, Any] | BaseException:
        """What came of it."""
        order = ExportOrder.of(job.params)
        try:
            for name in {target.storage for target in order.targets} & set(self._stores):
                await self._stores[name].flush()  # what was recorded up to now is in it
        except MediaDbError as error:
            return error
        readers = {name: store.reader for name, store in self._stores.items()}
        work = Work(order, self.folder_of(job.id), readers, self._fs, meter, self._options.reserve_bytes)
        end = asyncio.get_running_loop().run_in_executor(self._pool, run, work)
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        begun_us = self._clock.monotonic_us()
        try:
            while not (await asyncio.wait([end], timeout=REPORT_S))[0]:
                await self._report(job.id, meter, begun_us)
        except Exception:
            meter.stop.set()
            try:
                await asyncio.wait([end])  # two threads must never write into one folder
            except asyncio.CancelledError:
                end.add_done_callback(partial(_tell_late, job.id))
                raise
            end.exception()  # that it was broken off is nobody's news
            raise
        except asyncio.CancelledError:  # the server stops and waited long enough: the thread ends by itself
            meter.stop.set()
            end.add_done_callback(partial(_tell_late, job.id))
            raise
        failure = end.exception()
        return failure if failure is not None else end.result()

    async def _report(self, job: uuid.UUID, meter: Meter, begun_us: int) -> None:
        total, done = meter.total_bytes, meter.done_bytes
        share = min(0.99, done / total) if total else 0.0
        spent_s = (self._clock.monotonic_us() - begun_us) / 1e6
        left_s = round(spent_s * (1 - share) / share, 1) if share else None
        detail = {"done_bytes": done, "total_bytes": total, "left_s": left_s, "camera": meter.camera}
        await self._jobs.progress(job, share, detail)

    async def _finish(self, job: Job, end: dict[str, Any] | BaseException) -> None:
        if isinstance(end, dict):
            await self._jobs.finish(job.id, end)
        elif isinstance(end, BrokenOff):
            if not self._stopping:
                await self._remove_files(job.id)  # cancelled; the job says so already
            return
        elif isinstance(end, RecorderdError | MediaDbError):
            await self._jobs.fail(job.id, {"code": end.code, "message": end.message, "params": dict(end.params)})
        elif isinstance(end, OSError):
            message = f"{end.filename or self.folder_of(job.id)}: {end.strerror}"
            await self._jobs.fail(job.id, {"code": "os-error", "message": message, "params": {}})
        else:
            _log.error("export-bug", job=str(job.id), error=type(end).__name__, exc_info=end)
            await self._jobs.fail(job.id, {"code": "internal", "message": "a bug was met and logged", "params": {}})
        if (await self._jobs.get(job.id)).state is JobState.CANCELLED:  # in its last moment
            await self._remove_files(job.id)

    # -- upkeep ---------------------------------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        while True:
            await self.purge()
            await asyncio.sleep(UPKEEP_S)

    async def purge(self) -> int:
        """Remove the files of old exports and of those that nobody knows; how many."""
        loop = asyncio.get_running_loop()
        gone = 0
        for name in await loop.run_in_executor(self._files, _names, self._folder):
            job = uuid.UUID(name)
            if job not in self._running and await self._is_old(job):
                await self._remove_files(job)
                gone += 1
        return gone

    async def _is_old(self, job: uuid.UUID) -> bool:
        try:
            found = await self._jobs.get(job)
        except RecorderdError:
            return True
        limit_us = self._clock.utc_us() - self._options.keep_us
        return found.finished_us is not None and (
            found.finished_us < limit_us or found.state is JobState.CANCELLED
        )  # fmt: skip

    async def _remove_files(self, job: uuid.UUID) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._files, lambda: shutil.rmtree(self.folder_of(job), ignore_errors=True))


def _tell_late(job: uuid.UUID, end: asyncio.Future[Any]) -> None:
    """One line for work that failed when nobody waited for it any more: its folder was removed under it, ..."""
    error = None if end.cancelled() else end.exception()
    if error is not None and not isinstance(error, BrokenOff):
        _log.warning("export-ended-late", job=str(job), error=f"{type(error).__name__}: {error}")


def _read(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _names(folder: Path) -> list[str]:
    """Folders that are called like a job."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            found.append(str(uuid.UUID(path.name)))
        except ValueError:
            continue
    return found


def _again_after_a_second() -> Iterator[float]:
    return itertools.repeat(1.0)
