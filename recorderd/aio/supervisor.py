"""Tasks with a name, an owner and an end.

Law: the only place of the daemon that creates asyncio tasks. A Supervisor owns tasks and sub-trees, reports
each unexpected end exactly once with its traceback, and ends everything in the reverse order of starting. It
knows no domain word. Called by everything above `aio` that runs beside its caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger("supervisor")

STOP_TIMEOUT_S = 5.0
STEADY_AFTER_S = 60.0  # a restarting task that lived this long starts its back-off anew

Reporter = Callable[[str, BaseException], None]
Factory = Callable[[], Coroutine[Any, Any, None]]


class Supervisor:
    """A node of the task tree. `report(path, error)` hears of each unexpected failure below it (default: the
    parent's reporter); the log hears of it in any case. `together` ends all members at once instead of one
    after the other, for members that do not build on each other."""

    def __init__(self, name: str, *, report: Reporter | None = None, together: bool = False) -> None:
        self.name = name
        self._report = report
        self._together = together
        self._members: dict[asyncio.Task[Any] | Supervisor, None] = {}
        self._parent: Supervisor | None = None
        self._stopping = False

    @property
    def children(self) -> tuple[Supervisor, ...]:
        """The sub-trees, oldest first."""
        return tuple(member for member in self._members if isinstance(member, Supervisor))

    @property
    def tasks(self) -> tuple[asyncio.Task[Any], ...]:
        """The tasks that this node itself owns and that have not ended, oldest first."""
        return tuple(member for member in self._members if isinstance(member, asyncio.Task))

    @property
    def path(self) -> str:
        """Names from the root down, e.g. 'daemon/engine/hardware gate'."""
        return self.name if self._parent is None else f"{self._parent.path}/{self.name}"

    def census(self) -> int:
        """How many tasks are alive in this tree."""
        return len(self.tasks) + sum(child.census() for child in self.children)

    def child(self, name: str, *, report: Reporter | None = None, together: bool = False) -> Supervisor:
        """A sub-tree that ends with this node at the latest."""
        self._refuse_when_stopping(name)
        node = Supervisor(name, report=report, together=together)
        node._parent = self
        self._members[node] = None
        return node

    def start(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as an owned task. Returning is a normal end; raising is reported once, no restart."""
        try:
            self._refuse_when_stopping(name)
        except RuntimeError:
            work.close()
            raise
        task = asyncio.get_running_loop().create_task(work, name=f"{self.path}/{name}")
        self._members[task] = None
        task.add_done_callback(self._ended)
        return task

    def restarting(self, name: str, factory: Factory, delays: Callable[[], Iterator[float]]) -> asyncio.Task[None]:
        """Keep `factory()` running: after it raises (reported) or returns, wait and start it again. `delays`
        makes an endless iterator of seconds; it is made anew after a life of STEADY_AFTER_S."""
        return self.start(name, self._keep_running(name, factory, delays))

    async def stop(self, timeout: float = STOP_TIMEOUT_S) -> list[str]:
        """End every member in reverse order of starting within `timeout` seconds altogether; returns the
        names of tasks that ignored it (they are logged with the line where they hang). Idempotent."""
        self._stopping = True
        deadline = asyncio.get_running_loop().time() + timeout
        stubborn: list[str] = []
        if self._together:
            ends = [self._end(member, deadline) for member in reversed(self._members)]
            for names in await asyncio.gather(*ends):
                stubborn += names
        else:
            while self._members:
                stubborn += await self._end(next(reversed(self._members)), deadline)
        if self._parent is not None:
            self._parent._members.pop(self, None)
        return stubborn

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _refuse_when_stopping(self, name: str) -> None:
        if self._stopping:
            raise RuntimeError(f"{self.path} is stopping and starts nothing new ({name})")

    async def _end(self, member: asyncio.Task[Any] | Supervisor, deadline: float) -> list[str]:
        """Cancel one member and wait for it until the deadline; forget it either way."""
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        if isinstance(member, Supervisor):
            stubborn = await member.stop(left)
            self._members.pop(member, None)
            return stubborn
        if member is asyncio.current_task():
            self._members.pop(member, None)  # a task that stops its own tree ends by itself
            return []
        member.cancel()
        _, pending = await asyncio.wait([member], timeout=left)
        self._members.pop(member, None)
        if not pending:
            return []
        where = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in member.get_stack(limit=4)]
        _log.error("task-ignores-cancellation", task=member.get_name(), where=where)
        return [member.get_name()]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._members.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._failed(task.get_name(), error)

    def _failed(self, name: str, error: BaseException) -> None:
        _log.error("task-failed", task=name, error=str(error), exc_info=error)
        node: Supervisor | None = self
        while node is not None:
            if node._report is not None:
                node._report(name, error)
                return
            node = node._parent

    async def _keep_running(self, name: str, factory: Factory, delays: Callable[[], Iterator[float]]) -> None:
        loop = asyncio.get_running_loop()
        waits = delays()
        while True:
            born = loop.time()
            try:
                await factory()
            except Exception as error:
                self._failed(f"{self.path}/{name}", error)
            if loop.time() - born >= STEADY_AFTER_S:
                waits = delays()
            await asyncio.sleep(next(waits))
