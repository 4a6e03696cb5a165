"""Kill -9 at random and at each failpoint, on the real daemon recording over RTSP; and what the tier must not miss."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e import crash_tier

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def test_kills_at_random(tmp_path: Path) -> None:
    kills = 30 if os.environ.get("CI") == "true" else 10
    done = crash_tier.run(tmp_path, kills, seed=1)
    assert not done.verdict.wrong, "\n".join(done.verdict.wrong)
    assert done.kills == kills
    assert done.torn, "no torn tail was laid: the tier looked at nothing above the last acknowledgement"


def test_a_kill_at_each_failpoint(tmp_path: Path) -> None:
    done = crash_tier.run(tmp_path, 0, seed=2, failpoints=crash_tier.WRITING)
    assert not done.verdict.wrong, "\n".join(done.verdict.wrong)


@pytest.mark.parametrize(
    ("broken", "words"), [("crc", "which does not verify"), ("reappend", "an ended run was appended to")]
)
def test_a_broken_daemon_is_seen(tmp_path: Path, broken: str, words: str) -> None:
    done = crash_tier.run(tmp_path, 2, seed=3, broken=broken)
    assert any(words in text for text in done.verdict.wrong), done.verdict.wrong
