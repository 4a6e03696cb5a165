"""The writer thread of a log and the second thread beside it for seals and recovery.

Law: owns threads and queues, decides nothing about content. Commands come from the event loop through one queue, events
go back through one callable (`post`) that hands a call to the loop thread. A bug in a command is told, whoever waits
for that command gets it, and the commands behind it are done all the same: recording goes on.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from mediadb.format.block import Supersedes
from mediadb.locks import LogHandle
from mediadb.write.commits import CommitInfo, StoreOptions
from mediadb.write.handover import attach, begin_without, let_go
from mediadb.write.items import Item, Now
from mediadb.write.recover import LastRun, Recovery
from mediadb.write.segment_chunk import TrackState
from mediadb.write.store import BUG, LogWriter

Post = Callable[..., object]  # post(call, *args): run it on the loop thread
Items = list[tuple[TrackState, Item]]
T = TypeVar("T")


class Ticking(Protocol):
    """The clock: UTC that may step, and a monotonic count."""

    def utc_us(self) -> int: ...
    def monotonic_us(self) -> int: ...


class Bridge(Protocol):
    """Told on the loop thread; only `on_sealed` comes on the sealing thread, while the segment is still an open one."""

    def on_committed(self, info: CommitInfo) -> None: ...
    def on_wrote(self, took_us: int, stated: int) -> None:
        """What waited was written, or failed. What was said before the commit of number `stated` is durable (0: not
        known)."""
        ...

    def on_trouble(self, code: str, params: dict[str, object]) -> None: ...
    def on_refused(self, track: uuid.UUID, size: int) -> None: ...
    def on_sealed(self, path: Path) -> None: ...


class WriterThread:
    """Runs a LogWriter. `start` begins recording at once and recovers older segments beside it."""

    def __init__(
        self, log: LogHandle, server: uuid.UUID, options: StoreOptions, clock: Ticking, bridge: Bridge, post: Post
    ) -> None:
        self.log, self._clock, self._bridge, self._post = log, clock, bridge, post
        name = f"mediadb-{log.storage}"
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-keeper")
        self.writer = LogWriter(log, server, options, self, self.beside)
        self._commands: queue.SimpleQueue[Callable[[], bool]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"{name}-writer", daemon=True)
        self._commit_began_us = 0
        self._asked = self._met = 0  # commits handed over, commits seen by the writer thread
        self._held: Now | None = None  # of a commit that was closed and not written
        self._recovered: deque[LastRun] = deque()  # the keeper's thread puts them in, the writer's takes them out
        self.failure: BaseException | None = None  # the last defect: what its command was to do is not done
        self._bug_told = False  # since something was durable

    def start(self, now: Now) -> None:
        """On any thread that may block. Raises OSError when not even the ledger takes the new run."""
        self.writer.start(now)
        self._thread.start()
        self.beside(self._recover)

    def start_without(self, now: Now) -> None:
        """Begin without a log: see `attach`."""
        begin_without(self.writer, now)
        self._thread.start()

    @property
    def next_commit(self) -> int:
        """The number of the commit that ends the slot handed over next, or a later one."""
        return self._asked + 1

    def slot(self, items: Items, now: Now, commit: bool) -> None:
        """Hand over a slot; with `commit` the commit is closed behind it, and written unless another one waits already:
        what came while the disk was busy is written together. Never blocks."""
        self._asked += commit

        def run() -> bool:
            self._met += commit  # also when `take` fails: later commits are written all the same
            self.writer.take(items, now)
            if commit:
                if self._met < self._asked:
                    self.writer.hold(now)
                    self._held = now
                else:
                    self._commit(now)
            return True

        self._commands.put(run)

    def _commit(self, now: Now) -> None:
        self._held = None
        self._enter_recovered(now)
        self._commit_began_us = self._clock.monotonic_us()
        self.writer.commit(now)
        stated = self._met if self.writer.ledger.safe else 0
        self._post(self._bridge.on_wrote, self._clock.monotonic_us() - self._commit_began_us, stated)

    def flushed(self) -> Future[list[str]]:
        """Done when everything handed over before is durable or known not to be."""
        done: Future[list[str]] = Future()

        def run() -> bool:
            if self._held is not None:
                self._commit(self._held)
            done.set_result([])
            return True

        self._put(run, done)
        return done

    def do(self, call: Callable[[LogWriter], T]) -> Future[T]:
        """Run a call of `write.handover` on the writer, behind everything handed over before."""
        done: Future[T] = Future()

        def run() -> bool:
            done.set_result(call(self.writer))
            return True

        self._put(run, done)
        return done

    def let_go(self) -> Future[list[str]]:
        """Done when no file of the volume is held any more; what was handed over before waits in memory."""
        done: Future[list[str]] = Future()

        def run() -> bool:
            let_go(self.writer)
            self.beside(last)  # behind seals and recovery under way
            return True

        def last() -> None:
            let_go(self.writer)
            self._recovered.clear()  # the log will be recovered again
            done.set_result([])

        self._put(run, done)
        return done

    def attach(self, log: LogHandle, now: Now) -> Future[list[str]]:
        """Go on in a log that was opened again, and recover it beside. With an error (OSError: it takes nothing)
        everything is let go as before."""
        done: Future[list[str]] = Future()

        def run() -> bool:
            try:
                voids = attach(self.writer, log, now)
            except Exception as error:
                let_go(self.writer)
                done.set_exception(error)
                return True
            self.log = log
            self.beside(lambda: self._recover(voids))
            done.set_result([])
            return True

        self._put(run, done)
        return done

    def close(self, now: Now) -> Future[list[str]]:
        """Commit, seal, end both threads. The result names what was not durable."""
        done: Future[list[str]] = Future()

        def run() -> bool:
            self._keeper.shutdown(wait=True)  # seals and recovery under way
            self._enter_recovered(now)
            self._commit_began_us = self._clock.monotonic_us()
            lost = self.writer.close(now)
            if self.failure is not None:
                lost.append(f"what was under way when the writer failed: {self.failure!r}")
            self.log.close()
            done.set_result(lost)
            return False

        self._put(run, done)
        return done

    def abandon(self) -> None:
        """After a failure: end both threads and give the lock back. What was not durable is lost."""
        self._commands.put(lambda: False)
        self._thread.join()
        self._keeper.shutdown(wait=True)
        self.log.close()

    # -- events of the LogWriter, on its threads ------------------------------------------------------------------

    def committed(self, info: CommitInfo) -> None:
        self._bug_told = False
        took_us = self._clock.monotonic_us() - self._commit_began_us
        self._post(self._bridge.on_committed, replace(info, duration_us=took_us))

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self._post(self._bridge.on_trouble, code, params)

    def refused(self, track: uuid.UUID, size: int) -> None:
        self._post(self._bridge.on_refused, track, size)

    def sealed(self, path: Path) -> None:
        self._bridge.on_sealed(path)

    # -- threads --------------------------------------------------------------------------------------------------

    def _put(self, run: Callable[[], bool], done: Future[T]) -> None:
        def guarded() -> bool:
            try:
                return run()
            except BaseException as error:  # whoever waits must not wait for ever
                if not done.done():
                    done.set_exception(error)
                raise

        self._commands.put(guarded)

    def _work(self) -> None:
        going = True
        while going:
            command = self._commands.get()
            try:
                going = command()
            except BaseException as error:  # a bug: nothing is promised until a commit is durable again
                self.failure = error
                self.writer.failed, self.writer.reason = True, BUG
                if not self._bug_told:
                    self._bug_told = True
                    self.trouble("writer-failed", {"reason": BUG, "text": repr(error)})

    def beside(self, job: Callable[[], None]) -> None:
        """Run a blocking job of this volume on the thread of seals and recovery."""

        def run() -> None:
            try:
                job()
            except Exception as error:
                self.trouble("keeper-failed", {"text": repr(error)})

        self._keeper.submit(run)

    def _recover(self, voids: Sequence[Supersedes] = ()) -> None:
        self._recovered.extend(Recovery(self.log, self.trouble, self.sealed, voids).run())

    def _enter_recovered(self, now: Now) -> None:
        while self._recovered:
            self.writer.recovered([self._recovered.popleft()], now)
