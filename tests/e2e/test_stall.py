"""A frozen disk, small: the full form is `make scene S=stall ARGS="--cameras 100 --for 30"`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import disks
from tests.e2e.stall_scene import Plan, play, play_stop

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.disks]


def test_a_frozen_disk_costs_nothing_within_the_budget_and_whole_gops_beyond(tmp_path: Path) -> None:
    disks.need()
    found = play(tmp_path, Plan(cameras=3, seconds=9))
    assert found.wrong() == [], found.rows()
    assert "stalled" in " ".join(found.watcher.not_ready)


def test_a_stop_while_the_disk_does_not_answer_ends_in_time_and_names_what_is_not_durable(tmp_path: Path) -> None:
    disks.need()
    status, took_s, log = play_stop(tmp_path)
    assert status == 1
    assert took_s < 9
    (line,) = [line for line in log.splitlines() if '"event": "not-durable"' in line]
    assert "storage main: did not answer" in line
    assert "bytes that it held" in line
