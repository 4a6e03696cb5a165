"""Files that other hands remove, replace or cut under a running writer: noticed with the next commit, written again
from what is still held, and what cannot be brought back is said to be lost."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig

from mediadb.errors import StorageLocked
from mediadb.format.identity import VolumeIdentity, encode_volume
from mediadb.format.ledger_page import LedgerKind
from mediadb.fs import RealFs
from mediadb.ledger import ledger_files, read_ledger
from mediadb.locks import OpenRequest, open_log
from mediadb.read.reader import Reader
from mediadb.types import Cause, State
from mediadb.write.commits import StoreOptions
from mediadb.write.items import CoverItem

pytestmark = pytest.mark.fast
OPTIONS = StoreOptions(create=True, segment_us=60_000_000)
SECOND = 1_000_000


class Run(Rig):
    """A writer on real files, a second of 25 pictures per commit."""

    def __init__(self, folder: Path, options: StoreOptions = OPTIONS, start_us: int = rig.T0) -> None:
        super().__init__(RealFs(), options, folder, start_us)
        self.beginning = start_us
        self.put(self.track(), CoverItem(start_us, Cause(State.RECORDED)))

    def seconds(self, first: int, count: int) -> None:
        for second in range(first, first + count):
            self.frames(second * 25, 25)
            self.commit()

    @property
    def ledger(self) -> Path:
        return self.log.ledger_folder

    def codes(self) -> list[str]:
        return [code for code, _ in self.troubles]

    def said(self, seconds: int) -> list[tuple[float, float, str, str]]:
        """Coverage by a reader that knows files only."""
        reader = Reader(self.root, "main", lambda: self.utc_us)
        try:
            reader.refresh()
            end_us = rig.T0 + seconds * SECOND
            found = reader.coverage([rig.track_id(0)], rig.T0, end_us)[rig.track_id(0)]
        finally:
            reader.close()
        return [
            ((i.start_us - rig.T0) / 1e6, (i.end_us - rig.T0) / 1e6, i.cause.state.value, i.cause.reason) for i in found
        ]


def again(run: Run) -> Run:
    """Another process, a while later."""
    run.log.close()
    later = Run(run.root, start_us=run.utc_us)
    later.recover()
    return later


def remove(path: Path) -> None:
    path.unlink()


def replace_by_copy(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


def replace_by_nonsense(path: Path) -> None:
    path.with_name("other").write_bytes(b"x" * 10_000)
    os.replace(path.with_name("other"), path)


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved"))


def whole_folder(path: Path) -> None:
    shutil.rmtree(path.parents[2])


HANDS = [remove, replace_by_copy, replace_by_nonsense, move_away, whole_folder]


def offline(run: Run) -> None:
    """A camera away for three seconds, said in the ledger only."""
    run.put(run.track(), CoverItem(run.utc_us, Cause(State.CAMERA_OFFLINE, "timeout")))
    for _ in range(3):
        run.commit()
    run.put(run.track(), CoverItem(run.utc_us, Cause(State.RECORDED)))


@pytest.mark.parametrize("hands", HANDS)
def test_no_statement_goes_with_the_month(tmp_path: Path, hands: Callable[[Path], None]) -> None:
    run = Run(tmp_path)
    run.seconds(0, 2)
    offline(run)
    run.seconds(5, 1)
    before = list(read_ledger(run.fs, run.ledger))
    (name,) = ledger_files(run.fs, run.ledger)
    hands(run.ledger / name)
    run.seconds(6, 1)
    assert run.codes() == ["file-restored"]
    kept = list(read_ledger(run.fs, run.ledger))
    assert [record for record in kept if record.kind != LedgerKind.TROUBLE] == before
    run.seconds(7, 1)
    offline(run)
    run.seconds(11, 1)
    assert run.codes() == ["file-restored"]
    later = again(run)
    assert later.said(12) == [
        (0.0, 2.0, "recorded", ""),
        (2.0, 5.0, "camera-offline", "timeout"),
        (5.0, 8.0, "recorded", ""),
        (8.0, 11.0, "camera-offline", "timeout"),
        (11.0, 12.0, "recorded", ""),
    ]


def test_a_month_that_was_cut_is_said_and_what_holds_is_said_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.seconds(0, 2)
    offline(run)
    run.seconds(5, 1)
    (name,) = ledger_files(run.fs, run.ledger)
    os.truncate(run.ledger / name, 0)
    run.seconds(6, 1)
    assert run.codes() == ["ledger-lost"]
    assert run.troubles[0][1]["end_us"] == run.utc_us
    run.seconds(7, 2)
    later = again(run)
    assert later.said(9) == [
        (0.0, 2.0, "recorded", ""),
        (2.0, 5.0, "storage-error", "ledger-lost"),
        (5.0, 9.0, "recorded", ""),
    ]


def test_a_month_that_is_not_there_is_noticed_while_nothing_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.seconds(0, 1)
    (name,) = ledger_files(run.fs, run.ledger)
    (run.ledger / name).unlink()
    run.commit()
    assert run.codes() == ["file-restored"]
    assert ledger_files(run.fs, run.ledger) == [name]


def test_no_ledger_is_made_in_an_empty_mount_point(tmp_path: Path) -> None:
    volume = tmp_path / "video"
    run = Run(volume)
    run.seconds(0, 1)
    volume.rename(tmp_path / "away")
    volume.mkdir()
    with pytest.raises(OSError, match="unmounted"):
        run.writer.ledger.flush(run.utc_us)
    run.commit()
    assert list(volume.iterdir()) == []


@pytest.mark.parametrize("hands", HANDS)
def test_a_segment_that_goes_while_it_is_written(tmp_path: Path, hands: Callable[[Path], None]) -> None:
    run = Run(tmp_path)
    run.seconds(0, 3)
    (path,) = rig.segment_paths(run.fs, tmp_path)
    if hands is whole_folder:
        shutil.rmtree(path.parent)
    else:
        hands(path)
    run.seconds(3, 3)
    taken = hands is replace_by_nonsense  # the file that lies there is not ours to change
    assert run.codes() == (["segment-missing"] if taken else ["file-restored"])
    assert run.acked[rig.track_id(0)] == 150
    assert run.close() == []
    run.utc_us += SECOND
    later = Run(tmp_path, start_us=run.utc_us)
    lost = [(0.0, 3.2, "storage-error", "segment-missing"), (3.2, 6.0, "recorded", "")]  # up to the next key
    assert later.said(6) == (lost if taken else [(0.0, 6.0, "recorded", "")])
    if not taken:
        assert rig.numbers(run.fs, rig.track_id(0), tmp_path) == list(range(150))


def test_a_segment_that_goes_just_before_its_seal(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.seconds(0, 3)
    (path,) = rig.segment_paths(run.fs, tmp_path)
    path.unlink()
    assert run.close() == []
    assert run.codes() == ["file-restored"]
    assert rig.numbers(run.fs, rig.track_id(0), tmp_path) == list(range(75))


def test_a_segment_made_ahead_that_goes_is_not_written_to(tmp_path: Path) -> None:
    run = Run(tmp_path, replace(OPTIONS, segment_us=4 * SECOND))
    run.seconds(0, 4)
    first, ahead = rig.segment_paths(run.fs, tmp_path)
    assert first.stat().st_size > ahead.stat().st_size
    ahead.unlink()
    run.seconds(4, 3)
    assert run.close() == []
    assert rig.numbers(run.fs, rig.track_id(0), tmp_path) == list(range(175))


def test_a_log_file_that_goes_is_written_again_and_stays_locked(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.seconds(0, 1)
    (run.log.folder / "LOG").unlink()
    run.seconds(1, 1)
    assert run.codes() == ["file-restored"]
    assert run.acked[rig.track_id(0)] == 50
    with pytest.raises(StorageLocked):
        open_log(run.fs, OpenRequest(tmp_path, "main", rig.SERVER, 9, run.utc_us))
    assert run.close() == []
    Run(tmp_path, start_us=run.utc_us + SECOND)


@pytest.mark.parametrize("left", [None, b"", b"not ours" * 8, bytes(64)])
@pytest.mark.parametrize("stops", [False, True])
def test_the_volume_file_is_written_again(tmp_path: Path, stops: bool, left: bytes | None) -> None:
    """Removed, emptied or overwritten."""
    run = Run(tmp_path)
    run.seconds(0, 1)
    before = (tmp_path / "VOLUME").read_bytes()
    if left is None:
        (tmp_path / "VOLUME").unlink()
    else:
        (tmp_path / "VOLUME").write_bytes(left)
    if stops:
        run.close()
    else:
        run.seconds(1, 11)
    assert run.codes() == ["file-restored"]
    assert (tmp_path / "VOLUME").read_bytes()[:28] == before[:28]


def test_the_volume_file_of_another_volume_is_left_alone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.seconds(0, 1)
    (tmp_path / "VOLUME").write_bytes(encode_volume(VolumeIdentity(uuid.uuid4(), 5)))
    before = (tmp_path / "VOLUME").read_bytes()
    run.seconds(1, 11)
    assert run.codes() == []
    assert (tmp_path / "VOLUME").read_bytes() == before


def test_a_month_that_cannot_be_written_again_at_once_waits_for_room() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    before = list(read_ledger(fs, run.log.ledger_folder))
    (name,) = ledger_files(fs, run.log.ledger_folder)
    del fs.names[run.log.ledger_folder / name]
    fs.fail_always["create"] = errno.ENOSPC
    run.frames(25, 25)
    run.commit()
    run.commit()
    assert [code for code, _ in run.troubles] == ["ledger-error"]
    assert run.acked[rig.track_id(0)] == 50
    fs.heal()
    run.commit()
    assert [code for code, _ in run.troubles] == ["ledger-error", "file-restored", "storage-recovered"]
    kept = list(read_ledger(fs, run.log.ledger_folder))
    assert kept[: len(before)] == before
