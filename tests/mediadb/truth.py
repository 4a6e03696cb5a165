"""What really lies on a volume, by the oracle: every sample of every track with its run and place.

Imports nothing of the product. Sealed segments count by their footer, open ones by their blocks; commits that were
superseded are left out. Bytes are compared with what was written: a sample says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import oracle


@dataclass(frozen=True, slots=True)
class Found:
    """One sample on disk."""

    number: int
    run: int
    seq: int
    path: Path
    recv_us: int


Expected = Callable[[bytes, int, int], bytes]  # (track, number, size) -> content
MayBeGone = Callable[[Path, bytes], bool]  # (segment, track): need its listed chunks not verify?


def samples_on_disk(
    files: Iterable[tuple[Path, bytes]], expected: Expected, may_be_gone: MayBeGone = lambda path, track: False
) -> dict[bytes, list[Found]]:
    """Per track, ordered by (run, seq). AssertionError on wrong bytes, or on a listed chunk that does not verify."""
    segments = [(path, raw) for path, raw in files if len(raw) > oracle.PAGE and raw[: oracle.PAGE].strip(b"\0")]
    walked = {path: oracle.blocks(raw) for path, raw in segments}
    void = _void(walked)
    out: dict[bytes, list[Found]] = {}
    for path, raw in segments:
        if path.suffix == ".rseg":
            listed = oracle.footer_chunks(raw).items()
            read = [_listed(path, raw, row, may_be_gone(path, track)) for track, rows in listed for row in rows]
            chunks = [chunk for chunk in read if chunk is not None]
        else:
            segment = oracle.segment_header(raw)["segment"]
            first = void.get(segment)  # type: ignore[call-overload]
            blocks = [b for b in walked[path] if first is None or (b.epoch, b.counter) < first]
            chunks = [chunk for block in blocks for chunk in block.chunks if chunk.kind in oracle.MEDIA]
        for chunk in chunks:
            for data, _, dts, *_ in chunk.samples:
                number = int.from_bytes(data[:4], "big")
                assert data == expected(chunk.track, number, len(data)), f"wrong bytes in {path}, chunk {chunk.seq}"
                found = Found(number, chunk.run, chunk.seq, path, chunk.recv_us + (dts - chunk.base_dts))
                out.setdefault(chunk.track, []).append(found)
    for rows in out.values():
        rows.sort(key=lambda row: (row.run, row.seq, row.number))
    return out


def _void(walked: dict[Path, list[oracle.Block]]) -> dict[bytes, tuple[int, int]]:
    """Per segment the first commit that was written again elsewhere."""
    void: dict[bytes, tuple[int, int]] = {}
    for blocks in walked.values():
        for block in blocks:
            if block.supersedes:
                segment, epoch, counter = block.supersedes
                void[segment] = min(void.get(segment, (epoch, counter)), (epoch, counter))
    return void


def _listed(path: Path, raw: bytes, row: tuple[int, int, int], gone: bool) -> oracle.Chunk | None:
    _, at, length = row
    chunk = oracle.parse_chunk(raw[at : at + length], at)
    assert chunk is not None or gone, f"{path}: the chunk at {at} that the footer lists does not verify"
    return chunk
