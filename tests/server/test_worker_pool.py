"""The decode pool: children die, hang and babble; only their one request notices."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import DecodePool, PoolOptions, WorkerBusy, WorkerFailed

CHILD = (sys.executable, str(Path(__file__).with_name("decode_child.py")))


@pytest.fixture
async def tree() -> AsyncIterator[Supervisor]:
    async with Supervisor("test") as made:
        yield made


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for is a process of the system
        await asyncio.sleep(0.002)


def pool(tree: Supervisor, **options: object) -> DecodePool:
    return DecodePool(tree, PoolOptions(**({"argv": CHILD, "timeout_s": 20.0} | options)))  # type: ignore[arg-type]


async def test_answers_come_from_one_child_that_stays(tree: Supervisor) -> None:
    made = pool(tree, size=1)
    assert made.pids == ()
    answers = [await made.ask({"do": "echo"}, b"%d" % n) for n in range(3)]
    assert [answer.payload for answer in answers] == [b"0", b"1", b"2"]
    assert {answer.head["pid"] for answer in answers} == set(made.pids)


@pytest.mark.parametrize("how", ["die", "babble"])
async def test_a_child_that_fails_once_costs_nobody_anything(tree: Supervisor, tmp_path: Path, how: str) -> None:
    made = pool(tree, size=1)
    answer = await made.ask({"do": how, "once": str(tmp_path / "done")}, b"picture")
    assert answer.payload == b"picture"
    assert made.stats.children_lost == 1


@pytest.mark.parametrize("how", ["die", "babble"])
async def test_a_request_that_kills_two_children_is_given_up(tree: Supervisor, how: str) -> None:
    made = pool(tree, size=1)
    with pytest.raises(WorkerFailed, match="twice"):
        await made.ask({"do": how})
    assert (await made.ask({"do": "echo"}, b"next")).payload == b"next"
    assert (made.stats.children_lost, made.stats.failed) == (2, 1)


async def test_a_child_that_hangs_is_ended(tree: Supervisor) -> None:
    made = pool(tree, size=1, timeout_s=0.5)
    with pytest.raises(WorkerFailed):
        await made.ask({"do": "hang"})
    await until(lambda: not made.pids)


async def test_children_killed_from_outside_are_replaced(tree: Supervisor) -> None:
    made = pool(tree, size=1)
    first = (await made.ask({"do": "echo"})).head["pid"]
    os.kill(first, signal.SIGKILL)
    second = (await made.ask({"do": "echo"})).head["pid"]
    assert second != first


async def test_the_queue_is_bounded(tree: Supervisor, tmp_path: Path) -> None:
    made = pool(tree, size=1, waiting=2)
    asked = [asyncio.ensure_future(made.ask({"do": "echo"}, b"%d" % n)) for n in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers].count(WorkerBusy) == made.stats.refused == 3
    assert [answer.payload for answer in answers[:2]] == [b"0", b"1"]  # type: ignore[union-attr]


async def test_an_idle_child_is_ended_and_work_starts_another(tree: Supervisor) -> None:
    made = pool(tree, size=1, idle_s=0.01)
    first = (await made.ask({"do": "echo"})).head["pid"]
    await until(lambda: not made.pids)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert (await made.ask({"do": "echo"})).head["pid"] != first


async def test_a_chatty_child_does_not_block(tree: Supervisor) -> None:
    assert (await pool(tree, size=1).ask({"do": "noise"}, b"x")).payload == b"x"


async def test_a_program_that_cannot_be_started_is_said(tree: Supervisor) -> None:
    made = pool(tree, size=1, argv=("/nonexistent/worker",))
    with pytest.raises(WorkerFailed, match="cannot be started"):
        await made.ask({"do": "echo"})


async def test_stopping_answers_those_who_wait() -> None:
    async with Supervisor("stopping") as tree:
        made = pool(tree, size=1)
        waiting = asyncio.ensure_future(made.ask({"do": "hang"}))
        await until(lambda: bool(made.pids))
        await tree.stop()
        with pytest.raises(WorkerFailed, match="stopping"):
            await waiting
