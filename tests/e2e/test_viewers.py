"""Viewers cannot hurt recording: the scene with a few of each kind; the full number is `make scene S=viewers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.viewers_scene import WAYS, play_scene

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


def test_viewers_that_do_not_read_cost_no_frame_and_little_memory(tmp_path: Path) -> None:
    found = play_scene(tmp_path, stalled=len(WAYS), slow=len(WAYS), seconds=12)
    assert found["lost"] == 0
