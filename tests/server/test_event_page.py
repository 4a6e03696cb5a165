"""docs/operations.md names the events that somebody has to act upon."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mediadb.coverage import SEGMENT_DAMAGED, SEGMENT_MISSING
from mediadb.read.damage import CORRUPT, WHOLE
from mediadb.write.health import SLOW, STALLED

pytestmark = pytest.mark.fast
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("code", [CORRUPT, WHOLE, SEGMENT_MISSING, SEGMENT_DAMAGED, STALLED, SLOW])
def test_codes_of_storages_are_on_the_page(code: str) -> None:
    assert f"`{code}`" in PAGE


def test_what_the_audit_and_the_engine_emit_of_storages_is_on_the_page() -> None:
    files = [
        ROOT / "recorderd/services/reports/audit.py",
        ROOT / "recorderd/engine/storage.py",
        ROOT / "mediadb/aio.py",
    ]
    found = {
        code
        for path in files
        for code in re.findall(r'"((?:coverage|storage|fallback|moved)-[a-z-]+)"', path.read_text())
    }
    for code in found - {"storage-missing"}:
        assert f"`{code}`" in PAGE, code
    assert len(found) > 5
