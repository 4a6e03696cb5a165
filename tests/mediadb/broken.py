"""Promises broken on purpose, one at a time: what the checks must notice. Each gives a function that spoils a world."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from world import World

import mediadb.write.recover as recover_module
import mediadb.write.recover_index as recover_index
from mediadb.blockfile import BlockFile
from mediadb.segment_scan import scan_segment
from mediadb.write.segment import OPEN_SUFFIX, SegmentWriter

Spoil = Callable[[World], None]


def sync_lies(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """fdatasync does nothing."""
    return lambda world: setattr(world.fs, "sync_lies", True)


def dir_sync_lies(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """The sync of a folder does nothing."""
    return lambda world: setattr(world.fs, "dir_sync_lies", True)


def crc_unchecked(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Recovery takes every chunk for whole. The power goes often, in the middle of commits."""
    monkeypatch.setattr(recover_index, "chunk_verifies", lambda *_: True)

    def cut_soon(world: World) -> None:
        world.fs.cut_in = 12 + world.runs % 9

    return cut_soon


def reappend(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """What an earlier run left unsealed is appended to instead of sealed."""
    create = SegmentWriter.create.__func__  # type: ignore[attr-defined]

    def again(cls, fs, path, header, size_limit):  # type: ignore[no-untyped-def]
        old = sorted(p for p in fs.names if p.suffix == OPEN_SUFFIX and int(p.name.split("-")[1]) < header.epoch)
        scan = scan_segment(fs, old[-1]) if old else None
        if scan is None or not scan.blocks:
            return create(cls, fs, path, header, size_limit)
        return SegmentWriter(BlockFile.open_append(fs, old[-1]), scan.header, size_limit)

    monkeypatch.setattr(SegmentWriter, "create", classmethod(again))
    monkeypatch.setattr(recover_module.Recovery, "_recover", lambda *_: None)
    return lambda world: None


def unordered_removal(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """A removal is done before the ledger is told, and the ledger never is."""
    from mediadb.format.ledger_page import LedgerKind
    from mediadb.ledger import LedgerWriter

    add = LedgerWriter.add

    def forgetful(self, kind, time_us, body):  # type: ignore[no-untyped-def]
        if kind != LedgerKind.REMOVED:
            add(self, kind, time_us, body)

    monkeypatch.setattr(LedgerWriter, "add", forgetful)
    return lambda world: None


PROMISES: dict[str, Callable[[pytest.MonkeyPatch], Spoil]] = {
    each.__name__: each for each in (sync_lies, dir_sync_lies, crc_unchecked, reappend, unordered_removal)
}
