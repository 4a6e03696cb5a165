"""A backup, snapshot or clone of the epoch that is known: refused when two witnesses lack what was written last."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs

from mediadb.errors import StorageOlder
from mediadb.known_tail import KnownTail
from mediadb.ledger_condense import condense
from mediadb.locks import LogHandle, OpenRequest, open_log
from mediadb.write.commits import StoreOptions

pytestmark = pytest.mark.fast


def asked(tail: KnownTail | None) -> OpenRequest:
    return OpenRequest(rig.ROOT, "main", rig.SERVER, 8, rig.T0 + 10**9, known_epoch=1, known_tail=tail)


def cloned(fs: FaultFs) -> FaultFs:
    return copy.deepcopy(fs)


def recorded(fs: FaultFs) -> tuple[rig.Rig, FaultFs]:
    """A life of five seconds, a copy of its disk, and a minute and a half more: another segment was begun."""
    made = rig.Rig(fs, StoreOptions(create=True, segment_us=60_000_000))
    for number in range(5):
        made.frames(number * 25, 25)
        made.commit()
    older = cloned(fs)
    for number in range(5, 95):
        made.frames(number * 25, 25)
        made.commit()
    return made, older


def newest(made: rig.Rig) -> KnownTail:
    assert made.writer.newest is not None
    return made.writer.newest


def refused(fs: FaultFs, tail: KnownTail) -> None:
    before = {path: bytes(node.data) for path, node in fs.names.items()}
    with pytest.raises(StorageOlder, match="recorderctl storage --accept main"):
        open_log(fs, asked(tail))
    assert {path: bytes(node.data) for path, node in fs.names.items()} == before


def taken(fs: FaultFs, tail: KnownTail | None) -> None:
    log: LogHandle = open_log(fs, asked(tail))
    log.close()


@pytest.mark.parametrize("stopped", [True, False])
def test_an_older_copy_of_the_same_epoch_is_refused_until_it_is_accepted(stopped: bool) -> None:
    fs = FaultFs()
    made, older = recorded(fs)
    if stopped:
        assert made.close() == []
    else:
        fs = fs.crash()
    tail = newest(made)
    refused(older.crash(), tail)
    taken(fs, tail)
    taken(older.crash(), None)


def test_a_copy_of_seconds_ago_is_refused_after_a_clean_stop() -> None:
    """No sign of life in the ledger between the two, but the word of the stop."""
    fs = FaultFs()
    made = rig.Rig(fs)
    made.frames(0, 25)
    made.commit()
    older = cloned(fs)
    made.frames(25, 25)
    made.commit()
    assert made.close() == []
    refused(older.crash(), newest(made))


@pytest.mark.parametrize("seed", range(20))
def test_a_power_cut_makes_no_older_copy(seed: int) -> None:
    fs = FaultFs()
    made, _ = recorded(fs)
    taken(fs.crash(random.Random(seed)), newest(made))


def _without_segments(fs: FaultFs, made: rig.Rig) -> None:
    for path in [path for path in fs.names if path.suffix in (".rseg", ".open")]:
        fs.unlink(path)


def _without_ledger(fs: FaultFs, made: rig.Rig) -> None:
    for path in [path for path in fs.names if "ledger" in path.parts]:
        fs.unlink(path)


def _condensed(fs: FaultFs, made: rig.Rig) -> None:
    _without_segments(fs, made)
    folder = next(path.parent for path in fs.names if "ledger" in path.parts)
    condense(fs, folder, [path.name for path in fs.names if path.parent == folder])


@pytest.mark.parametrize("loss", [_without_segments, _without_ledger, _condensed])
def test_what_other_hands_or_retention_took_makes_no_older_copy(loss: Callable[[FaultFs, rig.Rig], None]) -> None:
    fs = FaultFs()
    made, _ = recorded(fs)
    assert made.close() == []
    loss(fs, made)
    taken(fs, newest(made))


def test_a_disk_that_cannot_be_read_is_not_called_older(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = FaultFs()
    made, older = recorded(fs)
    older = older.crash()
    read = older.open_read

    def sick(path: Path) -> int:
        if "ledger" in path.parts:
            raise OSError(5, "I/O error")
        return read(path)

    monkeypatch.setattr(older, "open_read", sick)
    taken(older, newest(made))


def test_the_tail_belongs_to_the_epoch_that_is_known() -> None:
    """Killed between the new epoch and its being remembered: the older tail holds no disk off."""
    fs = FaultFs()
    made, _ = recorded(fs)
    assert made.close() == []
    tail = newest(made)
    log = open_log(fs, asked(tail))
    log.close()
    _without_segments(fs, made)
    taken(fs, tail)


def test_this_very_process_needs_no_second_witness() -> None:
    fs = FaultFs()
    made, _ = recorded(fs)
    assert made.close() == []
    _without_segments(fs, made)
    with pytest.raises(StorageOlder):
        open_log(fs, replace(asked(newest(made)), known_tail=newest(made)._replace(pages=None)))
