"""A frozen disk, small: the full form is `make scene S=stall ARGS="--cameras 100 --for 30"`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import disks
from tests.e2e.stall_scene import Plan, play, play_end

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.disks]


def test_a_frozen_disk_costs_nothing_within_the_budget_and_whole_gops_beyond(tmp_path: Path) -> None:
    disks.need()
    found = play(tmp_path, Plan(cameras=3, seconds=9))
    assert found.wrong() == [], found.rows()
    assert "stalled" in " ".join(found.watcher.not_ready)


def test_a_stop_while_the_disk_does_not_answer_ends_in_time_and_names_what_is_not_durable(tmp_path: Path) -> None:
    disks.need()
    ended = play_end(tmp_path, 6)
    assert ended.status == 1
    assert ended.took_s < 9
    (line,) = [line for line in ended.log.splitlines() if '"event": "not-durable"' in line]
    assert "storage main: did not answer" in line
    assert "bytes that it held" in line
    words = [word[:2] for word in ended.told]
    assert words == [("recorded", ""), ("storage-error", "storage-stalled"), ("server-down", "stop")], ended.told
    assert ended.told[1][2] > 4, ended.told


def test_a_kill_while_the_disk_does_not_answer_is_told_apart_from_the_stall(tmp_path: Path) -> None:
    disks.need()
    ended = play_end(tmp_path, 9, kill=True)
    words = [word[:2] for word in ended.told]
    assert words == [("recorded", ""), ("storage-error", "storage-stalled"), ("server-down", "crash")], ended.told
    assert ended.told[1][2] > 4, ended.told  # to within the pause between two signs of life, and one flush
