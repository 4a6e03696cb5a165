"""The watchdog measures lag and names the blocker."""

from __future__ import annotations

import asyncio
import time

from recorderd.aio.loop_watchdog import Block, LoopWatchdog
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock


def block_the_loop() -> None:
    time.sleep(0.5)


async def test_names_who_blocked() -> None:
    blocks: list[Block] = []
    told = asyncio.Event()

    def on_block(block: Block) -> None:
        blocks.append(block)
        told.set()

    async def guilty() -> None:
        await asyncio.sleep(0.1)
        block_the_loop()

    watchdog = LoopWatchdog(SystemClock(), on_block=on_block)
    watchdog.start()
    async with Supervisor("test") as tree:
        tree.start("guilty", guilty())
        async with asyncio.timeout(30):
            while not any("block_the_loop" in block.place for block in blocks):
                told.clear()
                await told.wait()
    watchdog.stop()
    named = next(block for block in blocks if "block_the_loop" in block.place)
    assert named.task == "test/guilty"
    assert named.lag_us > 100_000
    assert any("guilty" in line for line in named.stack)
    lag = watchdog.lag()
    assert lag.blocks >= 1
    assert lag.max_us >= named.lag_us
    assert 0 < lag.p50_us <= lag.p99_us <= lag.max_us


async def test_load_grows_with_work() -> None:
    watchdog = LoopWatchdog(SystemClock(), threshold_us=10_000_000)
    watchdog.start()
    async with asyncio.timeout(60):
        while watchdog.beats() < 4:  # noqa: ASYNC110 - beats have no event
            await asyncio.sleep(0.01)
        calm = watchdog.load()
        while watchdog.load() < calm + 0.2:
            sum(range(20_000))
            await asyncio.sleep(0)
    watchdog.stop()
    beats = watchdog.beats()
    await asyncio.sleep(0.1)
    assert watchdog.beats() == beats
