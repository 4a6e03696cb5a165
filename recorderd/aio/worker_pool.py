"""A few decode workers as child processes, so that decoding can crash, hang or leak without touching recording.

Law: bytes to a child, bytes back; nothing here decodes. A child is started when work comes and ended when it was idle
for a while; one that dies, babbles or takes too long is ended, and only the request it held is repeated, once, on a
fresh child. Work waits in one bounded queue; beyond it callers are told `busy` at once. Called by the servers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from recorderd.aio.process import Child, ChildSpec, run_child
from recorderd.aio.supervisor import Supervisor
from recorderd.core.errors import UnavailableError
from recorderd.media.pipe import PipeDecoder, PipeError, PipeMessage, encode_pipe_message

DECODE_WORKER = (sys.executable, "-m", "recorderd.workers.decode")
_READ_BYTES = 256 * 1024
_RESTART_S = 1.0
_STOPPING = "the server is stopping"


class WorkerBusy(UnavailableError):
    """More work waits than the pool takes on."""

    code: ClassVar[str] = "busy"


class WorkerFailed(UnavailableError):
    """Two children in a row died or gave up on this request, or the worker refused it."""

    code: ClassVar[str] = "decode-failed"


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """`size` children at most; `waiting` requests beyond those being served; `timeout_s` for one request on one
    child, start of the child included; a child is ended after `idle_s` without work."""

    size: int = 2
    waiting: int = 32
    timeout_s: float = 10.0
    idle_s: float = 60.0
    argv: tuple[str, ...] = DECODE_WORKER


@dataclass(slots=True)
class _Job:
    head: Mapping[str, Any]
    payload: bytes
    answer: asyncio.Future[PipeMessage]
    tries: int = 0


@dataclass(slots=True)
class PoolStats:
    """Counters since start."""

    served: int = 0
    failed: int = 0
    refused: int = 0
    children_lost: int = 0
    pids: set[int] = field(default_factory=set)


class DecodePool:
    """`await pool.ask(head, payload)`: one request, one answer, in any order between callers."""

    def __init__(self, supervisor: Supervisor, options: PoolOptions | None = None) -> None:
        self._options = options or PoolOptions()
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(self._options.waiting)
        self._unanswered: set[asyncio.Future[PipeMessage]] = set()
        self._stopped = False
        self.stats = PoolStats()
        tree = supervisor.child("decode workers", together=True)
        for number in range(self._options.size):
            tree.restarting(f"decode {number}", self._serve_until_stopped, _restart_delays)

    @property
    def pids(self) -> tuple[int, ...]:
        """The children alive now."""
        return tuple(self.stats.pids)

    async def ask(self, head: Mapping[str, Any], payload: bytes = b"") -> PipeMessage:
        """Give one request to a child and wait for its answer. Raises WorkerBusy when the queue is full and
        WorkerFailed when two children failed on it."""
        if self._stopped:
            raise WorkerFailed(_STOPPING)
        job = _Job(head, payload, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            self.stats.refused += 1
            raise WorkerBusy("too many pictures are being decoded; retry shortly") from None
        self._unanswered.add(job.answer)
        try:
            return await job.answer
        finally:
            self._unanswered.discard(job.answer)

    async def _serve_until_stopped(self) -> None:
        try:
            await self._serve()
        except asyncio.CancelledError:
            self._stopped = True
            for answer in self._unanswered:
                if not answer.done():
                    answer.set_exception(WorkerFailed(_STOPPING))
            raise

    async def _serve(self) -> None:
        """Wait for work, then keep one child on it until it fails or nothing came for a while."""
        again: _Job | None = None
        while True:
            job = again or await self._queue.get()
            again = None
            if job.answer.done():  # its caller has gone
                continue
            try:
                again = await self._with_child(job)
            except OSError as error:
                self._failed(job, f"the decode worker cannot be started: {error}")

    async def _with_child(self, job: _Job) -> _Job | None:
        """Start a child and work with it; it has ended when this returns."""
        pid = 0
        try:
            async with run_child(ChildSpec("decode", self._options.argv, grace_s=0.2)) as child:
                pid = child.pid
                self.stats.pids.add(pid)
                return await self._work(child, job)
        finally:
            self.stats.pids.discard(pid)

    async def _work(self, child: Child, first: _Job) -> _Job | None:
        """Serve jobs on this child; returns a job that must be repeated on a fresh one, or None when idle."""
        decoder = PipeDecoder()
        job = first
        while True:
            if not job.answer.done():
                try:
                    async with asyncio.timeout(self._options.timeout_s):
                        answer = await self._exchange(child, decoder, job)
                except (OSError, PipeError, EOFError, TimeoutError) as error:
                    return self._lost(job, error)
                self.stats.served += 1
                if not job.answer.done():
                    job.answer.set_result(answer)
            try:
                async with asyncio.timeout(self._options.idle_s):
                    job = await self._queue.get()
            except TimeoutError:
                return None

    async def _exchange(self, child: Child, decoder: PipeDecoder, job: _Job) -> PipeMessage:
        child.stdin.write(encode_pipe_message(job.head, job.payload))
        await child.stdin.drain()
        while True:
            data = await child.stdout.read(_READ_BYTES)
            if not data:
                raise EOFError("the decode worker ended")
            for message in decoder.feed(data):
                return message

    def _lost(self, job: _Job, error: Exception) -> _Job | None:
        """Count a failed child; the job goes again once."""
        self.stats.children_lost += 1
        job.tries += 1
        if job.tries < 2:
            return job
        self._failed(job, f"the decode worker failed twice on this picture: {type(error).__name__}")
        return None

    def _failed(self, job: _Job, message: str) -> None:
        self.stats.failed += 1
        if not job.answer.done():
            job.answer.set_exception(WorkerFailed(message))


def _restart_delays() -> Iterator[float]:
    while True:
        yield _RESTART_S
