"""A storage that goes again on the way home: each sample lies on exactly one of the two disks, whatever the moment."""

from __future__ import annotations

import random
from typing import cast

import pytest
import rig
from two_logs import OPTIONS, ROOTS, SLOT_US, Two

from mediadb.lodging import Host, Place

HOWS = ("gone", "EIO", "ENOSPC")


@pytest.mark.fast
@pytest.mark.parametrize("how", HOWS)
def test_it_goes_again_at_every_moment_of_the_way_home(how: str) -> None:
    """From the moment at which the disk is back, one slot later each time, until all is home and durable."""
    for later in range(35):
        two = Two(later)
        for _ in range(15):
            two.slot(1.0)
        two.breaks(how)
        two.until(lambda two=two: two.lodging.place is Place.ABROAD, 1.0)  # type: ignore[misc]
        for _ in range(12):
            two.slot(1.0)
        two.heals()
        for _ in range(later):
            two.slot(1.0)
        two.breaks(how)
        for _ in range(OPTIONS.let_go_us // SLOT_US + 12):
            two.slot(1.0)
        two.end()
        two.check()


@pytest.mark.fast
def test_back_abroad_before_the_other_log_committed_what_was_left_there() -> None:
    two = Two(3)
    for _ in range(15):
        two.slot(1.0)
    two.breaks("gone")
    two.until(lambda: two.lodging.place is Place.ABROAD, 1.0)
    two.heals()
    two.until(lambda: two.lodging.place is Place.RETURNING, 1.0)
    two.host_commits = False
    two.until(lambda: two.lodging.place is Place.HOME, 1.0)
    two.breaks("gone")
    two.until(lambda: two.lodging.place is Place.ABROAD, 1.0)
    two.host_commits = True
    two.end()
    two.check()


@pytest.mark.fast
def test_who_stands_in_leaves_while_tracks_go_out_of_which_some_never_came_home() -> None:
    two = Two(4)
    for _ in range(15):
        two.slot(1.0)
    two.breaks("gone")
    two.until(lambda: two.lodging.place is Place.ABROAD, 1.0)
    two.heals()
    two.until(lambda: two.lodging.place is Place.RETURNING and len(two.lodging._home) == 1, 1.0)
    two.breaks("gone")
    two.lodging.leave(cast("Host", two.host), two.now)
    assert not two.lodging.recall(two.now)
    for _ in range(4):
        two.slot(1.0)
    assert two.lodging.place is Place.HOME
    assert two.home.said.count("moved-home") == 1
    two.end()
    two.check()


@pytest.mark.fast
def test_a_storage_without_a_camera_comes_home_too() -> None:
    two = Two(5, tracks=0)
    two.breaks("gone")
    two.until(lambda: two.lodging.place is Place.ABROAD)
    two.end()
    assert two.home.said[-1] == "moved-home"


@pytest.mark.fast
@pytest.mark.parametrize("seed", range(24))
def test_any_number_of_failures_in_any_order_of_threads(seed: int) -> None:
    rng = random.Random(seed)
    two = Two(seed)
    for _ in range(8):
        share = rng.choice((0.3, 0.6, 0.9))
        for _ in range(rng.randrange(1, 30)):
            two.slot(share)
        two.breaks(rng.choice(HOWS))
        for _ in range(rng.randrange(1, 40)):
            two.slot(share)
        two.heals()
    two.end()
    two.check()


@pytest.mark.fast
@pytest.mark.parametrize("abroad", [True, False])
def test_a_power_cut_behind_the_first_commit_in_the_other_log(abroad: bool) -> None:
    """It is durable and no later commit vouches for it; its numbers do not begin where those of its log end."""
    two = Two(1)
    for _ in range(15):
        two.slot(1.0)
    two.breaks("gone")
    two.until(lambda: two.lodging.place is Place.ABROAD, 1.0)
    store = two.host
    if not abroad:
        store = two.home
        for _ in range(12):
            two.slot(1.0)
        two.heals()
        two.until(lambda: two.lodging.place is Place.HOME, 1.0)
    track = rig.track_id(0)
    before = len(rig.numbers(store.fs, track, store.root))
    two.until(lambda: len(rig.numbers(store.fs, track, store.root)) > before, 1.0)
    there = rig.numbers(store.fs, track, store.root)
    after = rig.Rig(store.fs.crash(), root=ROOTS[abroad], start_us=two.utc_us())
    after.recover()
    assert rig.numbers(after.fs, track, after.root) == there
    assert "acknowledged-commits-lost" not in [code for code, _ in after.troubles]


@pytest.mark.fast
def test_what_a_later_epoch_knows_drops_nothing_of_an_earlier_segment() -> None:
    """ENOSPC gives a segment up, EIO keeps recovery from sealing it; the run goes on in other epochs, in both logs. The
    last durable commit of the first epoch is vouched for by nobody, and its numbers lie before those known since."""
    rng = random.Random(1298)
    two = Two(1298, rng.choice((1, 2, 4)))
    for _ in range(rng.randrange(2, 10)):
        share = rng.choice((0.2, 0.3, 0.6, 0.9, 1.0))
        for _ in range(rng.randrange(1, 40)):
            two.slot(share)
        two.breaks(rng.choice(("gone", "EIO", "ENOSPC")))
        for _ in range(rng.randrange(1, 50)):
            two.slot(share)
            if rng.random() < 0.01 and two.lodging.place is not Place.HOME:
                two.lodging.recall(two.now)
        two.heals()
    two.end()
    two.check()
