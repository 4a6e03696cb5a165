"""A small volume filled over and over: nothing acknowledged is missing but by a rule, the limit holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.disks import MIB, need
from tests.e2e.turnovers_scene import Plan, play

pytestmark = [pytest.mark.disks, pytest.mark.e2e, pytest.mark.alone]


def test_fifty_turnovers(tmp_path: Path) -> None:
    need()
    found = play(Plan(turnovers=50, size=64 * MIB, classes=2), tmp_path)
    assert found.wrong == []
    assert found.turnovers >= 50
    assert found.reclaimed["space"] > 300
    assert found.reclaimed["age (tracks)"] > 300


def test_within_a_limit_of_size_and_beside_an_outsider(tmp_path: Path) -> None:
    need()
    found = play(Plan(turnovers=5, size=128 * MIB, limit_bytes=64 * MIB, outsider=1), tmp_path)
    assert found.wrong == []
    assert found.most_used <= 64 * MIB
    assert found.reclaimed["size"] > 20
    assert len(found.resumed_s) == 1
