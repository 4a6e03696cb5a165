"""A rig per test: engine, fakes, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from engine_fakes import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.stop()
