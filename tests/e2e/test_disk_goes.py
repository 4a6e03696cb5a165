"""Disks that go, come back, and are taken for others, small: in full `make scene S=lost-mount`, `S=swapped-disk`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import disks
from tests.e2e import lost_mount_scene, swapped_disk_scene
from tests.e2e.lost_mount_scene import Plan

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.disks]


def test_a_lost_mount_comes_back_and_nothing_is_missing(tmp_path: Path) -> None:
    disks.need()
    stage = lost_mount_scene.play(tmp_path, Plan(cameras=1))
    assert stage.wrong == [], stage.rows


def test_another_disk_in_its_place_is_left_alone(tmp_path: Path) -> None:
    disks.need()
    stage = swapped_disk_scene.play(tmp_path, Plan(cameras=1, seconds=2))
    assert stage.wrong == [], stage.rows
