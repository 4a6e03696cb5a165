"""Storages that fall ill in four ways at the same time, and a healthy one; each for itself and longer: `make scene
S=failing-disk` and its neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import disks
from tests.e2e.illness import Failing, Plan, ReadOnly, Slow, ThinFull, play

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.disks]


def test_what_sick_disks_cannot_take_waits_and_all_come_back_by_themselves(tmp_path: Path) -> None:
    disks.need()
    illnesses = [Failing(), ReadOnly(), ThinFull(), Slow()]
    found = play(tmp_path, illnesses, Plan(cameras=1))
    assert found.wrong(illnesses) == [], found.rows()
    assert {"storage-error", "storage-slow", "storage-recovered"} <= set(found.events)
