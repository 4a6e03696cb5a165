"""The byte tables in docs/format/mp4.md against what is written."""

from __future__ import annotations

import ast
import re
import struct
import sys
from pathlib import Path

import pytest
from mp4_clips import Library
from test_mp4_virtual import audio, video

from mediadb.mp4.boxes import Budget, Fields, Limits, children
from mediadb.mp4.fragment import fragment_head
from mediadb.mp4.virtual import build

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/format/mp4.md").read_text()


def test_fragment_head_table() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w{4})`", PAGE, re.MULTILINE)
    head = fragment_head(7, 1, 1, 1000, (3600, 0, True))
    at = 0
    for offset, size, name in rows:
        assert int(offset) == at
        assert head[at + 4 : at + 8] == name.encode()
        if name not in ("moof", "traf", "mdat"):
            assert struct.unpack_from(">I", head, at)[0] == int(size)
        at += int(size)
    assert at == len(head)


def names(fields: Fields, depth: int = 1) -> list[str]:
    found = []
    for kind, inner in children(fields, Budget(Limits()), depth):
        found.append(kind.decode())
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"):
            found += names(inner, depth + 1)
    return found


def test_box_order() -> None:
    library = Library()
    movie = build([library.plan(video(50, b_frames=True)), library.plan(audio(50))])
    top = names(Fields(memoryview(library.whole(movie)), "", 0))
    tables = re.search(r"`stbl` is `([\w ]+)`", PAGE)
    assert tables is not None
    stbl = tables[1].split()
    picture = ["trak", "tkhd", "edts", "elst", "mdia", "mdhd", "hdlr", "minf", "vmhd", "dinf", "stbl", *stbl]
    sound = ["trak", "tkhd", "mdia", "mdhd", "hdlr", "minf", "smhd", "dinf", "stbl"]
    sound += [name for name in stbl if name not in ("ctts", "stss")]
    assert top == ["ftyp", "moov", "mvhd", *picture, *sound, "mdat"]
    assert "`ftyp` | `isom`, minor 512, compatible `isom iso6 mp41`" in PAGE
    assert movie.head[:28] == struct.pack(">I4s4sI12s", 28, b"ftyp", b"isom", 512, b"isomiso6mp41")


def test_the_package_does_no_io() -> None:
    """Only pure modules of the standard library, and itself."""
    banned = {"os", "io", "pathlib", "asyncio", "socket", "threading", "time", "subprocess"}
    for path in (ROOT / "mediadb/mp4").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                own = module.startswith("mediadb.mp4")
                assert own or (module.split(".")[0] in sys.stdlib_module_names - banned), (path.name, module)
