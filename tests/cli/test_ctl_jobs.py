"""Export jobs and signed addresses from the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from recorderd.cli import export_job
from recorderd.cli.ctl import main as run

T0 = "2026-03-01T12:00:00.000000Z"
DATA = b"ftyp" * 1000
SPAN = ["--start", "-1h", "--end", "now"]


def job(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "j", "kind": "export", "state": state, "progress": 0.5, "created": T0, "error": None, "result": None,
        "detail": {"done_bytes": 5, "total_bytes": 10, "left_s": 1, "camera": "gate"}, **more,
    }  # fmt: skip


DONE = {"files": [{"name": "gate.mp4", "bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}],
        "complete": True, "incomplete": []}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_job, "POLL_S", 0.001)


def test_an_export_job_is_waited_for_and_fetched(api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/api/v1/exports"] = job("queued")
    states = iter([job("running"), job("running"), job("done", result=DONE)])
    api.get("jobs/j", lambda _: next(states))
    api.get("exports/j/files/gate.mp4", ({"Content-Type": "video/mp4"}, DATA))
    assert run(["export", "gate", *SPAN, "--job", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "gate.mp4").read_bytes() == DATA
    assert "gate.mp4" in capsys.readouterr().out
    states = iter([job("done", result=DONE)])
    assert run(["export", "gate", *SPAN, "--job", "-o", str(tmp_path / "out")]) == 2
    api.get("exports/j/files/gate.mp4", ({"Content-Type": "video/mp4"}, b"other"))
    states = iter([job("done", result=DONE)])
    assert run(["export", "gate", *SPAN, "--job", "-o", str(tmp_path / "x")]) == 1
    assert not list((tmp_path / "x").iterdir())


def test_without_a_folder_the_job_is_told_and_left_to_the_server(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/api/v1/exports"] = job("queued")
    assert run(["export", "gate", *SPAN, "--job", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "j"
    assert run(["export", "gate", *SPAN]) == 2
    assert run(["export", "gate", *SPAN, "-o", "x", "--no-audio"]) == 2


def test_one_job(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failed = job("failed", error={"code": "disk-full", "message": "the disk is full", "params": {}})
    api.get("jobs/j", failed)
    assert run(["jobs", "j"]) == 1
    assert "disk-full" in capsys.readouterr().err
    api.answers["POST", "/api/v1/exports/j/resume"] = job("queued")
    assert run(["jobs", "j", "--resume"]) == 0
    api.get("jobs/j", job("done", result={**DONE, "complete": False, "incomplete": ["gate"]}))
    assert run(["jobs", "j", "--resume", "--wait"]) == 1
    api.answers["POST", "/api/v1/exports/j/cancel"] = job("cancelled")
    assert run(["jobs", "j", "--cancel"]) == 0
    assert run(["jobs", "--wait"]) == 2
    assert run(["jobs", "j2"]) == 1


def test_url_live_recorded_and_picture(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("live", "recorded"):
        api.answers["POST", f"/api/v1/cameras/gate/{kind}-url"] = {"url": f"/{kind}?sig=x", "expires": T0}
    assert run(["url", "gate", "--for", "10m"]) == 0
    assert capsys.readouterr().out == f"{api.url}/live?sig=x\n"
    assert run(["url", "gate", *SPAN, "--form", "hls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["url"] == f"{api.url}/recorded?sig=x"
    assert run(["url", "gate", "--start", "-1h"]) == 0
    assert run(["url", "gate", "--end", "now"]) == 2
