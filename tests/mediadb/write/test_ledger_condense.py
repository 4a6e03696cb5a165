"""A ledger made small says of every instant what it said before, to old and new readers, and over a power cut."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest
import rig
from fault_fs import CHANGES, Crash, FaultFs

from mediadb.coverage import Coverage, Outside
from mediadb.format.ledger_page import LedgerKind
from mediadb.ledger import LedgerWriter, ledger_files
from mediadb.ledger_condense import condense, ledger_bytes, share_of
from mediadb.tools.fsck_ledger import LogLedger
from mediadb.tools.verify import verify_volume
from mediadb.types import Interval

pytestmark = pytest.mark.fast
LOG = "00000000-0000-0000-0000-00000000000a"
FOLDER = rig.ROOT / "ledger" / "main" / LOG
S = 1_000_000
T0 = 1_790_000_000 * S
TRACKS = [uuid.UUID(int=n) for n in (1, 2, 3)]
LIVES = 3


class Life:
    """Runs of a recorder on a storage that is full: each ten seconds a segment, and retention behind it."""

    def __init__(self, fs: FaultFs, seed: int) -> None:
        self.fs, self.rng = fs, random.Random(seed)
        self.run, self.now, self.number = 0, T0, 0
        self.there: list[tuple[str, str, int]] = []
        self.seqs: dict[int, int] = {}
        self.begin()

    def begin(self) -> None:
        self.run += 1
        self.ledger = LedgerWriter(self.fs, FOLDER, self.run, self.run)
        self.seqs = dict.fromkeys(range(3), 0)
        self.say(LedgerKind.RUN_START, {"run": f"{self.run:016x}", "epoch": self.run})
        for track in TRACKS:
            self.say(LedgerKind.COVER, {"track": str(track), "time_us": self.now, "state": "recorded"})

    def say(self, kind: LedgerKind, body: dict[str, object]) -> None:
        self.ledger.add(kind, self.now, body)
        self.ledger.flush(self.now)

    def record(self, segments: int) -> None:
        for _ in range(segments):
            self.segment()
            self.retention()
            if self.rng.random() < 0.1:
                self.outage(self.rng.choice(TRACKS))

    def segment(self) -> None:
        name, segment, start = f"d/{self.number}", str(uuid.UUID(int=self.number + 100)), self.now
        self.number += 1
        self.say(LedgerKind.SEGMENT_BIRTH, {"segment": segment, "name": name, "number": self.number})
        self.now += 10 * S
        tracks: list[dict[str, object]] = []
        for n, track in enumerate(TRACKS):
            low, self.seqs[n] = self.seqs[n], self.seqs[n] + 10
            entry = {"track": str(track), "first_us": start, "end_us": self.now, "first_seq": low}
            tracks.append({**entry, "next_seq": low + 10, "samples": 10, "bytes": 1000})
        body = {"segment": segment, "name": f"{name}.rseg", "bytes": 3000, "recovered": False, "tracks": tracks}
        commits = {"first_commit": [self.run, 0], "last_commit": [self.run, 1], "last_wall_us": self.now}
        self.say(LedgerKind.SEGMENT_SEAL, {**body, **commits, "run": f"{self.run:016x}"})
        self.there.append((name, segment, start))

    def retention(self) -> None:
        if len(self.there) > 3:
            self.gone(LedgerKind.GROOMED, self.there[-3], "age", TRACKS[:1])
        if len(self.there) > 6:
            self.gone(LedgerKind.REMOVED, self.there.pop(0), "space", TRACKS[1:])

    def gone(self, kind: LedgerKind, one: tuple[str, str, int], rule: str, tracks: list[uuid.UUID]) -> None:
        name, segment, start = one
        spans = [{"track": str(track), "spans": [[start, start + 9 * S]]} for track in tracks]
        body = {"segment": segment, "name": name.removeprefix("d/"), "state": "deleted", "rule": rule}
        self.say(kind, {**body, "bytes": 3000, "tracks": spans})

    def outage(self, track: uuid.UUID) -> None:
        cause = {"track": str(track), "state": "camera-down", "reason": "timeout"}
        self.say(LedgerKind.COVER, {**cause, "time_us": self.now})
        self.now += 7 * S
        self.say(LedgerKind.COVER, {"track": str(track), "time_us": self.now, "state": "recorded"})
        self.say(LedgerKind.GAP, {**cause, "start_us": self.now - 7 * S, "end_us": self.now})

    def end(self) -> None:
        self.say(LedgerKind.RUN_STOP, {"run": f"{self.run:016x}"})
        self.ledger.close()
        self.now += 120 * S


def lived(fs: FaultFs, seed: int, segments: int = 40) -> Life:
    life = Life(fs, seed)
    for number in range(LIVES):
        life.record(segments)
        if number < LIVES - 1:
            life.end()
            life.begin()
    return life


def coverage(fs: FaultFs, life: Life) -> Coverage:
    return Coverage(fs, rig.ROOT, "main", lambda: life.now, live=False)


def answers(said: Coverage, end_us: int) -> list[list[Interval]]:
    return [said.intervals(track, [], Outside(500_000), T0, end_us) for track in TRACKS]


def problems(fs: FaultFs) -> list[str]:
    found = LogLedger(fs, rig.ROOT, "main", LOG, lambda: pytest.fail("nothing is to be repaired")).look()
    return sorted(problem.what for problem in found)


@pytest.mark.parametrize("seed", range(8))
def test_every_instant_is_said_to_be_what_it_was(seed: int) -> None:
    fs = FaultFs()
    life = lived(fs, seed)
    old = coverage(fs, life)
    before, told = answers(old, life.now), problems(fs)
    whole = ledger_bytes(fs, FOLDER)
    left = condense(fs, FOLDER, life.ledger.roll(life.now))
    assert left == ledger_bytes(fs, FOLDER) < whole // 10
    assert answers(coverage(fs, life), life.now) == before, "who reads it first"
    assert answers(old, life.now) == before, "who had read it before"
    assert problems(fs) == told
    life.record(30)  # it goes on, and is made small again and again
    more = answers(old, life.now)
    for _ in range(3):
        condense(fs, FOLDER, life.ledger.roll(life.now))
        life.say(LedgerKind.ALIVE, {})
    assert ledger_bytes(fs, FOLDER) < whole // 8
    assert answers(coverage(fs, life), life.now) == answers(old, life.now) == more
    assert problems(fs) == problems(fs.crash())
    assert not [path for path in fs.names if path.name.endswith(".tmp")]


def test_a_reader_in_the_middle_goes_on() -> None:
    fs = FaultFs()
    life = lived(fs, 1)
    half = coverage(fs, life)
    answers(half, life.now)
    life.record(20)
    condense(fs, FOLDER, life.ledger.roll(life.now))
    life.record(5)
    assert answers(half, life.now) == answers(coverage(fs, life), life.now)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_reader_that_slept_while_it_was_made_small_more_than_once(times: int) -> None:
    """What it knows to be there was removed in parts that it never saw."""
    fs = FaultFs()
    life = lived(fs, 1)
    old = coverage(fs, life)
    answers(old, life.now)
    for _ in range(times):
        life.record(20)
        condense(fs, FOLDER, life.ledger.roll(life.now))
    life.record(5)
    assert answers(old, life.now) == answers(coverage(fs, life), life.now)
    assert old.patrol() == coverage(fs, life).patrol()


def test_a_power_cut_at_any_moment_changes_no_answer() -> None:
    at = 0
    while True:
        fs = FaultFs()
        life = lived(fs, 3, 12)
        condense(fs, FOLDER, life.ledger.roll(life.now))
        life.record(12)
        closed, before = life.ledger.roll(life.now), answers(coverage(fs, life), life.now)
        if not _cut_at(fs, at, closed):
            break
        for seed in range(3):
            left = fs.crash(random.Random(seed))
            assert answers(coverage(left, life), life.now) == before, f"cut at change {at}"
            assert not [name for name in ledger_files(left, FOLDER) if "tmp" in name]
            condense(left, FOLDER, ledger_files(left, FOLDER))
            assert answers(coverage(left, life), life.now) == before, f"repeated after {at}"
        at += 1
    assert at > 6


def _cut_at(fs: FaultFs, at: int, closed: list[str]) -> bool:
    """Run until the change numbered `at`; False when there are fewer."""
    done = 0
    enter = fs._enter

    def count(call: str) -> None:
        nonlocal done
        if call in CHANGES:
            if done == at:
                raise Crash
            done += 1
        enter(call)

    fs._enter = count  # type: ignore[method-assign]
    try:
        condense(fs, FOLDER, closed)
    except Crash:
        return True
    finally:
        fs._enter = enter  # type: ignore[method-assign]
    return False


def test_the_share_of_small_and_large_volumes() -> None:
    assert share_of(64 << 20) == 2 << 20
    assert share_of(1 << 30) == 16 << 20
    assert share_of(8 << 40) == 256 << 20


def test_how_many_pages_it_stood_for_costs_no_memory() -> None:
    """A ledger of one word a second for years, made small: fsck and verify count in ranges."""
    fs = FaultFs()
    life = lived(fs, 2, 5)
    body = {"parts": [], "pages": [[f"{life.run:016x}", life.run, 10**6, 1 << 40]]}
    life.say(LedgerKind.CONDENSED, body)
    assert [what for what in problems(fs) if "pages of statements are missing" in what]
    verdict = verify_volume(fs, rig.ROOT, "main")
    assert any("ledger pages are missing" in finding.what for finding in verdict.findings)


def test_months_stay_apart(tmp_path: Path) -> None:
    fs = FaultFs()
    life = lived(fs, 5)
    life.now += 40 * 86_400 * S
    life.record(40)
    before = answers(coverage(fs, life), life.now)
    condense(fs, FOLDER, life.ledger.roll(life.now))
    assert len({name[:7] for name in ledger_files(fs, FOLDER)}) == 2
    assert answers(coverage(fs, life), life.now) == before
