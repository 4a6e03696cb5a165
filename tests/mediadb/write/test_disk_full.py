"""A disk without room: nothing is littered, the ledger still speaks, and all is written when there is room again."""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig

from mediadb.format.ledger_page import LedgerKind
from mediadb.ledger import LedgerWriter, ledger_files, read_ledger
from mediadb.locks import LogHandle
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.types import Cause, State
from mediadb.write.commits import StoreOptions
from mediadb.write.items import CoverItem

pytestmark = pytest.mark.fast
TRACK = rig.track_id(0)


class ReservingFs(FaultFs):
    """Knows what was allocated ahead; a full one writes inside of that only."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: dict[int, int] = {}
        self.full = False

    def preallocate(self, fd: int, offset: int, length: int) -> None:
        super().preallocate(fd, offset, length)
        if not self.full:
            self.reserved[self.fds[fd].number] = offset + length

    def pwritev(self, fd, buffers, offset):  # type: ignore[no-untyped-def]
        end = offset + sum(map(len, buffers))
        node = self.fds[fd]
        if self.full and end > max(len(node.data), self.reserved.get(node.number, 0)):
            raise OSError(errno.ENOSPC, "no space left")
        return super().pwritev(fd, buffers, offset)


def recorded(fs: FaultFs, seconds: int = 3, **options: int) -> Rig:
    run = Rig(fs, StoreOptions(create=True, **options))  # type: ignore[arg-type]
    for second in range(seconds):
        run.frames(second * 25, 25)
        run.commit()
    return run


def say(run: Rig, number: int) -> None:
    run.put(run.track(), CoverItem(run.utc_us, Cause(State.STORAGE_ERROR, f"r{number}")))


def said(fs: FaultFs, folder: Path) -> list[str]:
    return [str(r.body["reason"]) for r in read_ledger(fs, folder) if r.kind == LedgerKind.COVER]


def files(fs: FaultFs) -> set[Path]:
    return {path for path in fs.names if path.name != "LOG"}


def test_a_full_disk_is_not_littered_and_what_waited_is_written_in_order() -> None:
    fs = FaultFs()
    run = recorded(fs)
    before = files(fs)
    fs.fail_always = {"pwritev": errno.ENOSPC}
    for second in range(3, 20):
        run.frames(second * 25, 25)
        say(run, second)
        run.commit()
        assert files(fs) == before
    assert run.writer.failed
    fs.fail_always = {}
    run.commit(20_000_000)
    assert not run.writer.failed
    assert run.acked == {TRACK: 500}
    assert said(fs, run.log.ledger_folder) == [f"r{second}" for second in range(3, 20)]
    assert len(ledger_files(fs, run.log.ledger_folder)) == 2
    names = sorted(path.name for path in rig.segment_paths(fs))
    assert [Path(name).suffix for name in names] == [".rseg", ".open"], "the given up one is sealed"
    assert [name.split("-")[-1][:6] for name in names] == ["000000", "000001"]
    assert rig.numbers(fs, TRACK) == list(range(500))
    after = fs.crash()
    again = Rig(after, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert rig.numbers(after, TRACK) == list(range(500))
    assert [code for code, _ in again.troubles] == ["recovered-segment"]


def test_no_file_is_made_while_there_is_no_room() -> None:
    fs = FaultFs()
    run = recorded(fs)
    fs.free = 4096
    fs.arm("pwritev", 1, errno.ENOSPC)
    run.frames(75, 25)
    run.commit()
    created = fs.calls["create"]
    for second in range(4, 30):
        run.frames(second * 25, 25)
        run.commit()
    assert run.writer.failed
    assert fs.calls["create"] == created
    fs.free = 1 << 30
    run.commit()
    assert run.acked == {TRACK: 750}


def test_a_given_up_segment_is_sealed_before_the_storage_works_again() -> None:
    """Else nothing is there for retention to remove, and the storage never works again."""
    fs = FaultFs()
    run = recorded(fs)
    fs.free = 4096
    fs.arm("pwritev", 1, errno.ENOSPC)
    run.frames(75, 25)
    run.commit()
    assert run.writer.failed
    (path,) = rig.segment_paths(fs)
    assert path.suffix == ".rseg"
    assert run.sealed_paths == [path]
    assert run.writer.live_segments() == ()
    assert rig.numbers(fs.crash(), TRACK) == list(range(75))


def test_a_broken_disk_is_not_written_to_again_before_it_works() -> None:
    """What was acknowledged of the file that failed is sealed then, so that retention can take it; its tail is gone."""
    fs = FaultFs()
    run = recorded(fs)
    fs.fail_always = {"fdatasync": errno.EIO}
    run.frames(75, 25)
    run.commit()
    run.commit(60_000_000)
    assert [path.suffix for path in rig.segment_paths(fs)] == [".open"]
    fs.fail_always = {}
    run.commit(60_000_000)
    assert [path.suffix for path in rig.segment_paths(fs)] == [".rseg", ".open"]
    assert rig.numbers(fs.crash(), TRACK) == list(range(100))
    after = fs.crash()
    again = Rig(after, start_us=rig.T0 + 300_000_000)
    again.recover()
    assert rig.numbers(after, TRACK) == list(range(100))


def test_a_seal_without_room_is_made_up_for() -> None:
    fs = FaultFs()

    def full_at_footer(name: str) -> None:
        if name == "seal_footer":
            fs.arm("pwritev", 1, errno.ENOSPC)

    run = recorded(fs, segment_us=2_000_000)
    fs.hook = full_at_footer
    for second in range(3, 5):
        run.frames(second * 25, 25)
        run.commit()
    fs.hook = None
    assert "seal-failed" in [code for code, _ in run.troubles]
    run.commit(20_000_000)
    *sealed, _, _ = [path.suffix for path in rig.segment_paths(fs)]  # the present one, the one made ahead
    assert set(sealed) == {".rseg"}
    assert rig.numbers(fs, TRACK) == list(range(125))


def test_the_next_segment_is_there_before_it_is_needed() -> None:
    """A roll then makes no file and syncs no folder, and a disk without room for it is met a segment early."""
    fs = FaultFs()
    run = recorded(fs, seconds=5, segment_us=5_000_000)
    assert [path.suffix for path in rig.segment_paths(fs)] == [".open", ".open"]
    calls = fs.calls["create"], fs.calls["fsync_dir"]
    jobs: list[object] = []
    run.writer._segments._beside = jobs.append
    run.frames(125, 50)
    run.commit(2_000_000)
    assert len(jobs) == 1, "the seal of the old one waits beside"
    assert (fs.calls["create"], fs.calls["fsync_dir"]) == calls
    assert len(run.writer.live_segments()) == 2
    assert rig.numbers(fs, TRACK) == list(range(175))


def test_want_of_room_is_met_a_segment_early() -> None:
    fs = FaultFs()
    fs.free = 1 << 20
    run = recorded(fs, seconds=5, segment_us=5_000_000)
    run.commit(100_000)
    assert [code for code, _ in run.troubles] == ["segment-not-created"]
    assert run.acked == {TRACK: 125}
    fs.free = 1 << 40
    run.frames(125, 25)
    run.commit(20_000_000)
    assert run.troubles[1:] == [("storage-recovered", {"of": "segment-not-created"})]
    assert not run.writer.failed


def test_a_file_made_ahead_takes_over_when_the_disk_has_no_room_for_another() -> None:
    fs = FaultFs()
    run = recorded(fs, seconds=5, segment_us=5_000_000)
    fs.free = 0
    fs.arm("pwritev", 1, errno.ENOSPC)
    run.frames(125, 25)
    run.commit(500_000)
    assert run.acked == {TRACK: 150}
    assert not run.writer.failed


def test_a_file_made_ahead_leaves_with_a_clean_stop() -> None:
    fs = FaultFs()
    run = recorded(fs, seconds=5, segment_us=5_000_000)
    assert run.close() == []
    assert [path.suffix for path in rig.segment_paths(fs)] == [".rseg"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "no-space"), (errno.EDQUOT, "quota"), (errno.EIO, "io-error"), (errno.EROFS, "read-only"),
     (errno.EPERM, "not-writable")],
)  # fmt: skip
@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_why_a_storage_takes_nothing_has_a_name(number: int, reason: str, call: str) -> None:
    fs = FaultFs()
    run = recorded(fs)
    fs.fail_always = {call: number}
    for second in range(3, 6):
        run.frames(second * 25, 25)
        run.commit()
    assert (run.writer.failed, run.writer.reason) == (True, reason)
    assert [(code, params["reason"]) for code, params in run.troubles if code == "storage-error"] == [
        ("storage-error", reason)
    ]
    fs.fail_always = {}
    run.commit(20_000_000)
    assert not run.writer.failed
    assert run.acked == {TRACK: 150}
    assert rig.numbers(fs.crash(), TRACK) == list(range(150))


def test_an_unmounted_volume_is_noticed_though_nothing_is_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = FaultFs()
    run = recorded(fs)
    names = set(fs.names)
    monkeypatch.setattr(LogHandle, "still_there", lambda _: False)
    run.commit()
    assert (run.writer.failed, run.writer.reason) == (True, "storage-missing")
    for second in range(3, 6):
        run.frames(second * 25, 25)
        say(run, second)
        run.commit()
    assert set(fs.names) == names, "nothing is made in the folder under it"
    assert said(fs, run.log.ledger_folder) == [], "and the file of a volume that is away takes no statements"
    assert [code for code, _ in run.troubles] == ["storage-error"]
    monkeypatch.undo()
    run.commit()
    assert run.acked == {TRACK: 150}
    assert [code for code, _ in run.troubles] == ["storage-error", "storage-recovered"]
    assert said(fs, run.log.ledger_folder) == ["r3", "r4", "r5"]


def test_the_ledger_has_room_of_its_own() -> None:
    fs = ReservingFs()
    run = recorded(fs)
    fs.full, fs.free = True, 0
    for number in range(50):
        say(run, number)
        run.commit()
    assert said(fs, run.log.ledger_folder) == [f"r{number}" for number in range(50)]
    assert len(ledger_files(fs, run.log.ledger_folder)) == 1


def test_a_ledger_part_in_which_nothing_was_written_does_not_stay() -> None:
    fs, folder = FaultFs(), rig.ROOT / "ledger" / "main" / "x"
    fs.mkdirs(folder)
    ledger = LedgerWriter(fs, folder, 7, 1)
    ledger.add(LedgerKind.COVER, rig.T0, {"n": 0})
    fs.fail_always = {"pwritev": errno.ENOSPC}
    for _ in range(10):
        with pytest.raises(OSError, match="injected"):
            ledger.flush(rig.T0)
        assert ledger_files(fs, folder) == []
    fs.fail_always = {}
    ledger.flush(rig.T0)
    assert [record.body["n"] for record in read_ledger(fs.crash(), folder)] == [0]


def test_ledger_trouble_is_told_once_and_so_is_its_end() -> None:
    fs = FaultFs()
    run = recorded(fs)

    def refuse(name: str) -> None:
        if name == "ledger_append":
            raise OSError(errno.ENOSPC, "no space left")

    fs.hook = refuse
    for number in range(5):
        say(run, number)
        run.commit()
    assert [code for code, _ in run.troubles] == ["ledger-error"]
    fs.hook = None
    run.commit()
    assert run.troubles[1:] == [("storage-recovered", {"of": "ledger-error"})]


def test_a_segment_that_cannot_be_made_is_told_once_and_so_is_its_end() -> None:
    fs = FaultFs()
    run = recorded(fs, segment_us=2_000_000)

    def refuse(name: str) -> None:
        if name == "create":
            raise OSError(errno.ENOSPC, "no space left")

    fs.hook = refuse
    for second in range(3, 40):
        run.frames(second * 25, 25)
        run.commit()
    assert [code for code, _ in run.troubles] == ["segment-not-created"]
    fs.hook = None
    run.frames(1000, 25)
    run.commit(20_000_000)
    assert run.troubles[1:] == [("storage-recovered", {"of": "segment-not-created"})]


def test_retention_needs_no_room_to_make_room() -> None:
    """The intent cannot be written; the ledger, which has room of its own, is told first all the same."""
    fs = ReservingFs()
    run = recorded(fs, seconds=8, segment_us=2_000_000)
    oldest = rig.segment_paths(fs)[0]
    fs.full, fs.free = True, 0
    options = ReclaimOptions(reserve_bytes=1)
    reclaimer = Reclaimer(fs, run.log.folder, run.writer.ledger, options, lambda: (0, 1 << 30), ClockBrake(None))
    ledger_at_unlink: list[int] = []

    def look(name: str) -> None:
        if name == "reclaim_unlink":
            assert oldest in fs.names
            ledger_at_unlink.extend(r.kind for r in read_ledger(fs.crash(), run.log.ledger_folder))

    fs.hook = look
    report = reclaimer.step(run.utc_us, run.mono_us)
    assert report.errors == []
    assert [removal.fact.path for removal in report.removed] == [oldest]
    assert LedgerKind.REMOVED in ledger_at_unlink
    assert oldest not in fs.names
    assert not [path for path in fs.names if path.suffix == ".gone"]


def test_another_failure_of_the_intent_removes_nothing() -> None:
    fs = FaultFs()
    run = recorded(fs, seconds=8, segment_us=2_000_000)
    before = rig.segment_paths(fs)
    options = ReclaimOptions(reserve_bytes=1)
    reclaimer = Reclaimer(fs, run.log.folder, run.writer.ledger, options, lambda: (0, 1 << 30), ClockBrake(None))
    fs.arm("pwritev", 1, errno.EIO)
    assert reclaimer.step(run.utc_us, run.mono_us).errors
    assert rig.segment_paths(fs) == before


def test_room_that_a_seal_will_give_is_waited_for() -> None:
    """The thread of the seals is behind: a segment without a footer cannot be removed yet, and that is no full disk."""
    jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    go = threading.Event()
    run = Rig(FaultFs(), StoreOptions(create=True), beside=jobs.put)
    segments = run.writer._segments
    sealing: list[bool] = []

    def room(length: int) -> bool:
        sealing.append(segments.sealing)
        go.set()
        return not sealing[-1]

    def seal() -> None:
        assert go.wait(30)
        jobs.get()()

    run.writer.use_room(room)
    segments._seal_beside(lambda: None)  # of an earlier segment
    keeper = threading.Thread(target=seal)
    keeper.start()
    run.frames(0, 25)
    run.commit()
    keeper.join()
    assert sealing[:2] == [True, False], "asked again when the seal was done"
    assert not run.writer.failed
    assert run.troubles == []
