"""The reader on storages of the real writer: open, sealed, crashed, with and without catalog."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RECORDED, T0, Recorder, S, offline, payload, spec

from mediadb.errors import ChunkCorrupt, ChunkGone, StorageMissing
from mediadb.read.reader import Reader
from mediadb.types import Cause, Interval, Kind, State

pytestmark = pytest.mark.fast
CAM = spec(1)
OTHER = spec(2)


def frames(reader: Reader, track: uuid.UUID, start_us: int, end_us: int) -> list[int]:
    """Frame numbers, after checking every byte."""
    out = []
    for ref in reader.chunks(track, start_us, end_us):
        for sample in reader.read(ref).samples:
            number = int.from_bytes(sample.data[:8], "big")
            assert sample.data == payload(track, number)
            out.append(number)
    return out


def words(intervals: list[Interval]) -> list[tuple[float, float, str, str]]:
    return [((i.start_us - T0) / S, (i.end_us - T0) / S, str(i.cause.state), i.cause.reason) for i in intervals]


def test_all_samples_come_back_in_order_from_sealed_segments(finished: Path) -> None:
    reader = offline(finished)
    assert frames(reader, CAM.track, T0, T0 + 25 * S) == list(range(625))
    assert {t.spec.track for t in reader.tracks()} == {CAM.track, OTHER.track}
    assert reader.tracks()[0].names.camera.startswith("cam")
    assert reader.durable_us(CAM.track) == T0 + 25 * S
    assert [(s.start_us, s.end_us) for s in reader.spans(CAM.track, T0, T0 + 60 * S)] == [(T0, T0 + 25 * S)]


def test_sample_values_survive(finished: Path) -> None:
    reader = offline(finished)
    ref = next(r for r in reader.chunks(CAM.track, T0 + 3 * S, T0 + 4 * S) if r.kind == Kind.DELTA)
    sample = reader.read(ref).samples[3]
    assert (sample.recv_us, sample.cam_us) == (T0 + 3 * S + 160_000, T0 + 3 * S + 160_005)
    assert (sample.pts, sample.dts) == ((3 * 25 + 4) * 3_600,) * 2
    assert reader.read(ref).config.codec == "h264"


def test_the_open_segment_is_read_up_to_the_last_commit(recorder: Callable[..., Recorder]) -> None:
    live = recorder()
    live.film(13, CAM)
    live.film(1, CAM, commit=False)
    reader = live.reader()
    reader.refresh()
    assert frames(reader, CAM.track, T0, T0 + 60 * S) == list(range(13 * 25))
    assert reader.durable_us(CAM.track) == T0 + 13 * S
    states = words(reader.coverage([CAM.track], T0, T0 + 20 * S)[CAM.track])
    assert states == [
        (0, 13, "recorded", ""),
        (13, 14, "recorded", "not-yet-durable"),
        (14, 20, "not-scheduled", "future"),
    ]
    live.film(8, CAM)
    assert frames(reader, CAM.track, T0, T0 + 60 * S) == list(range(22 * 25))
    live.stop()


def test_a_request_inside_a_gop_begins_at_its_keyframe(finished: Path) -> None:
    reader = offline(finished)
    refs = list(reader.chunks(CAM.track, T0 + 5 * S + 700_000, T0 + 6 * S))
    assert [(r.kind, r.recv_us) for r in refs] == [(Kind.KEY, T0 + 5 * S), (Kind.DELTA, T0 + 5 * S + 40_000)]


@pytest.mark.parametrize(
    ("time", "direction", "found"),
    [
        (5.7, -1, 5),
        (5.0, -1, 5),
        (5.7, 1, 6),
        (5.7, 0, 6),
        (5.2, 0, 5),
        (-1, 1, 0),
        (99, -1, 24),
        (10.0, -1, 10),
        (9.99, 1, 10),
    ],
)
def test_locate_key(finished: Path, time: float, direction: int, found: int) -> None:
    ref = offline(finished).locate_key(CAM.track, T0 + round(time * S), direction)
    assert ref is not None
    assert ref.kind == Kind.KEY
    assert ref.recv_us == T0 + found * S


def test_there_is_no_key_before_the_first_and_after_the_last(finished: Path) -> None:
    reader = offline(finished)
    assert reader.locate_key(CAM.track, T0 - 1, -1) is None
    assert reader.locate_key(CAM.track, T0 + 25 * S, 1) is None
    assert reader.locate_key(uuid.uuid4(), T0, -1) is None


def test_time_to_first_keyframe_bytes_is_two_preads(finished: Path) -> None:
    warm = Reader(finished, "main", lambda: T0 + 100 * S)
    warm.refresh()
    warm.close()
    reader = Reader(finished, "main", lambda: T0 + 100 * S)
    ref = reader.locate_key(CAM.track, T0 + 7 * S, -1)
    assert ref is not None
    reader.read_range(ref, 0, ref.data_len)
    assert reader.index.files.preads == 2


def test_a_clean_stop_and_a_restart_are_one_server_down(recorder: Callable[..., Recorder]) -> None:
    first = recorder()
    first.film(12, CAM)
    first.stop()
    second = recorder(run=2, start_us=T0 + 20 * S)
    second.film(5, CAM)
    reader = second.reader()
    reader.refresh()
    assert words(reader.coverage([CAM.track], T0 - S, T0 + 24 * S)[CAM.track]) == [
        (-1, 0, "not-scheduled", "not-configured"),
        (0, 12, "recorded", ""),
        (12, 20, "server-down", "stop"),
        (20, 24, "recorded", ""),
    ]


def test_a_crash_is_explained_before_and_after_recovery(recorder: Callable[..., Recorder], volume: Path) -> None:
    first = recorder()
    first.film(12, CAM)
    first.film(1, CAM, commit=False)
    first.crash()
    assert frames(offline(volume), CAM.track, T0, T0 + 60 * S) == list(range(300))
    before = words(offline(volume).coverage([CAM.track], T0, T0 + 60 * S)[CAM.track])
    assert before == [(0, 12, "recorded", ""), (12, 60, "server-down", "crash")]
    second = recorder(run=2, start_us=T0 + 20 * S)
    second.film(3, CAM)
    reader = second.reader()
    reader.refresh()
    assert words(reader.coverage([CAM.track], T0, T0 + 23 * S)[CAM.track]) == [
        (0, 12, "recorded", ""),
        (12, 20, "server-down", "crash"),
        (20, 23, "recorded", ""),
    ]
    _, at, after = reader.why(CAM.track, T0 + 15 * S)
    assert at.cause.state is State.SERVER_DOWN
    assert after is not None
    assert after.cause == RECORDED


def test_causes_from_the_ledger_reach_the_answer(recorder: Callable[..., Recorder]) -> None:
    live = recorder()
    live.film(5, CAM, OTHER)
    live.cover(CAM, Cause(State.CAMERA_OFFLINE, "stall"))
    live.film(4, OTHER)
    live.cover(CAM, RECORDED)
    live.film(3, CAM, OTHER)
    live.gap(CAM, live.now_us, live.now_us + 2 * S, Cause(State.OVERLOAD_SHED, "share", {"samples": 50}))
    live.film(2, OTHER)
    live.film(2, CAM, OTHER)
    got = words(live.reader().coverage([CAM.track, OTHER.track], T0, T0 + 16 * S)[CAM.track])
    assert got == [
        (0, 5, "recorded", ""),
        (5, 9, "camera-offline", "stall"),
        (9, 12, "recorded", ""),
        (12, 14, "overload-shed", "share"),
        (14, 16, "recorded", ""),
    ]


def answers(reader: Reader) -> object:
    return (
        sorted((t.spec.track, t.first_us, t.last_us) for t in reader.tracks()),
        frames(reader, CAM.track, T0 + 2 * S, T0 + 22 * S),
        words(reader.coverage([CAM.track], T0 - 5 * S, T0 + 60 * S)[CAM.track]),
        reader.spans(OTHER.track, T0, T0 + 60 * S),
    )


@pytest.mark.parametrize("harm", ["delete", "garbage", "truncate", "wal-stays"])
@pytest.mark.parametrize("running", [True, False])
def test_the_catalog_may_vanish_at_any_instant(finished: Path, harm: str, running: bool) -> None:
    reader = Reader(finished, "main", lambda: T0 + 100 * S)
    reader.refresh()
    want = answers(reader)
    catalog = finished / "catalog.db"
    assert catalog.stat().st_size > 0
    if not running:
        reader.close()
    if harm in ("delete", "wal-stays"):
        catalog.unlink()
        if harm == "delete":
            for suffix in ("-wal", "-shm"):
                catalog.with_name("catalog.db" + suffix).unlink(missing_ok=True)
    elif harm == "garbage":
        catalog.write_bytes(os.urandom(50_000))
    else:
        os.truncate(catalog, 5_000)
    if not running:
        reader = Reader(finished, "main", lambda: T0 + 100 * S)
        reader.refresh()
    assert answers(reader) == want
    assert answers(reader) == want
    reader.close()
    again = Reader(finished, "main", lambda: T0 + 100 * S)
    again.refresh()
    assert answers(again) == want


def test_a_volume_that_cannot_hold_a_catalog_is_read_all_the_same(finished: Path) -> None:
    want = answers(offline(finished))
    (finished / "catalog.db").mkdir()
    reader = Reader(finished, "main", lambda: T0 + 3600 * S)
    reader.refresh()
    assert answers(reader) == want


def test_a_flipped_byte_is_corruption_with_its_place_and_never_other_bytes(finished: Path) -> None:
    reader = offline(finished)
    ref = next(r for r in reader.chunks(CAM.track, T0 + 3 * S, T0 + 4 * S) if r.kind == Kind.DELTA)
    path = finished / (ref.name + ".rseg")
    raw = bytearray(path.read_bytes())
    raw[ref.row.offset + ref.row.length - 7] ^= 1
    path.write_bytes(raw)
    for call in (lambda: reader.read(ref), lambda: reader.read_range(ref, 0, 10)):
        with pytest.raises(ChunkCorrupt) as caught:
            call()
        assert caught.value.params["offset"] == ref.row.offset
        assert caught.value.params["file"] == ref.name


def test_a_removed_segment_is_gone_not_corrupt(finished: Path) -> None:
    reader = offline(finished)
    ref = next(reader.chunks(CAM.track, T0 + 3 * S, T0 + 4 * S))
    (finished / (ref.name + ".rseg")).unlink()
    reader.removed(finished / (ref.name + ".rseg"))
    with pytest.raises(ChunkGone) as caught:
        reader.read(ref)
    assert caught.value.state == "deleted"


def test_ranges_of_a_chunk_are_its_sample_bytes(finished: Path) -> None:
    reader = offline(finished)
    ref = next(r for r in reader.chunks(CAM.track, T0, T0 + S) if r.kind == Kind.DELTA)
    data = reader.read(ref).data
    assert len(data) == ref.data_len
    assert reader.read_range(ref, 100, 1000) == data[100:1100]
    with pytest.raises(ValueError, match="bytes"):
        reader.read_range(ref, 0, ref.data_len + 1)


def test_a_damaged_footer_is_passed_over_by_walking_the_blocks(finished: Path) -> None:
    want = answers(offline(finished))
    for path in finished.rglob("*.rseg"):
        raw = bytearray(path.read_bytes())
        raw[-10] ^= 1
        path.write_bytes(raw)
    reader = offline(finished)
    assert answers(reader) == want
    assert reader.index.damaged


def test_a_truncated_segment_gives_what_is_left(finished: Path) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    os.truncate(path, path.stat().st_size // 2)
    got = frames(offline(finished), CAM.track, T0, T0 + 25 * S)
    assert got == sorted(set(got))
    assert 300 < len(got) < 625


def test_an_unknown_storage_is_named_with_what_is_there(finished: Path) -> None:
    with pytest.raises(StorageMissing, match="main"):
        Reader.open_offline(finished, "nope", lambda: T0)
