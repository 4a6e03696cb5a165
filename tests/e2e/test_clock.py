"""The clock is set while the daemon records: two cameras; the full scene is `make scene S=clock`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clock_scene import STEPS_S, library, play_scene

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.disks]


def test_a_set_clock_costs_no_frame_and_hides_nothing(tmp_path: Path) -> None:
    if library() is None:
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    found = play_scene(tmp_path, cameras=2, seconds=2.5)
    assert found.pop("frames")
    assert found.pop("steps_told_s") == sorted(STEPS_S)
    assert not any(found.values()), found
