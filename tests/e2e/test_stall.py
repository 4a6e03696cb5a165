"""A frozen disk, small: the full form is `make scene S=stall ARGS="--cameras 100 --for 30"`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import disks
from tests.e2e.stall_scene import Plan, play

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.disks]


def test_a_frozen_disk_costs_nothing_within_the_budget_and_whole_gops_beyond(tmp_path: Path) -> None:
    disks.need()
    found = play(tmp_path, Plan(cameras=3, seconds=9))
    assert found.wrong() == [], found.rows()
    assert "stalled" in " ".join(found.watcher.not_ready)
