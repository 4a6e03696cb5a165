"""20. One call blocks the event loop.

Elsewhere a slow name lookup or a disk call in the loop stopped every camera, and nobody could say which. Ours: a
watchdog beside the loop names the task and the line, while it still hangs.
"""

from __future__ import annotations

import asyncio
import time

from recorderd.aio.loop_watchdog import Block, LoopWatchdog
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock


def look_up_a_name_the_slow_way() -> None:
    time.sleep(0.4)


async def test_the_guilty_line_is_named() -> None:
    blocks: list[Block] = []
    told = asyncio.Event()

    def on_block(block: Block) -> None:
        blocks.append(block)
        told.set()

    async def media() -> None:
        await asyncio.sleep(0.05)
        look_up_a_name_the_slow_way()

    async def innocent() -> None:
        await asyncio.sleep(30)

    watchdog = LoopWatchdog(SystemClock(), on_block=on_block)
    watchdog.start()
    async with Supervisor("hardware") as tree, asyncio.timeout(30):
        calm = tree.start("gate", innocent())
        tree.start("yard", media())
        while not any("look_up_a_name_the_slow_way" in block.place for block in blocks):
            told.clear()
            await told.wait()
        calm.cancel()
    watchdog.stop()
    guilty = next(block for block in blocks if "look_up_a_name_the_slow_way" in block.place)
    assert guilty.task == "hardware/yard"
    assert guilty.lag_us > 100_000
