"""Reads of a disk that hangs: an answer in bounded time, no more hung threads than a few, memory is still read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from mediadb.errors import StorageStalled
from mediadb.read.desk import PATIENCE_US, READ_THREADS, ReadDesk


class Scene:
    """A desk whose clock is set by hand, and reads that hang until told."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now_us = 0
        self.desk = ReadDesk("main", lambda: self.now_us, loop.call_soon_threadsafe)
        self.go = threading.Event()
        self.hanging = 0
        self._lock = threading.Lock()

    def hang(self) -> str:
        with self._lock:
            self.hanging += 1
        self.go.wait(120)
        return "late"

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def end(self) -> None:
        self.go.set()
        self.desk.look(False)
        self.desk.close()


@pytest.fixture
async def scene():  # type: ignore[no-untyped-def]
    made = Scene()
    yield made
    made.end()


async def test_a_disk_that_answers_may_take_its_time(scene: Scene) -> None:
    slow = scene.desk.begin(scene.hang)
    await scene.until(lambda: scene.hanging == 1)
    scene.now_us = 100 * PATIENCE_US
    scene.desk.look(False)
    assert not slow.done()
    scene.go.set()
    assert await slow == "late"
    assert await scene.desk.begin(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await scene.desk.begin(divmod, 7, 0)


async def test_in_a_stall_hung_reads_are_answered_and_others_go_on(scene: Scene) -> None:
    hung = [scene.desk.begin(scene.hang) for _ in range(READ_THREADS)]
    await scene.until(lambda: scene.hanging == READ_THREADS)
    cached = [scene.desk.begin(pow, 2, n) for n in range(20)]
    scene.now_us = PATIENCE_US - 1
    scene.desk.look(True)
    assert await asyncio.gather(*cached) == [2**n for n in range(20)], "behind the hung ones, and answered"
    assert not any(one.done() for one in hung)
    scene.now_us += 1
    scene.desk.look(True)
    for one in hung:
        with pytest.raises(StorageStalled, match="does not answer"):
            await one
    assert await scene.desk.begin(pow, 3, 3) == 27
    scene.go.set()
    scene.desk.look(False)
    assert await scene.desk.begin(pow, 3, 3) == 27


async def test_hung_threads_do_not_grow_in_number(scene: Scene) -> None:
    first = [scene.desk.begin(scene.hang) for _ in range(READ_THREADS)]
    await scene.until(lambda: scene.hanging == READ_THREADS)
    scene.desk.look(True)
    more = [scene.desk.begin(scene.hang) for _ in range(40)]
    await scene.until(lambda: scene.hanging == 2 * READ_THREADS)
    scene.now_us = PATIENCE_US
    scene.desk.look(True)
    answers = await asyncio.gather(*first, *more, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StorageStalled}
    before = threading.active_count()
    for _ in range(100):
        with pytest.raises(StorageStalled):
            await scene.desk.begin(scene.hang)
    assert threading.active_count() == before
    assert scene.hanging == 2 * READ_THREADS
    scene.go.set()
    scene.desk.look(False)
    assert await scene.desk.begin(pow, 2, 5) == 32


async def test_spare_threads_that_came_back_are_used_in_the_next_stall(scene: Scene) -> None:
    scene.desk.look(True)
    for round_ in (1, 2):
        hung = [scene.desk.begin(scene.hang) for _ in range(READ_THREADS)]
        await scene.until(lambda round_=round_: scene.hanging == round_ * READ_THREADS)  # type: ignore[misc]
        scene.now_us += PATIENCE_US
        scene.desk.look(True)
        assert {type(answer) for answer in await asyncio.gather(*hung, return_exceptions=True)} == {StorageStalled}
        scene.go.set()
        await scene.until(lambda: scene.desk._hung == 0)
        scene.go.clear()


async def test_whoever_leaves_is_not_read_for(scene: Scene) -> None:
    hung = [scene.desk.begin(scene.hang) for _ in range(READ_THREADS)]
    await scene.until(lambda: scene.hanging == READ_THREADS)
    ran: list[int] = []
    left = scene.desk.begin(ran.append, 1)
    left.cancel()
    await asyncio.sleep(0)
    scene.go.set()
    await asyncio.gather(*hung)
    await scene.desk.begin(int)
    assert ran == []


async def test_waiting_for_the_first_look_at_the_volume_is_bounded_too(scene: Scene) -> None:
    opened = asyncio.get_running_loop().create_future()
    gate = asyncio.ensure_future(scene.desk.gate(opened))
    await asyncio.sleep(0)
    scene.now_us = PATIENCE_US
    scene.desk.look(True)
    with pytest.raises(StorageStalled):
        await gate
    opened.set_result(None)
    await scene.desk.gate(opened)
