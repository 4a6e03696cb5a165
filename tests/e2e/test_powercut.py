"""The power goes under the writer and under the recording daemon, on ext4 and XFS; and what the tier must not miss."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import disks
from tests.e2e import powercut_tier, replay_cuts
from tests.e2e.harness import running, wait_until
from tests.e2e.store_cuts import StoreCuts

pytestmark = [pytest.mark.crash, pytest.mark.disks, pytest.mark.timeout(600)]
CI = os.environ.get("CI") == "true"


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_cuts_of_power_under_the_writer(tmp_path: Path, kind: str) -> None:
    disks.need()
    done = StoreCuts(tmp_path, kind, seed=1)
    done.run(30 if CI else 15)
    assert not done.wrong, "\n".join(done.wrong)
    assert done.acked > 1000


@pytest.mark.parametrize("broken", ["", "sync"])
def test_states_of_a_disk_that_reorders_and_tears(tmp_path: Path, broken: str) -> None:
    disks.need()
    done = replay_cuts.run(tmp_path, 15 if CI and not broken else 6, seed=1, broken=broken)
    assert bool(done.wrong) == bool(broken), "\n".join(done.wrong)
    assert done.replays >= 6


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("sync", ("acknowledged", "magic", "nothing is recorded")),
        ("dirsync", ("its name is lost",)),
        ("crc", ("does not verify", "payload")),
        ("reappend", ("an ended run was appended to",)),
    ],
)
def test_a_broken_writer_is_seen(tmp_path: Path, broken: str, words: tuple[str, ...]) -> None:
    disks.need()
    done = StoreCuts(tmp_path, "ext4", seed=1, broken=broken)
    done.run(4)
    assert any(word in text for text in done.wrong for word in words), done.wrong


@pytest.mark.parametrize(("kind", "state_too"), [("ext4", True), ("xfs", False)])
def test_cuts_of_power_under_the_daemon(tmp_path: Path, kind: str, state_too: bool) -> None:
    disks.need()
    cuts = 3 if CI else 2
    done = powercut_tier.run(tmp_path, cuts, seed=1, kind=kind, state_too=state_too)
    assert not done.verdict.wrong, "\n".join(done.verdict.wrong)
    assert done.cuts == cuts


def test_a_stall_before_the_kill_is_shown_and_declared(tmp_path: Path) -> None:
    """What waits for a disk that stands still goes with the process: the API said so before, coverage says so after."""
    disks.need()
    scene = powercut_tier.PowerCuts(tmp_path, seed=1)
    with scene.disk as disk, running(scene.farm, scene.server):
        scene.server.program = ("recorderd",)
        heard = scene.start()
        scene.began(heard)
        disk.freeze()
        wait_until(lambda: scene.server.get("/api/v1/storages")["items"][0]["state"] == "stalled", 60, scene.server.log)
        assert scene.server.process is not None
        scene.server.process.kill()  # it goes when its call comes back
        disk.thaw()
        scene.server.kill()
        scene.ended(heard)
        verdict = scene.finish()
    assert not verdict.wrong, "\n".join(verdict.wrong)
    assert verdict.late, "the stall cost nothing: it was none"
