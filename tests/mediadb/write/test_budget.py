"""Memory that waits for disks: bounded for the process, fair between cameras, given back to the last byte."""

from __future__ import annotations

import uuid

import pytest
import rig

from mediadb.types import Names, Sample, TrackKind, TrackSpec
from mediadb.write.budget import Budget, Holder
from mediadb.write.collect import Collector, TrackWriter
from mediadb.write.commits import CommitInfo, StoreOptions, TrackCommit
from mediadb.write.items import GapItem
from mediadb.write.segment_chunk import TrackState

pytestmark = pytest.mark.fast
MIB = 1 << 20


class Source:
    failed = False
    reason = ""

    def track_state(self, spec: TrackSpec, names: Names) -> TrackState:
        return TrackState(spec, names)


def spec_of(camera: int, track: int | None = None) -> TrackSpec:
    number = camera if track is None else track
    return TrackSpec(rig.track_id(number), uuid.UUID(int=0xC000 + camera), uuid.UUID(int=1), TrackKind.VIDEO)


def make(budget: Budget | None = None, memory: int = 1 << 40) -> tuple[Collector, list[tuple[object, ...]]]:
    told: list[tuple[object, ...]] = []
    options = StoreOptions(memory_bytes=memory, budget=budget)
    return Collector(Source(), options, lambda *args: told.append(args)), told


def gop(writer: TrackWriter, first: int, size: int, length: int = 10) -> None:
    for number in range(first, first + length):
        writer.append(rig.frame(writer.state.spec.track, number, gop=length, size=size))


def shed_bytes(into: Collector, writer: TrackWriter) -> int:
    return writer._bytes_shed


def commit(into: Collector, writer: TrackWriter) -> None:
    """All that the track holds becomes durable."""
    into.committed(CommitInfo(0, 0, {writer.state.spec.track: TrackCommit(1, writer.held, 5, 1)}, 0))


def test_one_greedy_camera_cannot_eat_the_share_of_the_others() -> None:
    """A 4K camera that sends fifty times as much as each of the others: they keep what is theirs through the stall."""
    budget = Budget(64 * MIB)
    into, _ = make(budget)
    greedy = into.track(spec_of(0), Names())
    modest = [into.track(spec_of(n), Names()) for n in range(1, 64)]
    for turn in range(10):
        gop(greedy, turn * 10, 500_000)
        for writer in modest:
            gop(writer, turn * 10, 3_000)
        into.slot()
    assert budget.held <= budget.limit
    assert greedy._bytes_shed > 0, "the test does not fill the memory"
    assert [shed_bytes(into, writer) for writer in modest] == [0] * 63
    assert greedy.held <= budget.limit // 2 + budget.each


def test_what_nobody_else_needs_is_used() -> None:
    """One camera alone may fill it all; two that send the same get the same."""
    budget = Budget(MIB)
    into, _ = make(budget)
    alone = into.track(spec_of(0), Names())
    gop(alone, 0, 10_000, 200)
    assert alone.held > budget.limit * 9 // 10
    both, _ = make(Budget(MIB))
    pair = [both.track(spec_of(n), Names()) for n in (0, 1)]
    for number in range(200):
        for writer in pair:
            writer.append(rig.frame(writer.state.spec.track, number, gop=200, size=10_000))
    assert abs(pair[0].held - pair[1].held) <= 40_000


def test_the_tracks_of_a_camera_share_what_is_its() -> None:
    budget = Budget(MIB)
    into, _ = make(budget)
    tracks = [into.track(spec_of(0, 10 + n), Names()) for n in range(4)]
    into.track(spec_of(1), Names())
    for writer in tracks:
        gop(writer, 0, 20_000, 100)
    assert sum(writer.held for writer in tracks) <= budget.limit // 2 + budget.each


def test_two_storages_share_the_process_budget_and_each_has_its_own() -> None:
    budget = Budget(2 * MIB)
    sick, _ = make(budget, memory=MIB)
    well, _ = make(budget, memory=MIB)
    for number in range(5):
        gop(sick.track(spec_of(number), Names()), 0, 50_000, 30)
    assert sick.held <= MIB
    healthy = well.track(spec_of(100), Names())
    for turn in range(50):
        gop(healthy, turn * 10, 5_000)
        assert healthy._bytes_shed == 0, "a storage that works keeps room although another one does not"
        commit(well, healthy)
        well.slot()
    assert budget.held == sick.held


def test_all_is_given_back() -> None:
    budget = Budget(MIB)
    into, _ = make(budget)
    writers = [into.track(spec_of(n), Names()) for n in range(3)]
    for writer in writers:
        gop(writer, 0, 5_000)
    into.drop_refused(rig.track_id(0), len(rig.frame(rig.track_id(0), 0, size=5_000).data))
    commit(into, writers[1])
    assert budget.held == sum(writer.held for writer in writers) == into.held > 0
    into.release()
    assert budget.held == into.held == 0
    assert budget.each == MIB // 2, "no camera is left"


def test_a_gop_that_would_be_cut_off_again_is_shed_whole() -> None:
    into, told = make(memory=MIB)
    writer = into.track(spec_of(0), Names())
    gop(writer, 0, 20_000, 100)  # 2 MB: the end of it is shed
    kept = [item for _, item in into.slot() if isinstance(item, Sample)]
    gop(writer, 100, 20_000, 100)  # shed: now its size is known
    into.committed(CommitInfo(0, 0, {rig.track_id(0): TrackCommit(1, 3 * len(kept[0].data), 5, 1)}, 0))
    gop(writer, 200, 20_000, 100)
    assert not [item for _, item in into.slot() if isinstance(item, Sample)], "room for a few frames is not enough"
    commit(into, writer)
    gop(writer, 300, 20_000, 100)
    items = [item for _, item in into.slot()]
    assert isinstance(items[0], GapItem)
    assert items[1].data == rig.frame(rig.track_id(0), 300, gop=100, size=20_000).data
    assert len(told) == 1


def test_a_gop_larger_than_all_memory_does_not_stop_the_track_for_ever() -> None:
    into, _ = make(memory=MIB)
    writer = into.track(spec_of(0), Names())
    for turn in range(4):
        gop(writer, turn * 100, 50_000, 100)
        commit(into, writer)
        into.slot()
    assert writer.held == 0
    gop(writer, 400, 50_000, 10)
    assert writer.held > 0


def test_a_budget_counts_again_after_cameras_came_and_went() -> None:
    budget = Budget(MIB)
    first, second = Holder(), Holder()
    one = budget.share(uuid.UUID(int=1), first)
    budget.share(uuid.UUID(int=2), second)
    assert budget.each == MIB // 4
    first.held = budget.held = MIB // 2 + MIB // 4
    assert not budget.room(one, 1)
    budget.leave(uuid.UUID(int=2), second)
    assert budget.room(one, 1)
