"""Kill -9 at random and at each failpoint of the writing procedure, on the real daemon recording over RTSP."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e import crash_tier

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def test_kills_at_random(tmp_path: Path) -> None:
    kills = 30 if os.environ.get("CI") == "true" else 10
    done = crash_tier.run(tmp_path, kills, seed=1, failpoints=False)
    assert not done.wrong, "\n".join(done.wrong)
    assert done.kills == kills


def test_a_kill_at_each_failpoint(tmp_path: Path) -> None:
    done = crash_tier.run(tmp_path, 0, seed=2, failpoints=True)
    assert not done.wrong, "\n".join(done.wrong)
    assert done.kills == len(crash_tier.FAILPOINTS)
