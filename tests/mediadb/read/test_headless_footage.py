"""Segments that went, in the middle of a group of pictures: what refers to their keys is not called recorded, and
coverage, spans, exports and the tool agree about it."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import uuid
from pathlib import Path

import pytest
from conftest import T0, VIDEO, Recorder, S, offline, payload, spec

from mediadb import coverage
from mediadb.errors import ChunkCorrupt
from mediadb.fs import RealFs
from mediadb.ledger import LedgerWriter
from mediadb.movie.export import ExportRequest, export_camera
from mediadb.movie.row_range import select_rows
from mediadb.read.part import ENTRY_KINDS
from mediadb.read.reader import Reader
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.types import Cause, KeyType, Sample, State, TrackKind, TrackSpec
from mediadb.write.items import Now
from mediadb.write.retention import CameraLimits

pytestmark = pytest.mark.fast
CAM, OTHER = spec(1), spec(2)
MIC = spec(3, TrackKind.AUDIO)
CODING = dataclasses.replace(VIDEO, frame_ticks=18_000)
PLENTY = (1 << 40, 1 << 41)
MISSING = ("storage-error", "segment-missing")
REC = ("recorded", "")
Words = list[tuple[float, float, str, str]]


def film(made: Recorder, seconds: int, group_s: int, *tracks: TrackSpec, key: KeyType = KeyType.IDR) -> None:
    """5 pictures a second, a key each `group_s` of the recorder's time; `key` INTRA_ONLY: each stands by itself."""
    for _ in range(seconds):
        for i in range(5):
            at = made.now_us + i * 200_000
            first = i == 0 and (at - T0) // S % group_s == 0
            for track in tracks:
                kind = key if first or key == KeyType.INTRA_ONLY else KeyType.DELTA
                media_us = made.mono_us + i * 200_000
                dts = media_us * 9 // 100
                sample = Sample(payload(track.track, media_us), dts, dts, kind, at)
                made.writer.take([(made.state(track, CODING), sample)], made.now())
        made.wait(1)
        made.writer.commit(made.now())


def stored(volume: Path, group_s: int = 4, *tracks: TrackSpec, key: KeyType = KeyType.IDR) -> Path:
    """25 s, closed: segments of ten seconds."""
    made = Recorder(volume)
    film(made, 25, group_s, *(tracks or (CAM,)), key=key)
    assert made.stop() == []
    return volume


def words(reader: Reader, track: TrackSpec = CAM, start: float = 0, end: float = 25) -> Words:
    found = reader.coverage([track.track], T0 + round(start * S), T0 + round(end * S))[track.track]
    return [((i.start_us - T0) / S, (i.end_us - T0) / S, str(i.cause.state), i.cause.reason) for i in found]


def daemon(volume: Path) -> Reader:
    reader = Reader(volume, "main", lambda: T0 + 100 * S)
    reader.refresh()
    return reader


def segments(volume: Path) -> list[Path]:
    return sorted(volume.rglob("*.rseg"))


def agreed(volume: Path, running: Reader | None = None) -> Words:
    """What is said of 25 s: by a running reader, after a restart, by the tool, second by second; and is it shown?"""
    running = running or daemon(volume)
    said = words(running)
    again, tool = daemon(volume), offline(volume)
    assert words(again) == said == words(tool)
    for second in range(25):
        ((_, _, *cause),) = words(again, start=second + 0.3, end=second + 0.31)
        assert cause == next([*w[2:]] for w in said if w[0] <= second + 0.3 < w[1]), second
    recorded = [(low, high) for low, high, state, _ in said if state == "recorded"]
    spans = [((s.start_us - T0) / S, (s.end_us - T0) / S) for s in running.spans(CAM.track, T0, T0 + 25 * S)]
    assert spans == recorded
    rows = [
        (r.part.media.recv_us[i], r.part.media.duration_us[i])
        for r in select_rows(running, CAM.track, T0, T0 + 25 * S, lambda _: True, [])
        for i in range(r.low, r.high)
    ]
    assert sum(length for _, length in rows) / S == pytest.approx(sum(high - low for low, high in recorded))
    assert {any(low <= (at - T0) / S < high for low, high in recorded) for at, _ in rows} <= {True}
    again.close()
    tool.close()
    return said


@pytest.mark.parametrize("group_s", [4, 15, 40])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_segment_takes_what_refers_to_it(volume: Path, group_s: int, number: int) -> None:
    running = daemon(stored(volume, group_s))
    assert words(running) == [(0, 25, *REC)], "a boundary inside a group is no hole"
    segments(volume)[number].unlink()
    low, high = 10 * number, min(10 * number + 10, 25)
    shown = min(-(-high // group_s) * group_s, 25)  # the next key
    expected = [(0, low, *REC), (low, shown, *MISSING), (shown, 25, *REC)]
    assert agreed(volume, running) == [word for word in expected if word[0] < word[1]]


def test_an_export_says_what_it_leaves_out_and_why(volume: Path, tmp_path: Path) -> None:
    segments(stored(volume))[0].unlink()
    reader = offline(volume)
    request = ExportRequest(CAM.camera, T0, T0 + 25 * S, tmp_path / "out")
    made = export_camera(reader, RealFs(), request, lambda done, total: None)
    assert made.samples == 13 * 5
    manifest = json.loads(made.manifest.read_text())
    said = [((i["start_us"] - T0) / S, i["state"], i["reason"]) for i in manifest["tracks"][0]["coverage"]]
    assert said == [(0, *MISSING), (12, *REC)]
    assert (manifest["skipped"], manifest["tracks"][0]["recorded_us"]) == ([], 13 * S)


def test_a_cut_segment_takes_what_refers_to_its_end(volume: Path) -> None:
    path = segments(stored(volume, 15))[0]
    os.truncate(path, path.stat().st_size // 2)
    said = agreed(volume)
    assert [word[2:] for word in said] == [REC, ("storage-error", "segment-damaged"), REC]
    assert said[1][1] == 15


@pytest.mark.parametrize(("age_s", "shown"), [(20, 12), (10, 20)])
def test_a_removed_segment_takes_what_refers_to_it_with_its_rule(volume: Path, age_s: int, shown: int) -> None:
    """And so it does when the next one is removed, too: its second group was recorded until then."""
    reclaim(stored(volume), age_s)
    assert agreed(volume) == [(0, shown, "deleted", "age"), (shown, 25, *REC)]


def reclaim(volume: Path, age_s: int) -> None:
    folder = next((volume / "log" / "main").iterdir())
    ledger = LedgerWriter(RealFs(), volume / "ledger" / "main" / folder.name, 99, 2)
    end_us = T0 + 25 * S
    made = Reclaimer(
        RealFs(), folder, ledger, ReclaimOptions(retention_us=age_s * S), lambda: PLENTY, ClockBrake(end_us)
    )
    assert made.step(end_us + S * 6, 0).errors == []
    ledger.close()


def test_a_running_store_says_so_too(volume: Path) -> None:
    """The segment that is being written goes on from one that went; and the next one from that."""
    made = Recorder(volume)
    film(made, 12, 15, CAM)
    reader = made.reader()
    (path,) = segments(volume)
    path.unlink()
    assert words(reader, end=12) == [(0, 12, *MISSING)]
    film(made, 6, 15, CAM)
    assert words(reader, end=18) == [(0, 15, *MISSING), (15, 18, *REC)]
    film(made, 7, 15, CAM)
    assert words(reader) == [(0, 15, *MISSING), (15, 25, *REC)]
    assert made.stop() == []
    assert agreed(volume) == [(0, 15, *MISSING), (15, 25, *REC)]


def test_what_a_crash_left_open_goes_on_from_what_is_there(volume: Path) -> None:
    made = Recorder(volume)
    film(made, 25, 40, CAM)
    made.crash()
    said = [word for word in words(offline(volume), end=24) if word[2:] != REC]
    assert said == []


@pytest.mark.parametrize("key", [KeyType.INTRA_ONLY, KeyType.IDR])
def test_what_stands_by_itself_needs_nothing(volume: Path, key: KeyType) -> None:
    """Pictures that are all keys, and sound."""
    track = CAM if key == KeyType.INTRA_ONLY else MIC
    segments(stored(volume, 15, track, key=key))[0].unlink()
    assert words(daemon(volume), track) == [(0, 10, *MISSING), (10, 25, *REC)]


def test_a_camera_that_stood_still_inside_its_group_keeps_its_pictures(volume: Path) -> None:
    """On without a key, in another segment, with statements in between."""
    made = Recorder(volume)
    film(made, 9, 1000, CAM)
    pause = Cause(State.CAMERA_OFFLINE, "stall")
    made.cover(CAM, pause)
    made.wait(11)
    made.gap(CAM, T0 + 9 * S, T0 + 20 * S, pause)
    made.cover(CAM, Cause(State.RECORDED))
    film(made, 5, 1000, CAM)
    assert made.stop() == []
    assert len(segments(volume)) == 2
    expected = [(0, 9, *REC), (9, 20, "camera-offline", "stall"), (20, 25, *REC)]
    assert words(daemon(volume)) == expected == words(offline(volume))
    segments(volume)[0].unlink()
    assert words(daemon(volume))[-1] == (20, 25, *MISSING)


def test_the_answer_does_not_hang_on_how_much_is_asked(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group longer than what a question looks at around its range."""
    monkeypatch.setattr(coverage, "MARGIN_US", S)
    monkeypatch.setattr(coverage.Coverage, "margin_us", S)
    path = segments(stored(volume, 40))[0]
    assert words(daemon(volume), start=23, end=24) == [(23, 24, *REC)]
    path.unlink()
    assert words(daemon(volume), start=23, end=24) == [(23, 24, *MISSING)]
    assert words(offline(volume), start=12, end=13) == [(12, 13, *MISSING)]


def test_a_catalog_of_before_is_made_again(volume: Path) -> None:
    """It knows nothing of keys: what it remembers of stretches is not believed."""
    stored(volume, 15)
    reader = daemon(volume)
    words(reader)
    reader.close()
    with sqlite3.connect(volume / "catalog.db") as old:
        old.execute("UPDATE part SET spans=NULL")
        old.execute("PRAGMA user_version=3")
    old.close()
    segments(volume)[0].unlink()
    assert agreed(volume) == [(0, 15, *MISSING), (15, 25, *REC)]


def test_days_that_were_merged_before_a_segment_went(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediadb.read.index.DAY_US", 10 * S)
    monkeypatch.setattr("mediadb.catalog.DAY_US", 10 * S)
    reader = daemon(stored(volume, 15))
    assert words(reader) == [(0, 25, *REC)]
    path = segments(volume)[0]
    path.unlink()
    reader.removed(path)
    assert words(reader) == [(0, 15, *MISSING), (15, 25, *REC)]


def test_a_delta_that_does_not_verify_takes_the_rest_of_its_group(volume: Path) -> None:
    """Into the next segment, and not the key behind it."""
    reader = daemon(stored(volume, 15))
    refs = list(reader.chunks(CAM.track, T0, T0 + 25 * S))
    bad = next(ref for ref in refs if ref.recv_us >= T0 + 5 * S)
    assert bad.kind not in ENTRY_KINDS
    raw = bytearray((volume / (bad.name + ".rseg")).read_bytes())
    raw[bad.row.offset + bad.row.length - 5] ^= 1
    (volume / (bad.name + ".rseg")).write_bytes(raw)
    for ref in refs:
        if ref is bad:
            with pytest.raises(ChunkCorrupt):
                reader.read(ref)
    said = words(reader)
    assert [word[2:] for word in said] == [REC, ("storage-error", "chunk-damaged"), REC]
    assert said[1][:2] == ((bad.recv_us - T0) / S, 15)


def test_one_cameras_tracks_go_in_the_middle_of_a_group(volume: Path) -> None:
    """The other one's footage in the same segment stays and stays recorded."""
    stored(volume, 15, CAM, OTHER)
    folder = next((volume / "log" / "main").iterdir())
    ledger = LedgerWriter(RealFs(), volume / "ledger" / "main" / folder.name, 99, 2)
    cameras: dict[uuid.UUID, CameraLimits] = {CAM.camera: CameraLimits(20 * S), OTHER.camera: CameraLimits(None)}
    options = ReclaimOptions(cameras=cameras)
    made = Reclaimer(RealFs(), folder, ledger, options, lambda: PLENTY, ClockBrake(T0 + 25 * S))
    assert [r.whole for r in made.step(T0 + 31 * S, 0).removed] == [False]
    ledger.close()
    assert agreed(volume) == [(0, 15, "deleted", "age"), (15, 25, *REC)]
    assert words(daemon(volume), OTHER) == [(0, 25, *REC)]


def test_a_group_that_the_clock_was_set_in(volume: Path) -> None:
    """Its key lies a day behind the rest of it: found by its number."""
    made = Recorder(volume, segment_us=100 * S)
    film(made, 65, 1000, CAM)
    made.now_us -= 24 * 3600 * S
    made.now = lambda: Now(made.now_us, made.mono_us, 1)  # type: ignore[method-assign]
    at = 65 - 24 * 3600
    film(made, 9, 1000, CAM)
    assert made.stop() == []
    for reader in (daemon(volume), offline(volume)):
        assert words(reader, start=at + 2, end=at + 8) == [(at + 2, at + 8, *REC)]
    later, first = segments(volume)
    first.unlink()
    assert later.exists()
    ((_, _, state, _),) = words(offline(volume), start=at + 2, end=at + 8)
    assert state == "storage-error"
