"""Behind a run that was killed exactly one later run says GAP(crash) and LINK per track, whatever happens between."""

from __future__ import annotations

import errno
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import pytest
import rig
import wild
from fault_fs import Crash, FaultFs
from rig import Rig

from mediadb.format.ledger_page import LedgerKind, LedgerRecord
from mediadb.format.records import run_text
from mediadb.fs import Fs
from mediadb.ledger import read_ledger
from mediadb.locks import OpenRequest, open_log
from mediadb.read.reader import Reader
from mediadb.types import Cause, State
from mediadb.write.handover import Handover, adopt, attach, hand_over, let_go, part
from mediadb.write.items import CoverItem, GapItem
from mediadb.write.recover import LastRun, Recovery
from mediadb.write.writer_thread import WriterThread

pytestmark = pytest.mark.fast
S = 1_000_000
A, B, C = 101, 102, 103
AT = {A: rig.T0, B: rig.T0 + 30 * S, C: rig.T0 + 60 * S}
END = rig.T0 + 25 * rig.FRAME_US  # of 25 frames of run A
TRACK = str(rig.track_id(0))


def begin(fs: Fs, run: int, at_us: int | None = None) -> Rig:
    return Rig(fs, start_us=AT[run] if at_us is None else at_us, run=run)


def film(run: Rig, at_us: int | None = None, first: int = 0) -> None:
    base_us = (run.utc_us if at_us is None else at_us) - first * rig.FRAME_US
    run.frames(first, 25, base_us=base_us)
    run.commit()


def killed(run: Rig) -> FaultFs:
    assert isinstance(run.fs, FaultFs)
    return run.fs.crash()


def after_a() -> FaultFs:
    run = begin(FaultFs(), A)
    film(run)
    return killed(run)


def ledger(fs: Fs) -> list[LedgerRecord]:
    base = rig.ROOT / "ledger" / "main"
    return [record for log in fs.listdir(base) for record in read_ledger(fs, base / log)]


def gaps(fs: Fs) -> list[tuple[int, int, int]]:
    """(run that broke off, start, end) of every gap of a crash."""
    found = [r.body for r in ledger(fs) if r.kind == LedgerKind.GAP and r.body["reason"] == "crash"]
    assert all(body["state"] == "server-down" for body in found)
    return [(int(body["params"]["run"], 16), body["start_us"], body["end_us"]) for body in found]


def links(fs: Fs) -> list[tuple[int, int]]:
    found = [r.body for r in ledger(fs) if r.kind == LedgerKind.LINK]
    return [(int(body["from_run"], 16), int(body["to_run"], 16)) for body in found]


def why(fs: Fs, start_us: int, end_us: int, now_us: int) -> list[tuple[float, str]]:
    reader = Reader(rig.ROOT, "main", lambda: now_us, fs=fs, cache=False)
    try:
        reader.refresh()
        found = reader.coverage([rig.track_id(0)], start_us, end_us)[rig.track_id(0)]
    finally:
        reader.close()
    return [((i.end_us - rig.T0) / S, f"{i.cause.state} {i.cause.reason}".strip()) for i in found]


def test_a_run_that_is_killed_before_it_could_say_so_leaves_it_to_the_next() -> None:
    run = begin(after_a(), B)
    film(run)  # its recovery was still reading
    run = begin(killed(run), C)
    run.recover()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B]), (B, AT[B] + S, AT[C])]
    assert links(run.fs) == [(A, B), (B, C)]
    assert why(run.fs, rig.T0, AT[C] + S, AT[C] + 2 * S) == [
        (1, "recorded"), (30, "server-down crash"), (31, "recorded"), (60, "server-down crash"), (61, "recorded"),
    ]  # fmt: skip


def test_a_start_that_is_killed_before_its_first_record_leaves_it_to_the_next() -> None:
    fs = after_a()
    open_log(fs, OpenRequest(rig.ROOT, "main", rig.SERVER, B, AT[B], True))
    run = begin(fs.crash(), C)
    run.recover()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B])], "the time behind is that of the start that was killed"
    assert links(run.fs) == [(A, C)]


def test_what_a_killed_run_said_is_not_said_again() -> None:
    run = begin(after_a(), B)
    run.recover()
    film(run)
    run = begin(killed(run), C)
    run.recover()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B]), (B, AT[B] + S, AT[C])]
    assert links(run.fs) == [(A, B), (B, C)]


def test_killed_between_its_footage_and_its_word() -> None:
    run = begin(after_a(), B)
    run.recover()
    run.frames(0, 25, base_us=AT[B])
    fs = run.fs
    assert isinstance(fs, FaultFs)

    def cut(name: str) -> None:
        if name == "ledger_append":
            raise Crash(name)

    fs.hook = cut
    with pytest.raises(Crash):
        run.commit()
    run = begin(fs.crash(), C)
    run.recover()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B]), (B, AT[B] + S, AT[C])]


def test_a_camera_that_is_not_back_before_a_clean_stop() -> None:
    run = begin(after_a(), B)
    run.recover()
    run.commit()
    assert gaps(run.fs) == []
    assert run.close() == []
    assert gaps(run.fs) == [(A, END, AT[B])], "up to where that run began: behind it no crash was"
    run = begin(run.fs, C)
    run.recover()
    film(run)
    run.close()
    assert gaps(run.fs) == [(A, END, AT[B])]


def test_a_track_that_the_killed_run_in_between_never_had() -> None:
    run = begin(after_a(), B)
    run.recover()
    run.commit()
    run = begin(killed(run), C)
    run.recover()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B])]
    assert links(run.fs) == [(A, C)]
    assert why(run.fs, rig.T0, AT[C] + S, AT[C] + 2 * S) == [
        (1, "recorded"), (60, "server-down crash"), (61, "recorded"),
    ]  # fmt: skip


def test_the_volume_goes_before_it_is_said_and_comes_back() -> None:
    run = begin(after_a(), B)
    film(run)
    let_go(run.writer)
    run.log = open_log(run.fs, OpenRequest(rig.ROOT, "main", rig.SERVER, B, AT[B] + 5 * S))
    attach(run.writer, run.log, run.now)
    for _ in range(2):  # it goes and comes again: said once
        run.recover()
    run.commit()
    assert gaps(run.fs) == [(A, END, AT[B])]
    assert links(run.fs) == [(A, B)]


def test_a_segment_that_cannot_be_sealed_tells_its_end_all_the_same() -> None:
    fs = after_a()
    fs.fail_always["truncate"] = errno.EIO
    run = begin(fs, B)
    run.recover()
    assert [code for code, _ in run.troubles] == ["recovery-failed"]
    fs.heal()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B])]


def test_a_ledger_that_cannot_be_read_leaves_it_to_the_next_start() -> None:
    fs = after_a()
    run = begin(fs, B)
    fs.fail_always["pread"] = errno.EIO
    run.recover()
    fs.heal()
    film(run)
    assert gaps(run.fs) == [], "a stop may stand in what could not be read"
    run = begin(killed(run), C)
    run.recover()
    film(run)
    assert gaps(run.fs) == [(A, END, AT[B]), (B, AT[B] + S, AT[C])]


def test_the_link_counts_statements_behind_the_last_footage() -> None:
    run = begin(FaultFs(), A)
    film(run)
    run.writer._segments.clock_set()
    run.utc_us = run.mono_us = run.utc_us + 20 * S  # so that the statement goes into a segment of its own
    run.put(run.track(), GapItem(END, END + S, Cause(State.CAMERA_OFFLINE, "stall")))
    run.commit()
    number = run.track().next_seq
    run = begin(killed(run), B)
    run.recover()
    run.commit()
    run = begin(killed(run), C)
    run.recover()
    film(run)
    body = next(r.body for r in ledger(run.fs) if r.kind == LedgerKind.LINK)
    assert (body["from_run"], body["next_seq"]) == (run_text(A), number)


def test_a_stop_in_an_older_month_is_a_stop() -> None:
    run = begin(FaultFs(), A)
    film(run)
    run.utc_us -= 100 * 86_400 * S
    run.clock_run += 1
    run.close()
    for one in (B, C):
        run = begin(run.fs, one)
        run.recover()
        film(run)
        run.close()
    assert gaps(run.fs) == []


def test_a_track_that_nobody_wanted_then_has_no_gap() -> None:
    run = begin(FaultFs(), A)
    film(run)
    run.put(run.track(), CoverItem(run.utc_us, Cause(State.NOT_SCHEDULED, "record-never")))
    run.commit()
    run = begin(killed(run), B)
    run.recover()
    film(run)
    assert gaps(run.fs) == []
    assert links(run.fs) == [(A, B)]


def test_a_track_that_another_storage_had_then_broke_off_there() -> None:
    run = begin(FaultFs(), A)
    film(run)
    hand_over(run.writer, run.now, "spare")
    run.commit()
    run = begin(killed(run), B)
    run.recover()
    film(run)
    assert gaps(run.fs) == []
    assert links(run.fs) == []


def lodger() -> Rig:
    """Run A, whose log has a track of another storage for a while."""
    run = begin(FaultFs(), A)
    given = Handover([], {"from": "home", "to": "main", "tracks": [[TRACK, 0]]})
    adopt(run.writer, given, run.now)
    film(run)
    return run


def test_a_track_that_lodged_here_broke_off_here() -> None:
    run = begin(killed(lodger()), B)
    run.recover()
    run.close()  # the track is at home, and does not come here again
    assert gaps(run.fs) == [(A, END, AT[B])]


def test_a_track_that_had_gone_home_before_did_not_break_off_here() -> None:
    run = lodger()
    part(run.writer, [run.track()], "home", run.now)
    run.commit()
    run = begin(killed(run), B)
    run.recover()
    run.close()
    assert gaps(run.fs) == []


class Word:
    """What recovery found, and the moment at which it is done: at each step of the writer's look."""

    def __init__(self, at: int) -> None:
        self.steps, self.at = 0, at
        self.done: Callable[[], object] = list

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not WriterThread._enter_recovered.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.steps += 1
            if self.steps == self.at:
                sys.settrace(None)
                self.done()
        return self.trace


def test_what_recovery_found_is_never_lost_between_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper's thread puts it down while the writer's thread is just looking, at any instruction of that."""
    run = begin(FaultFs(), A)
    monkeypatch.setattr(Recovery, "run", lambda _: [LastRun(A)])
    before = sys.gettrace()
    for at in range(1, 40):
        nobody = cast(Any, None)
        thread = WriterThread(run.log, rig.SERVER, run.options, nobody, nobody, nobody)
        entered: list[LastRun] = []
        monkeypatch.setattr(thread.writer, "recovered", lambda runs, _, entered=entered: entered.extend(runs))
        word = Word(at)
        word.done = thread._recover
        sys.settrace(word.trace)
        try:
            thread._enter_recovered(run.now)
        finally:
            sys.settrace(before)
        if word.steps < at:
            break
        thread._enter_recovered(run.now)
        assert len(entered) == 1, f"lost at instruction {at}"
    assert at > 3


def test_a_clock_that_stands_before_the_end_has_no_gap_and_nobody_states_one_later() -> None:
    run = begin(after_a(), B, rig.T0 - 3600 * S)
    run.mono_us = 0
    run.recover()
    film(run)
    assert gaps(run.fs) == []
    assert links(run.fs) == [(A, B)]
    run = begin(killed(run), C)
    run.recover()
    film(run)
    assert [run for run, _, _ in gaps(run.fs)] == [B]


def test_the_gap_never_hides_footage_of_a_clock_that_was_set_back() -> None:
    """Run B is killed before it said the gap behind A; C lives the same time once more."""
    run = begin(after_a(), B)
    film(run)
    run = begin(killed(run), C)
    run.utc_us = AT[A] - S
    run.clock_run += 1
    run.commit()
    for second in range(40):
        film(run, run.utc_us, second * 25)
    run.recover()
    run.commit()
    assert (A, END, AT[B]) in gaps(run.fs)
    words = why(run.fs, rig.T0, rig.T0 + 35 * S, AT[C] + 60 * S)
    assert words == [(35, "recorded")]


def test_the_gap_of_a_clock_that_ran_ahead_says_nothing_of_the_time_lived_after_it_was_set() -> None:
    """Two hours ahead, for a second: packets lost in those two hours are the network's."""
    run = begin(after_a(), B, AT[B] + 7200 * S)
    run.mono_us = 30 * S
    run.recover()
    film(run)
    run.utc_us = AT[B]
    run.clock_run += 1
    for second in range(1, 5):
        film(run, run.utc_us, 25 * second)
    run.utc_us += 3 * S
    base_us = run.utc_us - 200 * rig.FRAME_US
    run.put(run.track(), rig.frame(rig.track_id(0), 200, base_us=base_us)._replace(lost_packets=40))
    run.frames(201, 24, base_us=base_us)
    run.commit()
    assert gaps(run.fs) == [(A, END, AT[B] + 7200 * S)]
    words = why(run.fs, rig.T0, run.utc_us, run.utc_us)
    assert [word for _, word in words][:4] == [
        "recorded", "server-down crash", "recorded", "network-loss packets-lost",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [2, 3])
def test_in_any_life_each_broken_track_is_said_once(seed: int) -> None:
    """Crashes at any moment, recovery or not, faults or none: behind the last clean stop nothing is owed."""
    fs = wild.live(seed, 60, clock=seed % 2 == 0, faults=seed % 2 == 1).fs
    begun: dict[str, tuple[int, int]] = {}
    ends: dict[tuple[str, str], tuple[int, int]] = {}
    said: Counter[tuple[str, str]] = Counter()
    stopped: dict[str, int] = {}
    for record in ledger(fs):
        body = record.body
        if record.kind == LedgerKind.RUN_START:
            begun.setdefault(body["run"], (body["epoch"], record.time_us))
        elif record.kind == LedgerKind.RUN_STOP:
            stopped[body["run"]] = record.epoch
        elif record.kind == LedgerKind.GAP and body["reason"] == "crash":
            said[body["params"]["run"], body["track"]] += 1
        elif record.kind == LedgerKind.SEGMENT_SEAL:
            for track in body["tracks"]:
                key, end = (body["run"], track["track"]), (track["next_seq"], track["end_us"])
                if track["end_us"] is not None:
                    ends[key] = max(ends.get(key, end), end)
    order = sorted(begun, key=lambda run: begun[run])
    assert said.keys() <= {key for key in ends if key[0] not in stopped}, "a clean stop is no crash"
    for (run, track), (_, end_us) in ends.items():
        later = order[order.index(run) + 1 :] if run in begun else []
        if run in stopped or begun.get(run, (0, 0))[0] > max(stopped.values()) or not later:
            continue
        due = end_us < begun[later[0]][1]
        assert said[run, track] == 1 if due else said[run, track] <= 1, (run, uuid.UUID(track))
    assert sum(said.values()) > 3
