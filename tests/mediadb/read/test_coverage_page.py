"""docs/coverage.md says of every state and reason what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mediadb.cause_words import WORDS
from mediadb.types import State

pytestmark = pytest.mark.fast
PAGE = (Path(__file__).resolve().parents[3] / "docs/coverage.md").read_text()


def test_the_table_has_every_state_and_reason_in_the_same_words() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.M)
    said = {
        (state, reason.strip("`") if reason.startswith("`") else ""): (what, "" if do == "-" else do)
        for state, reason, what, do in rows
    }
    assert said == {key: tuple(words) for key, words in WORDS.items()}
    assert {state for state, _ in said} == {str(state) for state in State}
