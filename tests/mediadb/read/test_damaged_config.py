"""A damaged CONFIG chunk costs nothing while another segment repeats it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import offline, payload, spec

from mediadb.errors import ChunkCorrupt
from mediadb.fs import RealFs
from mediadb.ledger_facts import FUTURE_US, PAST_US
from mediadb.segment_scan import scan_segment
from mediadb.types import Kind

pytestmark = pytest.mark.fast
CAM = spec(1)


def harm_config(path: Path) -> None:
    """Flip a bit in the CONFIG record of the first camera."""
    block = scan_segment(RealFs(), path).blocks[0]
    config = next(e for e in block.entries if e.header.kind == Kind.CONFIG and e.header.track == CAM.track.bytes)
    raw = bytearray(path.read_bytes())
    raw[block.offset + config.offset + config.header.chunk_len - 5] ^= 1
    path.write_bytes(raw)


def read(volume: Path) -> int:
    reader = offline(volume)
    good = 0
    try:
        for part in reader.index.parts(CAM.track, PAST_US, FUTURE_US):
            for n in range(part.count):
                for sample in reader.read(reader.part_ref(CAM.track, part, n)).samples:
                    assert sample.data == payload(CAM.track, int.from_bytes(sample.data[:8], "big"))
                    good += 1
    finally:
        reader.close()
    return good


def test_it_is_taken_from_another_segment(finished: Path) -> None:
    harm_config(sorted(finished.rglob("*.rseg"))[0])
    assert read(finished) == 625


def test_without_any_other_the_chunk_is_corrupt(finished: Path) -> None:
    first, *others = sorted(finished.rglob("*.rseg"))
    harm_config(first)
    for other in others:
        other.unlink()
    with pytest.raises(ChunkCorrupt, match="CONFIG"):
        read(finished)
