"""Statements made while the volume was away: durable elsewhere, moved into the ledger on return, said once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs

from mediadb.coverage import Coverage, Outside
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import encode_cause
from mediadb.fs import Fs
from mediadb.ledger import LedgerWriter, read_ledger
from mediadb.types import Cause, State
from mediadb.waiting import WaitingLedger
from mediadb.write.commits import StoreOptions
from mediadb.write.handover import let_go

pytestmark = pytest.mark.fast
S = 1_000_000
T0 = rig.T0
LEDGER = rig.ROOT / "ledger" / "main" / "x"
DATA = Path("/data/ledger-waiting/main")
TRACK = rig.track_id(0)
MISSING = Cause(State.STORAGE_ERROR, "storage-missing")


def cover(at_s: float, cause: Cause) -> tuple[int, int, dict[str, object]]:
    time_us = T0 + round(at_s * S)
    return int(LedgerKind.COVER), time_us, {"track": str(TRACK), "time_us": time_us, **encode_cause(cause)}


def waiting(fs: Fs, run: int) -> WaitingLedger:
    fs.mkdirs(DATA)
    return WaitingLedger(fs, DATA, run)


def words(fs: Fs, end_s: float) -> list[tuple[float, str, str]]:
    coverage = Coverage(fs, rig.ROOT, "main", lambda: T0 + round(end_s * S), False)
    found = coverage.intervals(TRACK, [], Outside(100_000), T0, T0 + round(end_s * S))
    return [((i.start_us - T0) / S, str(i.cause.state), i.cause.reason) for i in found]


def owe(ledger: WaitingLedger, start_s: float, cause: Cause, until_s: float) -> None:
    """A run that only spoke while its storage was away."""
    ledger.add(LedgerKind.RUN_START, T0 + round(start_s * S), {"run": f"{5:016x}"})
    ledger.add(*cover(start_s, cause))
    ledger.add(LedgerKind.ALIVE, T0 + round(until_s * S), {})
    ledger.flush(T0 + round(until_s * S))


def test_what_a_run_said_without_its_volume_survives_a_crash_and_is_in_the_ledger_later() -> None:
    fs = FaultFs()
    owe(waiting(fs, 5), 10, MISSING, 400)
    after = fs.crash()
    after.mkdirs(LEDGER)
    owed = waiting(after, 6)
    ledger = LedgerWriter(after, LEDGER, 6, 2, owed)
    ledger.add(LedgerKind.RUN_START, T0 + 500 * S, {"run": f"{6:016x}"})
    ledger.add(*cover(500, Cause(State.CAMERA_OFFLINE, "refused")))
    ledger.adopt(T0 + 500 * S)
    assert owed.load() == [], "moved, not copied"
    assert words(after.crash(), 520)[:4] == [
        (0.0, "not-scheduled", "not-configured"),
        (10.0, "storage-error", "storage-missing"),
        (400.0, "server-down", "crash"),
        (500.0, "camera-offline", "refused"),
    ]


def test_the_same_run_goes_on_when_its_volume_comes() -> None:
    fs = FaultFs()
    fs.mkdirs(LEDGER)
    owed = waiting(fs, 5)
    owe(owed, 10, MISSING, 60)
    ledger = LedgerWriter(fs, LEDGER, 5, 1, owed)
    ledger.add(LedgerKind.RUN_START, T0 + 100 * S, {"run": f"{5:016x}"})
    ledger.add(*cover(100, Cause(State.CAMERA_OFFLINE, "refused")))
    ledger.adopt(T0 + 110 * S)
    assert words(fs, 105) == [
        (0.0, "not-scheduled", "not-configured"),
        (10.0, "storage-error", "storage-missing"),
        (100.0, "camera-offline", "refused"),
    ]


def test_a_volume_that_fails_hands_its_records_to_the_waiting_place_and_takes_them_back() -> None:
    fs = FaultFs()
    fs.mkdirs(LEDGER)
    owed = waiting(fs, 7)
    ledger = LedgerWriter(fs, LEDGER, 7, 1, owed)
    ledger.add(*cover(1, MISSING))
    ledger.flush(T0)
    ledger.add(*cover(2, Cause(State.CAMERA_OFFLINE, "stall")))
    fs.arm("pwritev", 1, errno.EIO)
    with pytest.raises(OSError, match=r"."):
        ledger.flush(T0)
    kept = waiting(fs.crash(), 8).load()
    assert [(r.run, r.body["reason"]) for r in kept] == [(7, "stall")]
    ledger.add(*cover(3, MISSING))
    ledger.flush(T0)
    assert owed.load() == []
    said = [r.body["reason"] for r in read_ledger(fs, LEDGER)]
    assert said == ["storage-missing", "stall", "storage-missing"]


def test_said_twice_is_said_once() -> None:
    """A crash between the ledger's sync and the clearing: everything is moved again, and the answer is the same."""
    answers = []
    for times in (1, 2):
        fs = FaultFs()
        fs.mkdirs(LEDGER)
        owe(waiting(fs, 5), 10, MISSING, 400)
        for run in range(6, 6 + times):
            owed = waiting(fs, run)
            ledger = LedgerWriter(fs, LEDGER, run, run, owed)
            owed.clear = lambda: None  # type: ignore[method-assign]
            ledger.adopt(T0 + 500 * S)
        answers.append(words(fs, 450))
    assert answers[0] == answers[1]


def test_nothing_waits_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediadb.waiting.MAX_PENDING", 3)
    owed = waiting(FaultFs(), 5)
    for n in range(5):
        owed.add(*cover(n, MISSING))
    assert (owed.pending, owed.dropped) == (3, 2)


def test_a_killed_run_whose_volume_went_is_known_to_a_tenth_of_the_time_it_was_away() -> None:
    fs = FaultFs()
    owed = waiting(fs, 5)
    run = rig.Rig(fs, StoreOptions(create=True, waiting=owed))
    run.frames(0, 25)
    run.commit()
    let_go(run.writer)
    gone_us = run.mono_us
    for _ in range(900):
        run.commit()
        if (away_us := run.mono_us - gone_us) >= 10 * S:
            said_us = waiting(fs, 99).load()[-1].time_us
            assert run.utc_us - said_us <= away_us // 10 + 3 * S
    assert len(waiting(fs, 99).load()) < 60, "few words about a volume that is away for long"
