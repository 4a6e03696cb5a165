"""The written pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recorderd.server.http.app import ROUTES
from recorderd.server.http.live_routes import LIMIT_BYTES
from recorderd.server.http.ws_protocol import MAX_COMMAND_BYTES, MEDIA_HEAD, MEDIA_MAGIC, MediaFlag, MediaType
from recorderd.server.http.ws_session import COMMANDS, MAX_FEEDS
from recorderd.server.problems import PROBLEMS

pytestmark = pytest.mark.fast
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "api"


def rows(page: str) -> list[list[str]]:
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_route_and_its_right() -> None:
    written = {(row[0], row[1], row[2]) for row in rows("http.md") if row[0] in ("GET", "POST", "DELETE")}
    assert written == {(route.method, f"`{route.path}`", str(route.right)) for route in ROUTES}


def test_every_error_code_its_status_and_meaning() -> None:
    written = {tuple(row) for row in rows("errors.md") if row[1].isdigit()}
    assert written == {(f"`{kind.code}`", str(kind.status), kind.meaning) for kind in PROBLEMS.values()}


def test_codes_used_in_the_code_are_in_the_table() -> None:
    used: set[str] = set()
    for path in (ROOT / "recorderd" / "server").rglob("*.py"):
        used |= set(re.findall(r"Refusal\(\s*\"([a-z-]+)\"", path.read_text()))
    assert used <= set(PROBLEMS)
    assert len(used) > 10


def test_every_command_and_its_right() -> None:
    written = {(row[0], row[1]) for row in rows("websocket.md") if len(row) == 3 and row[0].startswith("`")}
    assert {(f"`{name}`", str(spec.right)) for name, spec in COMMANDS.items()} <= written


def test_the_media_head_byte_by_byte() -> None:
    sizes = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
    fields = [row for row in rows("websocket.md") if len(row) == 3 and row[0].isdigit()]
    at = 0
    for offset, size, _ in fields[:-1]:
        assert int(offset) == at
        at += sizes[size]
    assert int(fields[-1][0]) == at == MEDIA_HEAD.size
    text = (DOCS / "websocket.md").read_text()
    assert f"magic, {MEDIA_MAGIC}" in text
    assert all(f"{int(kind)} {kind.name}" in text for kind in MediaType)
    assert all(f"{int(flag)} {flag.name}" in text for flag in MediaFlag)
    for number in (MAX_COMMAND_BYTES, MAX_FEEDS, f"{LIMIT_BYTES >> 20} MiB"):
        assert str(number) in text
