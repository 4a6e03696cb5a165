"""kill -9 of a real program that records, at every step and at random: acknowledged means there, byte for byte."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rig

from mediadb.fs import COMMIT_STEPS, CREATE_STEPS, FAILPOINT_ENV, LEDGER_STEPS, SEAL_STEPS, RealFs

CHILD = Path(__file__).with_name("crash_child.py")
pytestmark = pytest.mark.crash


def run_child(root: Path, start: int, failpoint: str = "", acks: int = 0) -> tuple[dict[int, int], list[str]]:
    """Record until the failpoint kills the child, or until it was killed behind `acks` acknowledgements."""
    environment = {**os.environ, FAILPOINT_ENV: failpoint}
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(root), str(start)], stdout=subprocess.PIPE, env=environment
    )
    acked: dict[int, int] = {}
    other = []
    assert child.stdout is not None
    deadline = time.monotonic() + 60
    try:
        seen = 0
        while True:
            ready, _, _ = select.select([child.stdout], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{failpoint} was never reached"
            line = child.stdout.readline()
            if not line:
                break
            words = line.decode().split()
            if words[0] == "ack":
                acked[int(words[1])] = int(words[2])
                seen += 1
                if acks and seen == acks:
                    child.kill()
            elif words[0] != "open":
                other.append(line.decode())
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    return acked, other


def check(root: Path, acked: dict[int, int]) -> int:
    """All acknowledged samples are there in order, nothing else but a continuation; the next number to record."""
    fs = RealFs()
    last = 0
    for number in range(2):
        found = rig.numbers(fs, rig.track_id(number), root)
        assert found == sorted(set(found)), "order, and each once"
        assert set(range(acked.get(number, 0))) <= set(found), f"acknowledged and gone: track {number}"
        last = max(last, max(found, default=-1) + 1)
    return last


def recover(root: Path) -> None:
    run = rig.Rig(RealFs(), root=root, start_us=time.time_ns() // 1000)
    run.recover()
    bad = {"acknowledged-commits-lost", "segment-damaged", "recovery-failed", "segment-unreadable"}
    assert not bad & {code for code, _ in run.troubles}
    run.log.close()


@pytest.mark.parametrize("name", [*COMMIT_STEPS, *CREATE_STEPS, *SEAL_STEPS, *LEDGER_STEPS])
def test_kill_at_every_step(tmp_path: Path, name: str) -> None:
    nth = 1 if name.startswith(("create", "seal")) else 3
    acked, other = run_child(tmp_path, 0, f"{name}:{nth}")
    assert not [line for line in other if "storage-error" in line]
    recover(tmp_path)
    check(tmp_path, acked)
    assert all(path.suffix == ".rseg" for path in rig.segment_paths(RealFs(), tmp_path))


def test_killed_again_and_again_on_one_volume(tmp_path: Path) -> None:
    rng = random.Random(11)
    start, whole = 0, {0: 0, 1: 0}
    for _ in range(6):
        acked, _ = run_child(tmp_path, start, acks=rng.randrange(2, 40))
        for number, count in acked.items():
            assert count >= start
            found = set(rig.numbers(RealFs(), rig.track_id(number), tmp_path))
            assert set(range(start, count)) <= found
            whole[number] = count
        start = max(whole.values()) + 10_000  # each life records its own numbers
    recover(tmp_path)
    for number in range(2):
        found = rig.numbers(RealFs(), rig.track_id(number), tmp_path)
        assert found == sorted(set(found))
        assert max(found) + 1 >= whole[number]
