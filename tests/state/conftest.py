from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recorderd.state.database import FILE_NAME, StateDb


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[StateDb]:
    database = await StateDb.open(tmp_path / FILE_NAME)
    yield database
    await database.close()
