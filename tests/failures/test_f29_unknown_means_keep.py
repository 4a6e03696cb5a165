"""29. Something is not known: then footage is kept.

Elsewhere "no detection result" was read as "nothing happened" and the footage was deleted. Ours: removal needs a rule
that says so; what cannot be read, is half said or comes from a later program removes nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mediadb.aio import StoreOptions
from mediadb.format.ledger_page import LedgerRecord, encode_page
from tests.time.time_rig import DAY, MINUTE, S, World

OPTIONS = StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, segment_us=20 * S, retention_us=30 * DAY)


def sealed(volume: Path) -> list[Path]:
    return sorted(volume.rglob("*.rseg"))


def ledger_of(volume: Path) -> Path:
    (found,) = volume.glob("ledger/main/*/2*")
    return found


async def filmed(folder: Path) -> World:
    world = await World(folder, options=OPTIONS).start()
    await world.run(2 * MINUTE)
    await world.stop()
    return world


async def reclaimed(first: World) -> World:
    """The next run, after several looks at what may go."""
    first.clock.advance(10 * S)
    world = await World(first.volume, clock=first.clock, options=OPTIONS).start()
    for _ in range(4):
        await world.run(10 * S)
        assert world.store is not None
        world.store._thread.beside(world.store._reclaim_step)
        await world.flush()
    await world.stop()
    return world


@pytest.mark.parametrize("said", [b"", b"\0" * 4096, b"RLGN" + b"\xff" * 4092, b'{"phase":"intent"}'])
async def test_a_removal_that_is_half_said_removes_nothing(tmp_path: Path, said: bytes) -> None:
    first = await filmed(tmp_path)
    for path in sealed(tmp_path):
        path.with_suffix(".gone").write_bytes(said)
    world = await reclaimed(first)
    assert len(world.served()) == len(first.sent) + len(world.sent)


async def test_a_footer_that_cannot_be_read_is_no_reason_to_remove(tmp_path: Path) -> None:
    first = await filmed(tmp_path)
    paths = sealed(tmp_path)
    for path in paths:
        raw = bytearray(path.read_bytes())
        raw[-64:] = b"\xa5" * 64
        path.write_bytes(raw)
    await reclaimed(first)
    assert all(path.exists() for path in paths)


async def test_words_of_a_later_program_are_passed_over(tmp_path: Path) -> None:
    first = await filmed(tmp_path)
    ledger = ledger_of(tmp_path)
    words = [LedgerRecord(4_000, first.clock.utc_us(), {"remove": "everything", "track": str(first.track)})]
    ledger.write_bytes(ledger.read_bytes() + encode_page(words, 99, 1, 1 << 20, first.clock.utc_us()))
    world = await reclaimed(first)
    assert len(world.served()) == len(first.sent) + len(world.sent)
