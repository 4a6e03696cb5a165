"""A server over one made-up mount, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from rtsp_stage import Stage, stage


@pytest.fixture
async def served() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made
