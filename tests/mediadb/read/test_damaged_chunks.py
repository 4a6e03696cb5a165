"""A byte that flipped on disk: its time is no footage, with the daemon's reader and the tool's, after a restart too,
until the chunk verifies again or its segment is removed by a rule."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from conftest import T0, Recorder, S, offline, spec

from mediadb.errors import ChunkCorrupt, MediaDbError
from mediadb.format.ledger_page import LedgerKind
from mediadb.ledger import LedgerWriter
from mediadb.ledger_facts import FoldInput, MediaSpan, RunLife, Statement
from mediadb.ledger_fold import fold
from mediadb.read.chunks import ChunkRef
from mediadb.read.reader import Reader
from mediadb.types import Cause, Kind, State

pytestmark = pytest.mark.fast
CAM, OTHER = spec(1), spec(2)
NOW = T0 + 100 * S
Told = list[tuple[str, dict[str, Any]]]


def daemon(volume: Path, told: Told) -> Reader:
    """A reader whose findings go into the ledger, as those of a running server do."""
    reader = Reader(volume, "main", lambda: NOW, told=lambda code, params: told.append((code, params)))
    reader.refresh()
    return reader


def write_down(reader: Reader, told: Told) -> None:
    (folder,) = (reader.volume / "ledger" / "main").iterdir()
    ledger = LedgerWriter(reader.fs, folder, 99, 99)
    for _, params in told:
        ledger.add(LedgerKind.DAMAGED, NOW, {k: v for k, v in params.items() if k != "lasting"})
    ledger.flush(NOW)
    ledger.close()


def words(reader: Reader, track: Any = CAM) -> list[tuple[float, float, str, str]]:
    found = reader.coverage([track.track], T0, T0 + 25 * S)[track.track]
    return [((i.start_us - T0) / S, (i.end_us - T0) / S, str(i.cause.state), i.cause.reason) for i in found]


def delta(reader: Reader, at_s: int) -> ChunkRef:
    return next(
        ref for ref in reader.chunks(CAM.track, T0, NOW) if ref.recv_us > T0 + at_s * S and ref.kind == Kind.DELTA
    )


def flip(volume: Path, ref: ChunkRef) -> None:
    path = volume / (ref.name + ".rseg")
    raw = bytearray(path.read_bytes())
    raw[ref.row.offset + ref.row.length - 5] ^= 1
    path.write_bytes(raw)


DAMAGED = [
    (0.0, 12.04, "recorded", ""),
    (12.04, 13.0, "storage-error", "chunk-damaged"),
    (13.0, 25.0, "recorded", ""),
]


def test_a_flipped_byte_is_told_once_and_coverage_says_it_everywhere(finished: Path) -> None:
    told: Told = []
    running = daemon(finished, told)
    ref = delta(running, 12)
    flip(finished, ref)
    for _ in range(3):
        with pytest.raises(ChunkCorrupt):
            running.read(ref)
    ((code, params),) = told
    assert code == "chunk-corrupt"
    assert (params["name"], params["offset"], params["track"]) == (ref.name, ref.row.offset, str(CAM.track))
    assert words(running) == DAMAGED
    assert words(running, OTHER) == [(0.0, 25.0, "recorded", "")], "another camera's chunk of the same second"
    write_down(running, told)
    again: Told = []
    restarted = daemon(finished, again)
    assert words(restarted) == DAMAGED == words(offline(finished))
    with pytest.raises(ChunkCorrupt):
        restarted.read(ref)
    assert again == [], "the ledger knows it: nobody is told twice"


def test_a_good_copy_takes_the_statement_back(finished: Path) -> None:
    told: Told = []
    running = daemon(finished, told)
    ref = delta(running, 12)
    path = finished / (ref.name + ".rseg")
    good = path.read_bytes()
    flip(finished, ref)
    with pytest.raises(ChunkCorrupt):
        running.read(ref)
    write_down(running, told)
    again: Told = []
    restarted = daemon(finished, again)
    assert words(restarted) == DAMAGED
    path.write_bytes(good)
    assert restarted.read(ref).samples
    assert [(code, p["whole"]) for code, p in again] == [("chunk-whole", True)]
    assert words(restarted) == [(0.0, 25.0, "recorded", "")]
    write_down(restarted, again)
    assert words(offline(finished)) == [(0.0, 25.0, "recorded", "")]


def test_a_cut_or_lost_file_is_no_damaged_chunk(finished: Path) -> None:
    told: Told = []
    running = daemon(finished, told)
    ref = delta(running, 12)
    (finished / (ref.name + ".rseg")).unlink()
    with contextlib.suppress(MediaDbError):  # an open file can still be read
        running.read(ref)
    assert told == []
    assert ("storage-error", "segment-missing") in [word[2:] for word in words(running)]


def test_a_removed_segment_is_deleted_however_damaged_it_was(volume: Path) -> None:
    made = Recorder(volume)
    made.film(25, CAM)
    told: Told = []
    reader = Reader(volume, "main", lambda: made.now_us, told=lambda code, params: told.append((code, params)))
    ref = delta(reader, 2)
    flip(volume, ref)
    with pytest.raises(ChunkCorrupt):
        reader.read(ref)
    assert (2.04, 3.0, "storage-error", "chunk-damaged") in words(reader)
    body = {
        "segment": str(ref.segment), "name": ref.name.split("/", 3)[3] + ".rseg", "state": "deleted", "rule": "age",
        "bytes": 1, "tracks": [{"track": str(CAM.track), "spans": [[T0, T0 + 10 * S]]}],
    }  # fmt: skip
    made.writer.ledger.add(LedgerKind.REMOVED, made.now_us, body)
    made.writer.ledger.flush(made.now_us)
    (volume / (ref.name + ".rseg")).unlink()
    reader.removed(volume / (ref.name + ".rseg"))
    assert words(reader)[0] == (0.0, 10.0, "deleted", "age")


def test_damage_in_a_file_that_is_still_written_is_found_too(volume: Path) -> None:
    made = Recorder(volume)
    made.film(3, CAM)
    told: Told = []
    reader = Reader(
        volume, "main", lambda: made.now_us, live=made.writer, told=lambda code, params: told.append((code, params))
    )
    ref = delta(reader, 1)
    path = volume / (ref.name + ".open")
    raw = bytearray(path.read_bytes())
    raw[ref.row.offset + ref.row.length - 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ChunkCorrupt):
        reader.read(ref)
    assert [code for code, _ in told] == ["chunk-corrupt"]
    made.crash()


def test_damage_hides_no_future_and_no_other_time() -> None:
    given = FoldInput(
        now_us=100 * S,
        media=[MediaSpan(10 * S, 90 * S, 1, 0, 9)],
        runs=[RunLife(1, 10 * S, None)],
        damaged=[Statement(20 * S, 21 * S, Cause(State.STORAGE_ERROR, "chunk-damaged"))],
    )
    out = fold(given, 10 * S, 90 * S)
    assert [(i.start_us // S, i.end_us // S, str(i.cause.state)) for i in out] == [
        (10, 20, "recorded"),
        (20, 21, "storage-error"),
        (21, 90, "recorded"),
    ]


def test_what_met_a_disk_that_took_nothing_is_explained_although_the_power_went_first() -> None:
    given = FoldInput(
        now_us=200 * S,
        media=[MediaSpan(10 * S, 50 * S, 1, 0, 9), MediaSpan(100 * S, 150 * S, 1, 12, 20)],
        runs=[RunLife(1, 10 * S, 150 * S), RunLife(2, 180 * S, None)],
        troubles=[Statement(60 * S, 90 * S, Cause(State.STORAGE_ERROR, "no-space"))],
    )
    assert [(str(i.cause.state), i.cause.reason) for i in fold(given, 50 * S, 100 * S)] == [
        ("storage-error", "no-space")
    ]
    without = dataclasses.replace(given, troubles=())
    assert [str(i.cause.state) for i in fold(without, 50 * S, 100 * S)] == ["unexplained"]
