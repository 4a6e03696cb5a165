"""Memory is bounded, shedding takes whole GOPs and says so."""

from __future__ import annotations

import uuid

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig

from mediadb.read.reader import Reader
from mediadb.types import ChunkFlag, Names, Origin, Sample, State, TrackKind, TrackSpec
from mediadb.write.collect import Collector
from mediadb.write.commits import CommitInfo, StoreOptions, TrackCommit
from mediadb.write.items import ConfigItem, GapItem, TrackItem
from mediadb.write.lane import LanePlace, LaneWriter
from mediadb.write.segment_chunk import TrackState

pytestmark = pytest.mark.fast
BUDGET = 1 << 20


class Source:
    failed = False
    reason = "no-space"

    def track_state(self, spec: TrackSpec, names: Names) -> TrackState:
        return TrackState(spec, names)


def collector() -> tuple[Collector, list[tuple[object, ...]]]:
    told: list[tuple[object, ...]] = []
    return Collector(Source(), StoreOptions(memory_bytes=BUDGET), lambda *args: told.append(args)), told


def committed(into: Collector, track: uuid.UUID, samples: int, size: int) -> None:
    into.committed(CommitInfo(0, 0, {track: TrackCommit(samples, size, 5, 1)}, 0))


def test_memory_stays_within_the_budget_however_many_tracks_push() -> None:
    into, _ = collector()
    writers = [into.track(rig.video_spec(n), Names()) for n in range(20)]
    for number in range(400):
        for which, writer in enumerate(writers):
            writer.append(rig.frame(rig.track_id(which), number, size=500 + 100 * which))
            assert into.held <= BUDGET
    held = sum(len(item.data) for _, item in into.slot() if isinstance(item, Sample))
    assert held == into.held


def test_what_is_shed_is_whole_gops_and_a_gap_tells_it() -> None:
    into, told = collector()
    writer = into.track(rig.video_spec(0), Names())
    frames = [rig.frame(rig.track_id(0), n, gop=10, size=10_000) for n in range(120)]
    for sample in frames[:95]:
        writer.append(sample)
    kept = [item for _, item in into.slot() if isinstance(item, Sample)]
    assert len(kept) < 95
    assert kept == frames[: len(kept)], "from the first shed sample on nothing is taken, KEYs without room neither"
    committed(into, rig.track_id(0), len(kept), sum(len(sample.data) for sample in kept))
    for sample in frames[95:]:
        writer.append(sample)
    items = [item for _, item in into.slot()]
    assert isinstance(items[0], GapItem)
    assert items[0].start_us == frames[len(kept)].recv_us
    assert items[0].end_us == frames[100].recv_us, "it goes on at the next KEY"
    assert items[0].cause.state is State.OVERLOAD_SHED
    assert items[1] == frames[100]._replace(discontinuity=True)
    assert items[2:] == frames[101:]
    assert told == [(rig.track_id(0), items[0].start_us, items[0].end_us, 100 - len(kept), into.shed_bytes)]
    assert writer.durable_us == 5


def test_a_track_within_its_share_is_not_shed_for_a_greedy_one() -> None:
    into, told = collector()
    greedy, modest = (into.track(rig.video_spec(n), Names()) for n in range(2))
    for number in range(200):
        greedy.append(rig.frame(rig.track_id(0), number, size=10_000))
    for number in range(20):
        modest.append(rig.frame(rig.track_id(1), number, size=1000))
    greedy.end_shedding(rig.T0 + 9_000_000)
    assert {track for track, *_ in told} == {rig.track_id(0)}


def test_shedding_while_the_storage_fails_says_storage_error() -> None:
    into, _ = collector()
    into._source.failed = True
    writer = into.track(rig.video_spec(0), Names())
    for number in range(200):
        writer.append(rig.frame(rig.track_id(0), number, size=10_000))
    writer.end_shedding(rig.T0 + 9_000_000)
    gaps = [item for _, item in into.slot() if isinstance(item, GapItem)]
    assert [(gap.cause.state, gap.cause.reason) for gap in gaps] == [(State.STORAGE_ERROR, "no-space")]


def test_shedding_while_the_disk_does_not_answer_says_so() -> None:
    into, _ = collector()
    into.stalled = True
    writer = into.track(rig.video_spec(0), Names())
    for number in range(200):
        writer.append(rig.frame(rig.track_id(0), number, size=10_000))
    writer.end_shedding(rig.T0 + 9_000_000)
    gaps = [item for _, item in into.slot() if isinstance(item, GapItem)]
    assert [(gap.cause.state, gap.cause.reason) for gap in gaps] == [(State.STORAGE_ERROR, "storage-stalled")]


def test_a_track_is_met_once_and_renamed() -> None:
    into, _ = collector()
    spec = rig.video_spec(0)
    assert into.track(spec, Names("a")) is into.track(spec, Names("a"))
    assert into.track(spec, Names("b")).names == Names("b")
    assert [item.names for _, item in into.slot() if isinstance(item, TrackItem)] == [Names("a"), Names("b")]


def test_wall_clock_step_splits_chunks_by_clock_run() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 5)
    step = 3_600_000_000
    run.utc_us += step
    run.frames(5, 5, base_us=rig.T0 + step)
    run.commit()
    (live,) = run.writer.live_segments()
    columns = live.index.tracks[rig.track_id(0)].media
    assert [columns.row(n).recv_us - rig.T0 for n in range(columns.count)] == [0, 40_000, step + 200_000]


def test_lane_is_a_sealed_single_track_file_with_its_origin() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 5)
    run.commit()
    identity = run.log.identity
    place = LanePlace(rig.ROOT, "main", identity.volume, rig.SERVER, identity.log, Origin.EDGE, run.writer.ledger)
    spec = rig.video_spec(0)
    old_us = rig.T0 - 86_400_000_000
    with LaneWriter(fs, place, spec, Names("cam")) as lane:
        lane.config(rig.VIDEO)
        lane.extend(rig.frame(spec.track, n, base_us=old_us) for n in range(25))
        assert [path for path in fs.names if "archive" in path.parts and path.suffix == ".rseg"] == []
    (path,) = lane.sealed
    assert path.parts[2:5] == ("archive", "main", str(spec.track))
    assert run.close() == []
    reader = Reader.open_offline(rig.ROOT, "main", lambda: rig.T0 + 10_000_000, fs=fs)
    refs = list(reader.chunks(spec.track, old_us, old_us + 1_000_000))
    data = [reader.read(ref) for ref in refs]
    assert [s.data for chunk in data for s in chunk.samples] == [
        rig.content(spec.track, n, len(rig.frame(spec.track, n).data)) for n in range(25)
    ]
    assert all(chunk.header.flags & ChunkFlag.LATE and chunk.header.origin == Origin.EDGE for chunk in data)
    reader.close()


def test_a_lane_that_fails_leaves_nothing() -> None:
    fs = FaultFs()
    run = Rig(fs)
    place = LanePlace(rig.ROOT, "main", run.log.identity.volume, rig.SERVER, run.log.identity.log, Origin.IMPORT)

    def job() -> None:
        with LaneWriter(fs, place, rig.video_spec(0), Names()) as lane:
            lane.config(rig.VIDEO)
            lane.extend(rig.frame(rig.track_id(0), n) for n in range(25))
            lane.commit(rig.T0)
            raise RuntimeError("source went away")

    with pytest.raises(RuntimeError):
        job()
    assert not [path for path in fs.names if "archive" in path.parts]
    with pytest.raises(ValueError, match="live"):
        LaneWriter(
            fs,
            LanePlace(rig.ROOT, "m", run.log.identity.volume, rig.SERVER, rig.SERVER, Origin.LIVE),
            rig.video_spec(0),
            Names(),
        )


def test_metadata_needs_no_key_to_resume() -> None:
    into, told = collector()
    spec = TrackSpec(rig.track_id(5), rig.track_id(5), rig.track_id(5), TrackKind.METADATA)
    writer = into.track(spec, Names())
    big = rig.frame(rig.track_id(5), 1, size=BUDGET * 2)
    writer.append(big)
    writer.append(rig.frame(rig.track_id(5), 2, size=10))
    assert len(told) == 1
    assert writer.held == 10


def test_config_items_are_ordered_with_samples() -> None:
    into, _ = collector()
    writer = into.track(rig.video_spec(0), Names())
    writer.config(rig.VIDEO)
    writer.append(rig.frame(rig.track_id(0), 0))
    kinds = [type(item) for _, item in into.slot()]
    assert kinds == [TrackItem, ConfigItem, Sample]
