"""Recovery after a second misfortune: what an earlier recovery, a failed sync or a removal left behind."""

from __future__ import annotations

import errno

import pytest
import rig
import wild
from fault_fs import FaultFs
from rig import Rig
from world import World

from mediadb.format.ledger_page import LedgerKind
from mediadb.ledger import read_ledger
from mediadb.types import Cause, State
from mediadb.write.items import GapItem

pytestmark = pytest.mark.fast
LATER = rig.T0 + 60_000_000


def test_a_track_of_which_only_statements_are_left_has_no_crash_gap() -> None:
    """It never had media, so nothing ended; the writer of the next run must not stumble over that."""
    fs = FaultFs()
    run = Rig(fs)
    run.put(run.track(), GapItem(rig.T0, rig.T0 + 500_000, Cause(State.CAMERA_OFFLINE, "stall")))
    run.commit()
    after = fs.crash()
    again = Rig(after, start_us=LATER)
    again.recover()
    again.frames(0, 25, base_us=LATER)
    again.commit()
    assert again.acked == {rig.track_id(0): 25}


def test_a_seal_that_the_ledger_was_not_told_of_is_told_by_a_later_start() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    fs = fs.crash()
    Rig(fs, start_us=LATER).recover()  # sealed, and killed before the ledger's next flush
    fs = fs.crash()
    for start in (LATER + 10_000_000, LATER + 20_000_000):
        again = Rig(fs, start_us=start)
        again.recover()
        again.commit()
        again.close()
    sealed = [r.body["name"] for r in read_ledger(fs, again.log.ledger_folder) if r.kind == LedgerKind.SEGMENT_SEAL]
    assert len(sealed) == 1, "told, and told once"


@pytest.mark.parametrize("seed", range(6))
def test_what_was_given_up_stays_void_after_the_segment_that_said_so_was_removed(seed: int) -> None:
    world = World(seed=seed)
    world.recover()
    for _ in range(2):
        world.film()
        world.commit()
    world.fail_always("unlink", errno.EIO)  # what is given up cannot even be removed
    world.away(4)  # so that the next commit begins a new file
    world.film()
    world.fault("fdatasync", 2, errno.EIO)  # that of the commit, behind the one of the new file
    world.commit()
    given_up = sorted(path for path in world.fs.names if path.suffix == ".open")[1]
    world.heal()
    for _ in range(12):
        world.film()
        world.commit()
    world.work()
    world.reclaim(0.0)
    for _ in range(2):
        world.film()
        world.commit()
    assert given_up in world.fs.names
    world.faulty = False  # from here on every alarm would be a false one
    world.cut(seed)
    wild.reopen(world)
    world.check()
