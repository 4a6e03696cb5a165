"""`recorderctl report` and the words of `why`."""

from __future__ import annotations

from typing import Any

import pytest
from test_ctl import CAMERA_ID, GAP, MEDIA, STORAGE, T0, T1, T2, run, status_answer

SHARE = {"state": "camera-offline", "reason": "stall", "duration_us": 10_000_000, "stretches": 1}
REPORT = {
    "start": T0, "end": T2, "week": "2026-W09", "zone": "UTC", "length_us": 20_000_000, "generated": T2,
    "statement": "Causes are what the recorder stated; they are no proof.",
    "cameras": [{
        "id": CAMERA_ID, "name": "gate", "storage": "main", "recorded_us": 10_000_000, "wanted_us": 20_000_000,
        "recorded_percent": 50.0, "states": [{**SHARE, "state": "recorded", "reason": ""}, SHARE],
        "gaps": [{**GAP, "duration_us": 10_000_000}], "damaged": {"packets": 3, "frames": 1, "duration_us": 5},
        "shed_us": 0, "clock_steps": 0, "oldest": T0, "kept_us": 20_000_000, "retention_us": None,
    }],
    "storages": [{"name": "main", "missing": True, "restarts": [], "troubles": {}, "stats": {}}],
    "totals": {"cameras": 1, "length_us": 20_000_000, "recorded_us": 10_000_000, "wanted_us": 20_000_000,
               "recorded_percent": 50.0, "states": [SHARE]},
}  # fmt: skip


def test_the_report_is_text_for_a_mail(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("reports/coverage", REPORT)
    assert run(["report", "gate", "--week", "2026-W09", "--zone", "Europe/Berlin"]) == 0
    assert api.queries("reports/coverage") == [{"cameras": "gate", "week": "2026-W09", "zone": "Europe/Berlin"}]
    shown = capsys.readouterr().out
    for words in (
        "gate: 50.000 % recorded", "camera-offline (stall)", "connected, but no picture came", "3 packets lost",
        "storage main: NOT THERE", "they are no proof",
    ):  # fmt: skip
        assert words in shown
    assert run(["report", "--from", "-1d", "--to", "now", "--json"]) == 0
    assert api.queries("reports/coverage")[1] == {"start": "-1d", "end": "now"}
    assert run(["report", "--week", "2026-W09", "--from", "-1d"]) == 2


def test_why_says_what_happened_and_what_to_do(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get(
        f"cameras/{CAMERA_ID}/why", {"id": CAMERA_ID, "name": "gate", "time": T1, **GAP, "before": MEDIA, "after": None}
    )
    assert run(["why", CAMERA_ID, T1]) == 0
    shown = capsys.readouterr().out
    assert "connected, but no picture came - restart the camera" in shown
    assert "3 packets" in shown


def test_status_counts_what_was_lost(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = {**STORAGE, "stats": {"missing_segments": 2, "damaged_chunks": 0}}
    api.get("status", {**status_answer(), "storages": [told]})
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert "main: 2 files of footage missing" in shown
    assert "do not verify" not in shown
