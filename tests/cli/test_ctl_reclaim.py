"""`recorderctl reclaim`: what would go, how far back footage reaches, and the word to go on."""

from __future__ import annotations

from typing import Any

import pytest
from test_ctl import run

DAY = 86_400_000_000
PLAN = {
    "segments": 3,
    "bytes": 6_000_000,
    "until": None,
    "parts": [{"camera": "gate", "rule": "age", "bytes": 6_000_000}],
}
CAMERA = {"camera": "gate", "rate_bytes_s": 500_000, "kept_us": 3 * DAY, "wanted_us": 7 * DAY, "short": True}
FOUND = {
    "storage": "main", "state": "paced", "reason": "limits-shortened", "way": "punching", "now": {**PLAN, "parts": []},
    "after_reload": PLAN,
    "forecast": {"rate_bytes_s": 500_000, "kept_us": 3 * DAY, "full_us": DAY // 2, "cameras": [CAMERA]},
}  # fmt: skip


def test_what_would_go_and_what_will_not_last(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("storages", {"items": [{"name": "main"}], "next": None})
    api.get("storages/main/reclaim", FOUND)
    assert run(["reclaim", "--plan"]) == 1, "held back, and too short"
    shown = capsys.readouterr().out
    for words in (
        "keeps 3.0 d", "full in 0.5 d", "paced (limits-shortened)", "after a reload goes", "gate", "by age",
        "will not reach its retention",
    ):  # fmt: skip
        assert words in shown
    calm = {**FOUND, "state": "free", "forecast": {**FOUND["forecast"], "cameras": []}}  # type: ignore[dict-item]
    api.get("storages/main/reclaim", calm)
    assert run(["reclaim", "main", "--json"]) == 0


def test_the_word_to_go_on(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"storage": "main", "state": "held", "reason": "clock-jump"}
    api.answers["POST", "/api/v1/storages/main/reclaim"] = answer
    assert run(["reclaim", "main", "--confirm"]) == 0
    assert api.asked[-1][:2] == ("POST", "/api/v1/storages/main/reclaim")
    assert "clock-jump" in capsys.readouterr().out
