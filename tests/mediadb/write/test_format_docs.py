"""The byte tables of docs/format are the structures of the code, field by field."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from mediadb.format import block, chunk, columns, footer, identity, ledger_page, segment_header
from mediadb.fs import FAILPOINTS
from mediadb.types import Kind

pytestmark = pytest.mark.fast
DOCS = Path(__file__).parents[3] / "docs" / "format"
STRUCTS = {
    "volume": (identity.VOLUME_STRUCT, identity.VOLUME_FIELDS),
    "log": (identity.LOG_STRUCT, identity.LOG_FIELDS),
    "segment": (segment_header.SEGMENT_STRUCT, segment_header.SEGMENT_FIELDS),
    "block": (block.BLOCK_STRUCT, block.BLOCK_FIELDS),
    "chunk": (chunk.CHUNK_STRUCT, chunk.CHUNK_FIELDS),
    "footer": (footer.FOOTER_STRUCT, footer.FOOTER_FIELDS),
    "summary": (footer.SUMMARY_STRUCT, footer.SUMMARY_FIELDS),
    "trailer": (footer.TRAILER_STRUCT, footer.TRAILER_FIELDS),
    "page": (ledger_page.PAGE_STRUCT, ledger_page.PAGE_FIELDS),
}


def layout(form: struct.Struct, fields: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """(offset, size, field) of each value of a struct."""
    out, at, names = [], 0, iter(fields)
    for number, letter in re.findall(r"(\d*)([a-zA-Z])", form.format[1:]):
        count = int(number or 1)
        if letter == "x":
            at += count
            continue
        size = count if letter == "s" else struct.calcsize("<" + letter)
        for _ in range(1 if letter == "s" else count):
            out.append((at, size, next(names)))
            at += size
    assert next(names, None) is None
    assert at == form.size
    return out


def documented(name: str) -> tuple[list[tuple[int, int, str]], int]:
    """The table behind `<!-- struct: name -->` and the total it states."""
    text = next(page.read_text() for page in DOCS.glob("*.md") if f"<!-- struct: {name} -->" in page.read_text())
    part = text.split(f"<!-- struct: {name} -->")[1]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", part.split("\nTotal:")[0], re.MULTILINE)
    total = re.search(r"Total: (\d+) bytes", part)
    assert total is not None
    return [(int(a), int(b), c) for a, b, c in rows], int(total.group(1))


@pytest.mark.parametrize("name", STRUCTS)
def test_byte_table(name: str) -> None:
    form, fields = STRUCTS[name]
    assert documented(name) == (layout(form, fields), form.size)


def test_sizes_that_pages_name() -> None:
    assert chunk.CHUNK_HEADER_BYTES == 256
    assert block.ENTRY_BYTES == 272
    text = (DOCS / "footer.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\d) \| (?:un)?signed \|$", text, re.MULTILINE)
    assert rows == [(name, str(columns.WIDTHS[letter])) for name, letter in columns.COLUMNS]
    assert f"{columns.ROW_BYTES} bytes a row" in text


def test_kinds_and_failpoints_are_listed() -> None:
    chunks = re.findall(r"^\| ([A-Z]+) \| (\d) \|", (DOCS / "chunk.md").read_text(), re.MULTILINE)
    assert chunks == [(kind.name, str(kind.value)) for kind in Kind]
    records = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (DOCS / "ledger.md").read_text(), re.MULTILINE)
    assert records == [(str(kind.value), kind.name) for kind in ledger_page.LedgerKind]
    text = (DOCS / "README.md").read_text()
    assert [name for name in FAILPOINTS if f"`{name}`" not in text] == []


def test_pages_link_to_each_other() -> None:
    links = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text())
    assert [link for link in links if not (DOCS / link).exists()] == []
