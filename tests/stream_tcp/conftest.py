"""A stream API server over ten seconds of footage of one camera."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.server_scene import record
from tests.stream_tcp.stream_scene import StreamScene, stream_scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[StreamScene]:
    async with stream_scene(tmp_path) as made:
        await record(made.store, "gate")
        yield made
