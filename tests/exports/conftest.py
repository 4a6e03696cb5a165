"""A store with ten seconds of footage of a camera, and exports over it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))
from server_scene import Scene, record, scene

asyncio.set_event_loop(None)  # as in tests/server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        await record(made.store, "gate")
        yield made
