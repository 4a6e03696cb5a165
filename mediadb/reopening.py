"""Letting a volume go whose log fails, and opening it again by the same checks as at the start.

Law: everything blocking runs on one thread of its own, which may hang as long as the disk does; what follows is posted
to the loop thread, where `step` is called at each slot. Nothing is written to a volume before every check passed: what
is mounted in its place may be another disk, an older copy, or nothing. Used by `mediadb.aio` only.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mediadb.errors import MediaDbError
from mediadb.fs import Fs
from mediadb.locks import LogHandle, OpenRequest, open_log
from mediadb.read.reader import Reader
from mediadb.reclaim.keeper import ReclaimKeeper
from mediadb.store_life import Deed, Phase, StoreLife
from mediadb.write.commits import StoreOptions
from mediadb.write.items import Now
from mediadb.write.writer_thread import WriterThread

UNUSABLE = "storage-unusable"  # the operating system refuses, in its words


def request_of(volume: Path, storage: str, server: uuid.UUID, options: StoreOptions, now_us: int) -> OpenRequest:
    """How the log of a storage is opened."""
    return OpenRequest(
        volume=volume,
        storage=storage,
        owner=server,
        run=options.run or secrets.randbits(63) + 1,
        now_us=now_us,
        create=options.create,
        expected_volume=options.expected_volume,
        known_epoch=options.known_epoch,
        known_tail=options.known_tail,
    )


async def begun(pool: Executor, call: Callable[[], object], undo: Callable[[], object]) -> None:
    """Run `call`, which may hang, on `pool`. When nobody waits for it any more it is undone once it returns."""
    opening = asyncio.get_running_loop().run_in_executor(pool, call)

    def returned(done: asyncio.Future[object]) -> None:
        if not done.cancelled() and done.exception() is None:
            threading.Thread(target=undo, name="mediadb-undo", daemon=True).start()

    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(returned)
        raise


@dataclass(frozen=True, slots=True)
class Held:
    """What an open store holds of its volume. `request`: how it was opened, and is opened again."""

    request: OpenRequest
    fs: Fs
    thread: WriterThread
    reader: Reader
    reclaim: ReclaimKeeper


class Told(Protocol):
    """Told on the loop thread."""

    def on_away(self) -> None:
        """No file of the volume is held any more."""
        ...

    def on_not_opened(self, code: str, message: str) -> None:
        """It could not be opened again; said once per reason."""
        ...

    def on_reopened(self, log: LogHandle) -> None:
        """The log is open again; recovery runs beside."""
        ...


class Reopening:
    """See the module. `post(call, *args)` runs a call on the loop thread."""

    def __init__(self, held: Held, life: StoreLife, told: Told, post: Callable[..., object]) -> None:
        self._held, self._told, self._post = held, told, post
        self.life = life
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"mediadb-{held.request.storage}-open")
        self._refusal = ""
        self.moving: Future[None] | None = None  # the last thing begun on the other thread; never raises

    def step(self, now: Now) -> None:
        """At each slot: note how the writer fares, begin what is due."""
        life, writer = self.life, self._held.thread.writer
        if writer.failed:
            life.fails(now.mono_us, stay=writer.reason in ("no-space", "quota"))
        elif not life.away:
            life.works()
        deed = life.due(now.mono_us)
        if deed is Deed.LET_GO:
            self.moving = self._worker.submit(self._let_go, now)
        elif deed is Deed.OPEN:
            self.moving = self._worker.submit(self._open, now)

    async def settled(self) -> None:
        """Returns when nothing is under way on the other thread."""
        while self.life.phase in (Phase.LEAVING, Phase.OPENING) and self.moving is not None:
            await asyncio.wrap_future(self.moving)
            await asyncio.sleep(0)  # what it posted came before this

    async def last_try(self, now: Now) -> None:
        """Before the end: a volume that was let go is tried once more, for the sake of what waits in memory."""
        await self.settled()
        if self.life.phase is Phase.AWAY:
            self.life.retry_now()
            self.step(now)
            await self.settled()

    def accept(self) -> None:
        """The disk that is there is to be used, though it is older than what we know."""
        self._held = replace(self._held, request=replace(self._held.request, known_epoch=None, known_tail=None))
        self._held.thread.writer.newest = None
        self.life.retry_now()

    def close(self) -> None:
        """Nothing more is begun; never waits for a hung disk."""
        self._worker.shutdown(wait=False)

    # -- on the thread --------------------------------------------------------------------------------------------

    def _let_go(self, now: Now) -> None:
        held = self._held
        thread = held.thread
        for step in (held.reader.shut, lambda: thread.beside(held.reclaim.shut), lambda: thread.let_go().result()):
            try:
                step()
            except Exception as error:  # a defect; what can be let go is, and opening is tried all the same
                thread.trouble("keeper-failed", {"text": repr(error)})
        self._post(self._gone, now)

    def _open(self, now: Now) -> None:
        held = self._held
        try:
            ours = held.thread.writer.newest
            tail = held.request.known_tail if ours is None else ours._replace(pages=None)
            log = open_log(held.fs, replace(held.request, now_us=now.utc_us, known_tail=tail))
            try:
                held.thread.attach(log, now).result()
            except BaseException:
                log.close()
                raise
        except MediaDbError as error:
            self._post(self._refused, error.code, error.message, now)
        except OSError as error:
            self._post(self._refused, UNUSABLE, f"{held.request.volume}: {error}", now)
        except Exception as error:  # a defect: said, and tried again all the same
            self._post(self._refused, UNUSABLE, f"{held.request.volume}: {error!r}", now)
        else:
            try:
                held.reader.reopen()
            except Exception as error:
                held.thread.trouble("reader-failed", {"text": repr(error)})
            self._post(self._opened, log, now)

    # -- on the loop ----------------------------------------------------------------------------------------------

    def _gone(self, now: Now) -> None:
        self.life.gone(now.mono_us)
        self._told.on_away()

    def _refused(self, code: str, message: str, now: Now) -> None:
        self.life.gone(now.mono_us)
        if code != self._refusal:
            self._refusal = code
            self._told.on_not_opened(code, message)

    def _opened(self, log: LogHandle, now: Now) -> None:
        self._refusal = ""
        identity = log.identity
        known = self._held.request
        request = replace(known, create=False, expected_volume=identity.volume, known_epoch=identity.epoch)
        request = replace(request, known_tail=None)
        self._held = replace(self._held, request=request)
        self.life.opened(now.mono_us)
        self._told.on_reopened(log)
