"""recorderctl: where --json may stand, what wrong usage and refusals look like, names in lists."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_ctl import CAMERA, CAMERA_ID, T0, run, status_answer


def test_events_name_their_camera_beside_its_id(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gone = "11111111-5f0c-4d43-a7a6-3a5c5bd41c8e"
    event = {"id": 1, "time": T0, "code": "x", "camera": CAMERA_ID, "hardware": None, "params": {}}
    api.get("events", {"items": [event, event | {"camera": gone}], "next": None})
    api.get("cameras", {"items": [CAMERA], "next": None})
    assert run(["events"]) == 0
    out = capsys.readouterr().out
    assert f"gate ({CAMERA_ID})" in out
    assert f"  {gone}" in out


def test_every_line_of_a_refusal_is_a_line(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/api/v1/reload"] = (422, {"code": "config-rejected", "detail": "2 errors:\n a\x1b\n b"})
    assert run(["reload"]) == 1
    assert capsys.readouterr().err == "recorderctl: 2 errors:\n   a?\n   b\n"


def test_json_goes_before_and_after_the_command(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("status", status_answer())
    for argv in (["--json", "status"], ["status", "--json"]):
        assert run(argv) == 0
        assert json.loads(capsys.readouterr().out)["ready"]


@pytest.mark.parametrize("argv", [["--json", "nope"], ["why", "gate", "yesterday", "--json"], ["--json"]])
def test_usage_errors_are_json_too(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(argv)
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "usage"
    assert "usage: recorderctl" in said.err
