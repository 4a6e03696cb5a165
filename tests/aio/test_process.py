"""Children are started, spoken to, and ended by their own pid."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from recorderd.aio.process import ChildSpec, run_child
from recorderd.aio.supervisor import Supervisor


def python(name: str, code: str, grace_s: float = 10.0) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", code), {"RECORDERD_TEST": "yes"}, grace_s=grace_s)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_pipes_environment_and_end_by_stdin() -> None:
    code = "import sys, os; [print(os.environ['RECORDERD_TEST'], line, end='', flush=True) for line in sys.stdin]"
    async with run_child(python("echo", code)) as child:
        child.stdin.write(b"hello\n")
        assert await child.stdout.readline() == b"yes hello\n"
        pid = child.pid
    assert child.returncode == 0
    assert not alive(pid)


async def test_a_child_that_ignores_everything_is_killed() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    async with run_child(python("deaf", code, grace_s=0.2)) as child:
        assert await child.stdout.readline() == b"up\n"
        pid = child.pid
    assert child.returncode == -9
    assert not alive(pid)


async def test_cancelling_the_owner_ends_the_child() -> None:
    pids: list[int] = []
    up = asyncio.Event()

    async def owner() -> None:
        async with run_child(python("child", "import sys; sys.stdin.read()")) as child:
            pids.append(child.pid)
            up.set()
            await child.wait()

    async with Supervisor("test") as tree:
        task = tree.start("owner", owner())
        await up.wait()
        assert await tree.stop(30) == []
    assert task.cancelled()
    assert not alive(pids[0])


async def test_stderr_goes_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async with run_child(python("loud", "import sys; print('careful now', file=sys.stderr)")) as child:
        assert await child.wait() == 0
    assert "careful now" in (seen := capsys.readouterr().out)
    assert "loud" in seen


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        async with run_child(ChildSpec("none", ("/no/such/program",))):
            pass
