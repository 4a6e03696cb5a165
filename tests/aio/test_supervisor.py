"""Tasks have a name, an owner and an end."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from recorderd.aio.supervisor import Supervisor

pytestmark = pytest.mark.fast


async def for_ever(log: list[str] | None = None, name: str = "") -> None:
    try:
        await asyncio.Event().wait()
    finally:
        if log is not None:
            log.append(name)


async def fails() -> None:
    raise ValueError("broken")


async def test_tasks_are_named_by_their_path() -> None:
    async with Supervisor("root") as root:
        task = root.child("engine").start("camera", for_ever())
        assert task.get_name() == "root/engine/camera"
        assert root.census() == 1
        assert [child.name for child in root.children] == ["engine"]
    assert task.cancelled()
    assert root.census() == 0


async def test_ends_in_reverse_order_of_starting() -> None:
    log: list[str] = []
    root = Supervisor("root")
    root.start("a", for_ever(log, "a"))
    child = root.child("b")
    child.start("b1", for_ever(log, "b1"))
    child.start("b2", for_ever(log, "b2"))
    root.start("c", for_ever(log, "c"))
    await asyncio.sleep(0)
    assert await root.stop() == []
    assert log == ["c", "b2", "b1", "a"]


async def test_unexpected_failure_is_reported_once_by_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, BaseException]] = []
    far: list[str] = []
    async with Supervisor("root", report=lambda name, _: far.append(name)) as root:
        near = root.child("near", report=lambda name, error: seen.append((name, error)))
        near.start("work", fails())
        root.start("other", fails())
        for _ in range(3):
            await asyncio.sleep(0)
    assert [name for name, _ in seen] == ["root/near/work"]
    assert far == ["root/other"]
    out = capsys.readouterr().out
    assert out.count("task-failed") == 2
    assert out.count("Traceback") == 2


async def test_a_failure_ends_nobody_else() -> None:
    async with Supervisor("root") as root:
        good = root.start("good", for_ever())
        root.start("bad", fails())
        await asyncio.sleep(0.01)
        assert not good.done()
        assert root.tasks == (good,)


@pytest.mark.looptime
async def test_stubborn_task_is_named_after_the_deadline(capsys: pytest.CaptureFixture[str]) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    root = Supervisor("root")
    other = root.start("other", for_ever())
    task = root.start("stubborn", stubborn())
    await asyncio.sleep(0)
    start = asyncio.get_running_loop().time()
    assert await root.stop(2.0) == ["root/stubborn"]
    assert asyncio.get_running_loop().time() - start == pytest.approx(2.0)
    assert "test_supervisor.py" in capsys.readouterr().out
    assert other.cancelled() or other.cancelling()
    release.set()
    await task


@pytest.mark.looptime
async def test_together_shares_the_deadline() -> None:
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1.0)

    root = Supervisor("root", together=True)
    for number in range(20):
        root.child(str(number)).start("slow", slow())
    await asyncio.sleep(0)
    start = asyncio.get_running_loop().time()
    assert await root.stop(1.5) == []
    assert asyncio.get_running_loop().time() - start == pytest.approx(1.0)


@pytest.mark.looptime
async def test_restarting_backs_off_and_begins_anew_after_a_steady_life() -> None:
    lives = [0.0, 0.0, 100.0, 0.0]
    born: list[float] = []
    loop = asyncio.get_running_loop()

    async def work() -> None:
        born.append(loop.time())
        await asyncio.sleep(lives[len(born) - 1])
        raise ValueError("again")

    async with Supervisor("root") as root:
        root.restarting("work", work, lambda: itertools.chain([1.0, 10.0], itertools.repeat(60.0)))
        await asyncio.sleep(113)
    assert [round(time - born[0], 3) for time in born] == [0.0, 1.0, 11.0, 112.0]


async def test_nothing_starts_while_stopping() -> None:
    root = Supervisor("root")
    await root.stop()
    with pytest.raises(RuntimeError, match="stopping"):
        root.start("late", for_ever())
    with pytest.raises(RuntimeError, match="stopping"):
        root.child("late")


async def test_a_task_may_stop_its_own_tree() -> None:
    root = Supervisor("root")
    other = root.start("other", for_ever())

    async def stop_all() -> list[str]:
        return await root.stop()

    assert await root.start("stopper", stop_all()) == []
    assert other.cancelled()
