"""19. The disk is slow and memory fills up.

Elsewhere the recorder was killed by the system, or a full cache stopped recording until somebody restarted it. Ours:
memory has a limit, whole groups are left out and counted, and recording goes on by itself.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from mediadb.aio import AsyncStore, StoreOptions
from mediadb.fs import RealFs
from mediadb.types import State
from tests.time.time_rig import MINUTE, S, World

BYTES = 16 << 10


class Gate(RealFs):
    """A disk whose syncs wait while the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def fdatasync(self, fd: int) -> None:
        assert self.open.wait(60)
        super().fdatasync(fd)


async def test_it_recovers_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, opened = Gate(), AsyncStore.open

    async def with_gate(*args: Any, **more: Any) -> AsyncStore:
        return await opened(*args, **more, fs=gate)

    monkeypatch.setattr(AsyncStore, "open", with_gate)
    options = StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, memory_bytes=BYTES)
    world = await World(tmp_path, options=options).start()
    await world.run(MINUTE)
    gate.open.clear()
    running = asyncio.ensure_future(world.run(S))
    await asyncio.sleep(0)
    for _ in range(4_000):
        world.unit()
        world.clock.advance(S // 2)
        world.media_us += S // 2
        assert world.store is not None
        assert world.store.stats()["held_bytes"] <= BYTES, "memory has a limit"
    gate.open.set()
    await running
    await world.flush()
    await world.run(MINUTE)
    kept = world.served()
    assert kept[-1] == world.sent[-1], "recording goes on, without a restart"
    assert kept == sorted(set(kept))
    shed = world.store.stats()["shed_samples"]
    assert len(world.sent) - len(kept) == shed > 0, "each one left out is counted"
    holes = [
        one for one in world.coverage(world.times[0], world.clock.utc_us() - S) if one.cause.state != State.RECORDED
    ]
    assert [(str(one.cause.state)) for one in holes] == ["overload-shed"]
    assert holes[0].cause.params["samples"] == shed
    await world.stop()
