"""`recorderd demo` judges itself: nothing lost without a fault, every fault out as its own cause."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recorderd.cli.demo_scene import SCENE, Expected, Outcome, SceneCamera, complaints
from tests.e2e.harness import ROOT


@pytest.mark.e2e
@pytest.mark.alone
def test_thirty_seconds_of_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recorderd", "demo", "--for", "30s", "--json", "--port", "0", "--dir", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["healthy"] is True
    assert answer["lost"] == 0
    assert [camera["name"] for camera in answer["cameras"]] == [camera.name for camera in SCENE]
    assert answer["cameras"][0]["sent"] == answer["cameras"][0]["committed"] > 500


@pytest.mark.fast
@pytest.mark.parametrize(
    ("camera", "outcome", "said"),
    [
        (SceneCamera("a"), Outcome("a", "none", sent=9, committed=9), 0),
        (SceneCamera("a"), Outcome("a", "none", sent=9, committed=8, missing=[4]), 1),
        (SceneCamera("a"), Outcome("a", "none"), 1),
        (SceneCamera("a"), Outcome("a", "none", sent=9, committed=9, unexplained_us=1), 1),
        (SceneCamera("a"), Outcome("a", "none", sent=9, committed=9, causes=["network-loss"]), 1),
        (SceneCamera("a", ("x",), (Expected("stall", "camera-offline", "stall"),)),
         Outcome("a", "stall", causes=["camera-offline (closed)"]), 1),
        (SceneCamera("a", ("x",), (Expected("stall", "camera-offline", "stall"),)),
         Outcome("a", "stall", causes=["camera-offline (stall)"]), 0),
        (SceneCamera("a", ("x",), (Expected("drift", event="clock-drift"),)), Outcome("a", "drift"), 1),
    ],
)  # fmt: skip
def test_the_judge_refuses_wrong_outcomes(camera: SceneCamera, outcome: Outcome, said: int) -> None:
    assert len(complaints(camera, outcome)) == said
