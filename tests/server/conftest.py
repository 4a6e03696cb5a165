"""A server over a store with ten seconds of footage of one camera."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from server_scene import Scene, record, scene

# The looptime plug-in asks the policy for a loop around every test, synchronous ones too, and Python 3.11 would make
# one that nobody closes. With "none" said once, it is told that there is none.
asyncio.set_event_loop(None)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        await record(made.store, "gate")
        yield made
