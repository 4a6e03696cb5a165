"""What a seek and an opening cost in file calls, and that the shortcuts give the answers of the long way."""

from __future__ import annotations

import os
import shutil
import uuid
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import T0, VIDEO, Recorder, S, payload, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from mediadb.catalog import Catalog
from mediadb.format.columns import COLUMNS, ChunkColumns
from mediadb.fs import FileStat, RealFs
from mediadb.ledger_facts import NO_ENTRY, NO_MEDIA_TIME, PAST_US, MediaSpan, join_spans
from mediadb.read.part import Part, coding_tolerance_us, part_spans
from mediadb.read.reader import Reader
from mediadb.types import ChunkFlag, KeyType, Kind, Names, Origin, Sample, TrackConfig
from mediadb.write.lane import LanePlace, LaneWriter

CAM, OTHER = spec(1), spec(2)
LATER_US = 1 << 61  # every folder has come to rest


class CountingFs(RealFs):
    def __init__(self) -> None:
        super().__init__()
        self.preads = 0
        self.listed: list[Path] = []
        self.asked: list[Path] = []

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self.preads += 1
        return super().pread(fd, length, offset)

    def listdir(self, path: Path) -> list[str]:
        self.listed.append(path)
        return super().listdir(path)

    def stat(self, path: Path) -> FileStat | None:
        self.asked.append(path)
        return super().stat(path)

    def segments_asked(self) -> list[str]:
        return [path.name for path in self.asked if path.suffix == ".rseg"]


def opened(volume: Path, now_us: int = LATER_US) -> tuple[Reader, CountingFs]:
    fs = CountingFs()
    reader = Reader(volume, "main", lambda: now_us, fs=fs)
    reader.refresh()
    return reader, fs


def seek(reader: Reader, time_us: int) -> bytes:
    key = reader.locate_key(CAM.track, time_us)
    assert key is not None
    return reader.read(key).samples[0].data


def warm(volume: Path) -> None:
    """Somebody opened the volume and sought in it before."""
    reader, _ = opened(volume)
    seek(reader, T0 + 5 * S)
    reader.close()


@pytest.mark.parametrize("second", [0, 7, 12, 24])
def test_a_seek_costs_two_preads_with_a_warm_catalog(finished: Path, second: int) -> None:
    warm(finished)
    reader, fs = opened(finished)
    fs.preads = 0
    assert seek(reader, T0 + second * S + S // 2) == payload(CAM.track, second * 25)
    assert fs.preads == 2
    reader.close()


def test_a_record_that_is_not_what_its_hash_says_is_read_again(finished: Path) -> None:
    warm(finished)
    catalog = Catalog(finished / "catalog.db", "main")
    assert len(catalog._run("UPDATE config SET record=x'00' RETURNING hash")) == 1
    catalog.close()
    reader, _ = opened(finished)
    assert seek(reader, T0 + 7 * S) == payload(CAM.track, 7 * 25)
    reader.close()


def lane(volume: Path, first: int, last: int) -> None:
    place = LanePlace(volume, "main", uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3), Origin.EDGE)
    with LaneWriter(RealFs(), place, CAM, Names("cam 1")) as writer:
        writer.config(VIDEO)
        for i in range(first, last):
            data = payload(CAM.track, 10_000 + i)
            writer.extend([Sample(data, i * 90_000, i * 90_000, KeyType.IDR, T0 + i * S)])


def test_a_seek_among_lanes_costs_two_preads(finished: Path) -> None:
    for hour in range(1, 9):
        lane(finished, hour * 3600, hour * 3600 + 20)
    warm(finished)
    reader, fs = opened(finished)
    fs.preads = 0
    assert seek(reader, T0 + (6 * 3600 + 10) * S + 5) == payload(CAM.track, 10_000 + 6 * 3600 + 10)
    assert fs.preads == 2
    reader.close()


def test_a_folder_that_did_not_change_is_not_listed(finished: Path) -> None:
    reader, fs = opened(finished)
    first = {info.spec.track: info for info in reader.tracks()}
    assert len(fs.segments_asked()) == 3
    reader.close()
    reader, fs = opened(finished)
    assert fs.segments_asked() == []
    assert {info.spec.track: info for info in reader.tracks()} == first
    reader.close()


def test_a_folder_that_changed_just_now_is_listed_again(finished: Path) -> None:
    folder = next((finished / "log").glob("main/*/*/"))
    status = folder.stat()
    for wait_us, listed in ((0, 3), (9 * S, 3), (11 * S, 3), (12 * S, 0)):
        reader, fs = opened(finished, status.st_mtime_ns // 1000 + wait_us)
        assert len(fs.segments_asked()) == listed, "remembered before a second change could show"
        reader.close()


def test_what_came_or_went_while_stopped_is_seen(finished: Path) -> None:
    reader, _ = opened(finished)
    reader.close()
    paths = sorted((finished / "log").rglob("*.rseg"))
    away = finished / "away"
    shutil.move(paths[0], away)
    reader, _ = opened(finished)
    assert [info.first_us for info in reader.tracks()] == [T0 + 10 * S] * 2
    reader.close()
    shutil.move(away, paths[0])
    reader, _ = opened(finished)
    assert [info.first_us for info in reader.tracks()] == [T0] * 2
    reader.close()


def test_a_folder_that_went_takes_its_segments_along(finished: Path) -> None:
    reader, _ = opened(finished)
    reader.close()
    shutil.rmtree(next((finished / "log").glob("main/*/*/")))
    reader, _ = opened(finished)
    assert reader.tracks() == []
    assert reader.index._catalog.folders() == {}
    reader.close()


def test_an_unsealed_segment_is_found_at_every_opening(recorder: Callable[..., Recorder], volume: Path) -> None:
    made = recorder()
    made.film(15, CAM)
    made.crash()
    for _ in range(3):
        reader, _ = opened(volume)
        assert seek(reader, T0 + 14 * S) == payload(CAM.track, 14 * 25)
        reader.close()


def test_a_damaged_footer_is_looked_at_again_at_every_opening(finished: Path) -> None:
    path = max((finished / "log").rglob("*.rseg"))
    folder = path.parent.stat()
    os.truncate(path, path.stat().st_size - 10)
    for _ in range(2):
        os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))
        reader, _ = opened(finished)
        assert len(reader.index.damaged) == 1
        assert seek(reader, T0 + 24 * S) == payload(CAM.track, 24 * 25)
        reader.close()


def test_a_file_cut_off_without_its_folder_knowing_still_gives_what_it_has(finished: Path) -> None:
    warm(finished)
    path = max((finished / "log").rglob("*.rseg"))
    os.truncate(path, path.stat().st_size - 20_000)
    reader, fs = opened(finished)
    assert fs.segments_asked() == []
    assert seek(reader, T0 + 20 * S) == payload(CAM.track, 20 * 25)
    reader.close()


def test_spans_are_worked_out_at_the_seal(recorder: Callable[..., Recorder], volume: Path) -> None:
    made = recorder()
    reader = made.reader()
    made.told.sealed = reader.sealed
    made.film(12, CAM, OTHER)
    made.wait(2)
    for _ in range(3):
        made.film(10, CAM, OTHER)
        reader.tracks()  # sees each segment as open, then as one that was entered
    assert made.stop() == []
    reader.tracks()
    reader.close()
    reader, fs = opened(volume)
    reader.index.tolerance_us(CAM.track)
    fs.preads = 0
    kept = reader.index.spans(CAM.track, T0, T0 + 60 * S)
    assert fs.preads == 0
    assert len(kept) == 2
    reader.close()
    (volume / "catalog.db").unlink()
    reader, fs = opened(volume)
    assert reader.index.spans(CAM.track, T0, T0 + 60 * S) == kept, "the same out of the files alone"
    assert fs.preads > 4
    reader.close()


@pytest.mark.timeout(60)
def test_the_stretches_of_all_time_are_those_there_are(finished: Path) -> None:
    """A range of millions of days must not be walked day by day."""
    reader, _ = opened(finished)
    near = reader.spans(CAM.track, T0 - 60 * S, T0 + 3600 * S)
    assert near
    assert reader.spans(CAM.track, -(1 << 62), 1 << 62) == near
    assert reader.spans(uuid.UUID(int=77), -(1 << 62), 1 << 62) == []
    reader.close()


def one_by_one(part: Part, config: TrackConfig) -> list[MediaSpan]:
    """A span for every row, joined by the rule."""
    media = part.media
    numbers = {*media.seq, *part.notes.seq}
    interval = config.frame_ticks * 1_000_000 // config.timebase_hz
    spans = []
    for i in range(part.count):
        end = media.seq[i] + 1
        while end in numbers and end not in media.seq:
            end += 1
        began = media.base_dts[i] * 1_000_000 // config.timebase_hz
        before = media.seq[i]
        while before - 1 in part.notes.seq:
            before -= 1
        entry = media.recv_us[i] if media.kind[i] == Kind.KEY else NO_ENTRY
        if spans and spans[-1].entry_us != NO_ENTRY and spans[-1].end_seq >= before:
            entry = PAST_US
        spans.append(
            MediaSpan(
                media.recv_us[i], media.recv_us[i] + media.duration_us[i], 5, media.seq[i], end,
                media.lost_packets[i], media.damaged_count[i], media.lost_packets[i], "",
                bool(media.flags[i] & ChunkFlag.DISCONTINUITY), began, began + media.duration_us[i], interval, interval,
                entry_us=entry, after_seq=before,
            )
        )  # fmt: skip
    return join_spans(spans, coding_tolerance_us(config))


def columns(rows: list[dict[str, int]]) -> ChunkColumns:
    made = ChunkColumns()
    for name, letter in COLUMNS:
        setattr(made, name, array(letter, [row.get(name, 0) for row in rows]))
    made.ordered = all(a <= b for a, b in zip(made.recv_us, made.recv_us[1:], strict=False))
    made.publish()
    return made


chunk = st.tuples(
    st.sampled_from([1_000_000] * 8 + [0, 999_000, 1_090_000, 1_200_000, 40_000_000, -500_000]),
    st.sampled_from([1_000_000] * 8 + [0, 400_000, 3_000_000]),
    st.sampled_from([1] * 8 + [2, 3]),
    st.sampled_from([0] * 9 + [3]),
    st.sampled_from([0] * 9 + [int(ChunkFlag.DISCONTINUITY), int(ChunkFlag.DAMAGED)]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(chunks=st.lists(chunk, max_size=14))
def test_stretches_are_those_of_the_rule(chunks: list[tuple[int, int, int, int, int, bool, bool]]) -> None:
    media, notes, at, seq = [], [], T0, 10
    for step, length, numbers, lost, flags, noted, key in chunks:
        at, seq = at + step, seq + numbers
        if noted and numbers > 1:
            notes += [{"seq": seq - n, "recv_us": at} for n in range(numbers - 1, 0, -1)]
        media.append(
            {"recv_us": at, "duration_us": length, "seq": seq, "lost_packets": lost, "flags": flags,
             "base_dts": (at - T0) * 9 // 100,
             "kind": Kind.KEY if key else Kind.DELTA}
        )  # fmt: skip
    part = Part("x", uuid.UUID(int=1), 5, "", T0, at, [], columns(media), columns(notes), len(media))
    assert part_spans(part, [VIDEO]) == one_by_one(part, VIDEO)
    assert all(span.media_start_us == NO_MEDIA_TIME for span in part_spans(part, []))
