"""Child processes with an owner and an end.

Law: a child is started from a fixed argument list, never through a shell; it lives inside an `async with` of
its owner and is ended by its own pid: end of its stdin, SIGTERM, then SIGKILL. What it writes to stderr goes
to the log, bounded. Restarting is the owner's choice through `Supervisor.restarting`. Knows no domain word.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from recorderd.aio.supervisor import Supervisor

PIPE_LIMIT_BYTES = 16 * 2**20
STDERR_LINE_BYTES = 2_000

_log = structlog.get_logger("child")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start. `environment` is added to the parent's; `grace_s` is waited after each stronger request
    to end; `read_stdout` False lets the child share the parent's stdout."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 1.0
    read_stdout: bool = True


class Child:
    """A running child: binary pipes and its exit code."""

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process) -> None:
        self.spec = spec
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.returncode

    @property
    def stdin(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None, "the spec said read_stdout=False"
        return self._process.stdout

    async def wait(self) -> int:
        """The exit code, once it ended."""
        return await self._process.wait()

    async def end(self) -> int:
        """Close stdin, then SIGTERM, then SIGKILL, a grace after each; returns the exit code. Idempotent."""
        if not self.stdin.is_closing():
            self.stdin.close()
        for request in (None, self._process.terminate, self._process.kill):
            try:
                if request is not None and self._process.returncode is None:
                    request()
            except ProcessLookupError:
                pass  # it ended between the look and the signal
            try:
                async with asyncio.timeout(self.spec.grace_s):
                    return await self._process.wait()
            except TimeoutError:
                continue
        return await self._process.wait()

    async def _drain_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(STDERR_LINE_BYTES):
            for line in chunk.decode(errors="replace").splitlines():
                _log.info("child-says", child=self.spec.name, pid=self.pid, line=line)


@asynccontextmanager
async def run_child(spec: ChildSpec) -> AsyncIterator[Child]:
    """Start the child, hand it over, end it on leaving. Raises OSError when it cannot be started."""
    process = await asyncio.create_subprocess_exec(
        *spec.argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if spec.read_stdout else None,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **spec.environment},
        limit=PIPE_LIMIT_BYTES,
        start_new_session=True,  # a terminal's Ctrl-C reaches the parent, which ends its children in order
    )
    child = Child(spec, process)
    async with Supervisor(f"child {spec.name}") as tree:
        stderr = tree.start("stderr", child._drain_stderr())
        try:
            yield child
        finally:
            await asyncio.shield(tree.start("end", child.end()))
            await asyncio.wait([stderr], timeout=spec.grace_s)  # its last words
