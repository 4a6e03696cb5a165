"""What is in a storage, by frame number: a second parser, written from docs/format, reads the bytes; the frames' own
numbers and checksums judge them.

Law: `look`, `committed_frames` and `committed_sounds` use nothing of the product: neither its reader nor its counters.
`open_reader` is for tests of the reader.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from mediadb.read.reader import Reader
from tests.e2e.harness import marker
from tests.mediadb import oracle as parser

Place = tuple[int, int]  # (run, seq)
_US = re.compile(rb"RDS1 cam=\d+ n=\d+ us=(\d+)")
VIDEO = (1, 2, 3)  # KEY, DELTA, INTRA
_KINDS = {1: "video", 2: "audio", 3: "metadata"}


@dataclass
class Track:
    """One track as found. `frames`: (camera number, frame number) -> UTC µs of the frame, by its own marker."""

    camera: str = ""
    kind: str = ""
    stream: str = ""
    chunks: set[Place] = field(default_factory=set)
    frames: dict[tuple[int, int], int] = field(default_factory=dict)
    pts: list[int] = field(default_factory=list)


@dataclass
class Footage:
    """Everything of a storage. `wrong`: forbidden things, in words. `bytes` of all segments."""

    tracks: dict[UUID, Track] = field(default_factory=lambda: defaultdict(Track))
    wrong: list[str] = field(default_factory=list)
    bytes: int = 0

    def main_video(self, camera: str) -> Iterator[tuple[UUID, Track]]:
        for key, track in self.tracks.items():
            if (track.camera, track.kind, track.stream) == (camera, "video", "main"):
                yield key, track

    def frames(self, camera: str) -> dict[int, int]:
        """Frame number -> UTC µs, of the main video of a camera."""
        return {n: us for _, track in self.main_video(camera) for (_, n), us in track.frames.items()}


def segments(volume: Path, storage: str = "main") -> list[Path]:
    """All segment files of a storage, sealed or not."""
    found = [*volume.glob(f"log/{storage}/*/*/*"), *volume.glob(f"archive/{storage}/*/*/*")]
    return sorted(path for path in found if path.suffix in (".open", ".rseg"))


def look(volume: Path, storage: str = "main") -> Footage:
    """Parse every segment: of a sealed one what its footer lists, of an unsealed one every whole block."""
    footage = Footage()
    raws = {path: path.read_bytes() for path in segments(volume, storage)}
    walked: dict[Path, list[parser.Block]] = {}
    void: dict[bytes, tuple[int, int]] = {}
    for path, raw in raws.items():
        try:
            walked[path] = parser.blocks(raw)
            footage.wrong += foreign_blocks(path, raw)
        except AssertionError as error:
            if path.suffix != ".open" or len(raw) > parser.PAGE:  # a cut inside `create` leaves nothing acknowledged
                footage.wrong.append(f"{path.name}: {error}")
            continue
        for block in walked[path]:
            if block.supersedes is not None:
                segment, epoch, counter = block.supersedes
                void[segment] = min(void.get(segment, (epoch, counter)), (epoch, counter))
    for path, blocks in walked.items():
        first_void = void.get(raws[path][32:48], (1 << 32, 0))
        footage.bytes += len(raws[path])
        _segment(footage, path, raws[path], [b for b in blocks if (b.epoch, b.counter) < first_void])
    return footage


def committed_frames(volume: Path, camera: str, storage: str = "main") -> set[tuple[int, int]]:
    """(camera number, frame number) of every main video sample of a camera; fails on what is there twice or wrong."""
    footage = look(volume, storage)
    assert not footage.wrong, "\n".join(footage.wrong)
    return {frame for _, track in footage.main_video(camera) for frame in track.frames}


def committed_sounds(volume: Path, camera: str, storage: str = "main") -> int:
    """How many audio samples of a camera's main stream there are; fails when their times do not rise."""
    footage = look(volume, storage)
    assert not footage.wrong, "\n".join(footage.wrong)
    times = [
        pts
        for track in footage.tracks.values()
        if (track.camera, track.kind, track.stream) == (camera, "audio", "main")
        for pts in track.pts
    ]
    assert all(a < b for a, b in pairwise(times)), f"{camera}: sound is out of order"
    return len(times)


def open_reader(volume: Path, storage: str = "main") -> Reader:
    return Reader.open_offline(volume, storage, lambda: time.time_ns() // 1000)


def storage_tracks(volume: Path, storage: str = "main") -> dict[str, str]:
    """Camera name -> camera id of every camera with footage."""
    return {info.names.camera: str(info.spec.camera) for info in open_reader(volume, storage).tracks()}


def _segment(footage: Footage, path: Path, raw: bytes, blocks: list[parser.Block]) -> None:
    sealed = path.suffix == ".rseg"
    chunks = list(_whole_chunks(raw)) if sealed else [chunk for block in blocks for chunk in block.chunks]
    for chunk in chunks:
        if chunk.kind == parser.CONFIG:
            _identity(footage, chunk, raw)
    if sealed:  # its footer is what readers go by
        notes = [chunk for chunk in chunks if chunk.kind in (parser.GAP, parser.MARK)]
        chunks = [*notes, *_listed(footage, path, raw)]
    for chunk in sorted(chunks, key=lambda chunk: chunk.seq):
        if chunk.kind != parser.CONFIG:
            _enter(footage, path, chunk)


def _whole_chunks(raw: bytes) -> Iterator[parser.Chunk]:
    """Every chunk that verifies, also beside chunks that were given back to the disk."""
    at = parser.PAGE
    while raw[at : at + 4] == b"RBLK" and zlib.crc32(raw[at : at + 124]) == parser.u(raw, at + 124, 4):
        directory = at + parser.u(raw, at + 12, 4)
        for n in range(parser.u(raw, at + 8, 4)):
            offset = at + parser.u(raw, directory + n * 272, 8)
            length = parser.u(raw, directory + n * 272 + 8, 4)
            chunk = parser.parse_chunk(raw[offset : offset + length], offset)
            if chunk is not None:
                yield chunk
        at += parser.u(raw, at + 16, 8)


def _listed(footage: Footage, path: Path, raw: bytes) -> Iterator[parser.Chunk]:
    try:
        listed = parser.footer_chunks(raw)
    except AssertionError as error:
        footage.wrong.append(f"{path.name}: {error}")
        return
    for rows in listed.values():
        for seq, offset, length in rows:
            try:
                chunk = parser.parse_chunk(raw[offset : offset + length], offset)
            except AssertionError as error:
                footage.wrong.append(f"{path.name}: chunk {seq} at {offset}: {error}")
                continue
            if chunk is not None:
                yield chunk
            elif any(raw[offset : offset + length]) or not path.with_suffix(".gone").exists():  # not given back
                footage.wrong.append(f"{path.name}: its footer lists chunk {seq} at {offset}, which does not verify")


def _enter(footage: Footage, path: Path, chunk: parser.Chunk) -> None:
    track = footage.tracks[UUID(bytes=chunk.track)]
    place = chunk.run, chunk.seq
    if place in track.chunks:
        footage.wrong.append(f"{path.name}: chunk {chunk.seq} of run {chunk.run:016x} is there twice")
        return
    track.chunks.add(place)
    for data, pts, *_ in chunk.samples:
        track.pts.append(pts)
        if chunk.kind not in VIDEO:
            continue
        try:
            found = marker(data)
        except AssertionError as error:
            footage.wrong.append(f"{path.name}: chunk {chunk.seq}: {error}")
            continue
        match = _US.search(data) if found else None
        if found is None or match is None:
            continue
        if found in track.frames:
            footage.wrong.append(f"{path.name}: frame {found[1]} of camera {found[0]} is there twice")
        track.frames[found] = int(match[1])


def _identity(footage: Footage, chunk: parser.Chunk, raw: bytes) -> None:
    """CONFIG: names stand in its table, identity in its record."""
    at = chunk.offset
    table_len = parser.u(raw, at + 128, 4)
    names = json.loads(raw[at + 256 : at + 256 + table_len])
    record = json.loads(chunk.payload[16:])
    track = footage.tracks[UUID(bytes=chunk.track)]
    track.camera, track.kind, track.stream = names["camera"], _KINDS[record["kind"]], record["stream"]


def foreign_blocks(path: Path, raw: bytes) -> list[str]:
    """A segment belongs to one run: nothing of a later run may ever be behind it."""
    run, wrong = raw[96:104], []
    for at in range(parser.PAGE, len(raw), parser.PAGE):
        if raw[at : at + 4] == b"RBLK" and zlib.crc32(raw[at : at + 124]) == parser.u(raw, at + 124, 4):
            mine = raw[at + 56 : at + 72] == raw[32:48]
            if mine and raw[at + 48 : at + 56] != run:
                wrong.append(f"{path.name}: at {at} a block of a later run: a segment of an ended run was appended to")
                break
    return wrong
