"""A server over a store with ten seconds of footage of one camera."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from server_scene import Scene, record, scene


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        await record(made.store, "gate")
        yield made
