"""Verify is red, with the place, after any flipped byte; green on everything the writer and recovery leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import T0, Recorder, S, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediadb.fs import RealFs
from mediadb.segment_files import read_footer
from mediadb.segment_scan import scan_segment
from mediadb.tools.verify import verify_file, verify_volume
from mediadb.types import Cause, State

pytestmark = pytest.mark.fast
CAM, OTHER = spec(1), spec(2)
FS = RealFs()


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def places(path: Path) -> dict[str, int]:
    """One offset in every kind of structure, padding included."""
    scan = scan_segment(FS, path)
    fd = FS.open_read(path)
    head, trailer = read_footer(FS, fd)
    FS.close(fd)
    block = scan.blocks[1]
    entry = block.entries[-1]
    directory_end = block.offset + block.header.dir_offset + 272 * len(block.entries)
    size = path.stat().st_size
    return {
        "segment header": 40,
        "padding of the segment header": 3000,
        "block header": block.offset + 20,
        "directory": block.offset + block.header.dir_offset + 100,
        "padding behind the directory": directory_end + 50,
        "chunk header": block.offset + entry.offset + 60,
        "frame table": block.offset + entry.offset + 257,
        "payload": block.offset + entry.offset + entry.header.chunk_len - 5,
        "salt": block.offset + entry.offset + 256 + entry.header.table_len + 3,
        "padding at the end of a block": block.end - 3,
        "index in the footer": head.tracks[0].index_offset + 30,
        "footer head": trailer.head_offset + 70,
        "padding of the footer": trailer.head_offset + trailer.head_len + 2,
        "trailer": size - 20,
        "last byte": size - 1,
    }


def test_a_stopped_storage_is_sound(finished: Path) -> None:
    verdict = verify_volume(FS, finished)
    assert (verdict.findings, verdict.notes) == ([], [])
    assert verdict.samples == 1250
    assert verdict.blocks == 25


PLACES = [
    "segment header", "padding of the segment header", "block header", "directory",
    "padding behind the directory", "chunk header", "frame table", "payload", "salt",
    "padding at the end of a block", "index in the footer", "footer head", "padding of the footer", "trailer",
    "last byte",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_byte_is_found_at_its_place(finished: Path, place: str) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    offset = places(path)[place]
    flip(path, offset)
    verdict = verify_volume(FS, finished)
    assert not verdict.sound
    assert {f.path for f in verdict.findings} == {str(path)}
    block_bytes = 64 << 10
    assert any(f.offset <= offset < f.offset + block_bytes for f in verdict.findings), verdict.findings


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), number=st.integers(0, 2))
def test_any_byte_of_any_segment(finished: Path, share: float, number: int) -> None:
    path = sorted(finished.rglob("*.rseg"))[number]
    offset = int(path.stat().st_size * share)
    flip(path, offset)
    try:
        assert not verify_file(FS, path).sound, offset
    finally:
        flip(path, offset)


@pytest.mark.parametrize("name", ["VOLUME", "LOG"])
def test_identity_files_are_checked(finished: Path, name: str) -> None:
    path = next(finished.rglob(name))
    flip(path, 30)
    verdict = verify_volume(FS, finished)
    assert [f.path for f in verdict.findings] == [str(path)]


def test_padding_of_the_ledger_is_checked(finished: Path) -> None:
    path = next(p for p in (finished / "ledger").rglob("*") if p.is_file())
    flip(path, 4000)
    verdict = verify_volume(FS, finished)
    assert [(f.path, f.offset) for f in verdict.findings] == [(str(path), 4000)]


def test_a_damaged_ledger_page_is_found(finished: Path) -> None:
    path = next(p for p in (finished / "ledger").rglob("*") if p.is_file())
    flip(path, 4096 + 80)
    assert not verify_volume(FS, finished).sound


def test_a_segment_taken_away_is_missed(finished: Path) -> None:
    path = sorted(finished.rglob("*.rseg"))[1]
    path.unlink()
    verdict = verify_volume(FS, finished)
    assert any("not removed by a rule" in f.what for f in verdict.findings)


@pytest.mark.parametrize("cut", [1, 64, 5000, 200_000])
def test_a_truncated_segment_is_red(finished: Path, cut: int) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    os.truncate(path, path.stat().st_size - cut)
    assert not verify_volume(FS, finished).sound


def test_bytes_behind_the_end_are_red(finished: Path) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    with open(path, "ab") as file:
        file.write(b"x")
    assert not verify_volume(FS, finished).sound


def test_a_crash_is_no_damage_before_and_after_recovery(recorder: Callable[..., Recorder], volume: Path) -> None:
    first = recorder()
    first.film(12, CAM, OTHER)
    first.gap(CAM, first.now_us, first.now_us + S, Cause(State.OVERLOAD_SHED))
    first.film(1, CAM, OTHER)
    first.crash()
    path = next(volume.rglob("*.open"))
    scan = scan_segment(FS, path)
    last = scan.blocks[-1]
    os.truncate(path, last.end - 8192)  # the last commit was never acknowledged by a later one
    before = verify_volume(FS, volume)
    assert before.findings == []
    assert before.notes
    second = recorder(run=2, start_us=T0 + 30 * S)
    second.film(2, CAM)
    assert second.stop() == []
    after = verify_volume(FS, volume)
    assert after.findings == []


def test_verify_beside_a_running_recorder_is_green(recorder: Callable[..., Recorder], volume: Path) -> None:
    live = recorder()
    live.film(13, CAM)
    assert verify_volume(FS, volume).findings == []
    live.stop()


def test_a_repeated_chunk_in_a_second_segment_is_found(finished: Path) -> None:
    first = sorted(finished.rglob("*.rseg"))[0]
    copy = first.with_name(first.name.replace("-000000", "-000009"))
    copy.write_bytes(first.read_bytes())
    assert any("twice" in f.what for f in verify_volume(FS, finished).findings)
