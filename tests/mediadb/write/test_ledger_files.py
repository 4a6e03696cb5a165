"""The ledger on disk: what is durable, torn tails, failures, months; and what recovery learns from it."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig

from mediadb.format.ledger_page import LedgerKind
from mediadb.ledger import LedgerDamage, LedgerWriter, ledger_files, read_ledger
from mediadb.types import Cause, State
from mediadb.write.commits import StoreOptions
from mediadb.write.items import CoverItem

pytestmark = pytest.mark.fast
FOLDER = rig.ROOT / "ledger" / "main" / "x"


def writer(fs: FaultFs) -> LedgerWriter:
    fs.mkdirs(FOLDER)
    return LedgerWriter(fs, FOLDER, 7, 1)


def numbers(fs: FaultFs) -> list[int]:
    return [record.body["n"] for record in read_ledger(fs, FOLDER)]


def test_flushed_means_durable() -> None:
    fs = FaultFs()
    ledger = writer(fs)
    for n in range(5):
        ledger.add(LedgerKind.COVER, rig.T0 + n, {"n": n})
        ledger.flush(rig.T0)
    ledger.add(LedgerKind.COVER, rig.T0, {"n": 99})
    after = fs.crash()
    assert numbers(after) == [0, 1, 2, 3, 4]
    record = next(read_ledger(after, FOLDER))
    assert (record.kind, record.run, record.epoch, record.time_us) == (LedgerKind.COVER, 7, 1, rig.T0)


def test_pages_are_never_written_twice_and_damage_hides_nothing_else() -> None:
    fs = FaultFs()
    ledger = writer(fs)
    for n in range(4):
        ledger.add(LedgerKind.COVER, rig.T0, {"n": n, "pad": "x" * 5000})
        ledger.flush(rig.T0)
    (name,) = ledger_files(fs, FOLDER)
    node = fs.names[FOLDER / name]
    assert len(node.data) == 4 * 8192
    node.data[8192 + 100] ^= 4
    found: list[LedgerDamage] = []
    assert [r.body["n"] for r in read_ledger(fs, FOLDER, found.append)] == [0, 2, 3]
    assert [damage.offset for damage in found] == [8192, 12288]


def test_a_torn_tail_is_passed_over_and_written_behind() -> None:
    fs = FaultFs()
    ledger = writer(fs)
    for n in range(2):
        ledger.add(LedgerKind.COVER, rig.T0, {"n": n})
        ledger.flush(rig.T0)
    (name,) = ledger_files(fs, FOLDER)
    whole = bytes(fs.names[FOLDER / name].data)
    for cut in range(4096, 8192, 61):
        fs.names[FOLDER / name].data[:] = whole[:cut]
        again = writer(fs)
        again.add(LedgerKind.COVER, rig.T0, {"n": 7})
        again.flush(rig.T0)
        assert numbers(fs) in ([0, 7], [0, 1, 7])  # the record is whole before its padding


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_a_failed_append_is_written_again_into_a_new_part(call: str) -> None:
    fs = FaultFs()
    ledger = writer(fs)
    ledger.add(LedgerKind.COVER, rig.T0, {"n": 0})
    ledger.flush(rig.T0)
    ledger.add(LedgerKind.COVER, rig.T0, {"n": 1})
    fs.arm(call, 1, errno.EIO)
    with pytest.raises(OSError, match="injected"):
        ledger.flush(rig.T0)
    assert ledger.pending == 1
    ledger.flush(rig.T0)
    assert [name.partition(".")[2] for name in ledger_files(fs, FOLDER)] == ["", "1"]
    assert numbers(fs.crash()) == [0, 1]


def test_a_new_month_is_a_new_file_in_order() -> None:
    fs = FaultFs()
    ledger = writer(fs)
    for n, day in enumerate(("2026-09-30", "2026-10-01", "2026-10-31", "2026-11-01")):
        at = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1_000_000)
        ledger.add(LedgerKind.COVER, at, {"n": n})
        ledger.flush(at)
    assert ledger_files(fs, FOLDER) == ["2026-09", "2026-10", "2026-11"]
    assert numbers(fs) == [0, 1, 2, 3]
    assert [r.body["n"] for r in read_ledger(fs, FOLDER, since="2026-10")] == [1, 2, 3]


def test_coverage_transitions_are_durable_with_the_commit_they_came_in() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.put(run.track(), CoverItem(rig.T0, Cause(State.CAMERA_OFFLINE, "stall", {"seconds": 3})))
    run.commit()
    records = list(read_ledger(fs.crash(), run.log.ledger_folder))
    assert [LedgerKind(record.kind).name for record in records] == ["RUN_START", "COVER"]
    assert records[1].body == {
        "track": str(rig.track_id(0)), "time_us": rig.T0, "state": "camera-offline", "reason": "stall",
        "params": {"seconds": 3},
    }  # fmt: skip


def test_the_story_of_a_run() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True, segment_us=2_000_000))
    for second in range(3):
        run.frames(second * 25, 25)
        run.commit()
    run.close()
    records = list(read_ledger(fs, run.log.ledger_folder))
    kinds = [LedgerKind(record.kind).name for record in records]
    assert kinds == ["RUN_START", "SEGMENT_BIRTH", "SEGMENT_BIRTH", "SEGMENT_SEAL", "SEGMENT_SEAL", "RUN_STOP"]
    seals = [record.body for record in records if record.kind == LedgerKind.SEGMENT_SEAL]
    assert [seal["last_commit"][1] for seal in seals] == [1, 2]
    assert [track["samples"] for seal in seals for track in seal["tracks"]] == [50, 25]
    json.dumps(seals)


def test_a_segment_removed_by_retention_is_no_lost_commit() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True, segment_us=1_000_000))
    for second in range(5):
        run.frames(second * 25, 25)
        run.commit()
    after = fs.crash()
    paths = rig.segment_paths(after)
    assert [path.suffix for path in paths] == [".rseg"] * 4 + [".open"]
    after.unlink(paths[1])
    again = Rig(after, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert [code for code, _ in again.troubles] == ["recovered-segment"]


def test_a_sign_of_life_without_footage() -> None:
    fs = FaultFs()
    run = Rig(fs)
    for _ in range(125):
        run.commit()
    kinds = [record.kind for record in read_ledger(fs, run.log.ledger_folder)]
    assert kinds.count(LedgerKind.ALIVE) == 2
