"""The power goes under the recording daemon: on ext4 and XFS, with and without its own database on the same disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import disks
from tests.e2e import powercut_tier

pytestmark = [pytest.mark.crash, pytest.mark.disks, pytest.mark.timeout(600)]
CUTS = 5 if os.environ.get("CI") == "true" else 3


@pytest.mark.parametrize(("kind", "state_too"), [("ext4", True), ("xfs", False)])
def test_cuts_of_power(tmp_path: Path, kind: str, state_too: bool) -> None:
    disks.need()
    done = powercut_tier.run(tmp_path, CUTS, seed=1, kind=kind, state_too=state_too)
    assert not done.verdict.wrong, "\n".join(done.verdict.wrong)
    assert done.cuts == CUTS
