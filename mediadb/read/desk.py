"""Blocking reads asked for by the event loop: a few threads, and an answer in bounded time though a disk hangs.

Law: knows asyncio and threads, nothing of what is read. As long as the disk answers a read takes as long as it takes.
While it is stalled whoever waited too long gets StorageStalled, what has not begun is begun on as many spare threads
(memory and cached pages can still be read), and beyond these nothing is begun: hung threads do not grow in number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mediadb.errors import StorageStalled

T = TypeVar("T")
READ_THREADS = 4
PATIENCE_US = 5_000_000
Post = Callable[..., object]  # post(call, *args), from any thread: run it on the loop


@dataclass(slots=True, eq=False)
class _Asked(Generic[T]):
    """One read. `spare`: it was given to the spare threads."""

    call: Callable[..., T]
    args: tuple[object, ...]
    answer: asyncio.Future[T]
    began_us: int
    inner: Future[T] | None = None
    spare: bool = False


class ReadDesk:
    """Loop thread only. `stalled(...)` at each slot."""

    def __init__(self, storage: str, now_us: Callable[[], int], post: Post) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage, self._now_us, self._post = storage, now_us, post
        self._name = f"mediadb-{storage}-read"
        self.pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix=self._name)
        self._spare: ThreadPoolExecutor | None = None
        self._waiting: dict[_Asked[Any], None] = {}
        self._hung = 0  # spare threads whose asker was told not to wait
        self._stalled = False

    def begin(self, call: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Run `call` on a thread. The answer raises what `call` raises, or StorageStalled."""
        asked = _Asked(call, args, self._loop.create_future(), self._now_us())
        if self._stalled and self._hung >= READ_THREADS:
            asked.answer.set_exception(self._error())
            return asked.answer
        self._waiting[asked] = None
        asked.answer.add_done_callback(lambda _: self._left(asked))
        self._submit(asked, spare=self._stalled)
        return asked.answer

    def ahead(self, call: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """As `begin`, for an answer that perhaps nobody waits for: then an error is no fault of the loop."""
        answer = self.begin(call, *args)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    async def gate(self, opened: asyncio.Future[None]) -> None:
        """Wait until reading may begin. Raises StorageStalled."""
        if opened.done():
            return
        asked: _Asked[None] = _Asked(lambda: None, (), self._loop.create_future(), self._now_us())
        self._waiting[asked] = None
        asked.answer.add_done_callback(lambda _: self._left(asked))
        opened.add_done_callback(lambda _: self._open(asked))
        await asked.answer

    def look(self, stalled: bool) -> None:
        """Does the disk answer now?"""
        if stalled and not self._stalled:
            self._stalled = True
            for asked in list(self._waiting):
                if asked.inner is not None and asked.inner.cancel():  # it had not begun
                    self._submit(asked, spare=True)
        self._stalled = stalled
        if stalled:
            limit_us = self._now_us() - PATIENCE_US
            for asked in [asked for asked in self._waiting if asked.began_us <= limit_us]:
                self._give_up(asked)

    def close(self) -> None:
        """No thread is waited for, on the loop least of all: whoever hangs is left to himself."""
        for pool in filter(None, (self.pool, self._spare)):
            pool.shutdown(wait=False)

    def _submit(self, asked: _Asked[T], *, spare: bool) -> None:
        pool = self.pool
        if spare:
            if self._spare is None:
                self._spare = ThreadPoolExecutor(READ_THREADS, thread_name_prefix=f"{self._name}-spare")
            pool = self._spare
        asked.spare = spare
        asked.inner = inner = pool.submit(asked.call, *asked.args)
        inner.add_done_callback(lambda done: self._post(self._done, asked, done))

    def _give_up(self, asked: _Asked[T]) -> None:
        begun = asked.inner is not None and not asked.inner.cancel()
        if begun and asked.spare and asked.inner is not None and not asked.inner.done():
            self._hung += 1
            asked.inner.add_done_callback(lambda _: self._post(self._back))
        if not asked.answer.done():
            asked.answer.set_exception(self._error())
        self._waiting.pop(asked, None)

    def _back(self) -> None:
        """A spare thread returned after all."""
        self._hung -= 1

    def _done(self, asked: _Asked[T], inner: Future[T]) -> None:
        if asked.answer.done() or inner is not asked.inner or inner.cancelled():
            return  # nobody waits any more, or it was begun elsewhere
        error = inner.exception()
        if error is not None:
            asked.answer.set_exception(error)
        else:
            asked.answer.set_result(inner.result())

    def _open(self, asked: _Asked[None]) -> None:
        if not asked.answer.done():
            asked.answer.set_result(None)

    def _left(self, asked: _Asked[T]) -> None:
        """Answered, or whoever asked does not wait any more."""
        self._waiting.pop(asked, None)
        if asked.answer.cancelled() and asked.inner is not None:
            asked.inner.cancel()

    def _error(self) -> StorageStalled:
        return StorageStalled(
            f"the storage {self._storage!r} does not answer; see /api/v1/storages", storage=self._storage
        )
