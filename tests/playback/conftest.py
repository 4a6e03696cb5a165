"""An empty volume to film on."""

from __future__ import annotations

from pathlib import Path

import pytest
from film_rig import Film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    return Film(tmp_path / "volume")
