"""24. An upgrade with terabytes and an index of the old version.

Elsewhere the migration of a large index took an hour in which nothing was recorded, or lost footage. Ours: the index
is a cache; recording starts at once, and the old index is made again from the footage beside it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from mediadb.aio import StoreOptions
from mediadb.read.reader import Reader
from tests.time.time_rig import MINUTE, S, World


def of_an_old_version(volume: Path) -> None:
    """In place of the catalog, one that another version left."""
    for stale in volume.glob("catalog.db*"):
        stale.unlink()
    with sqlite3.connect(volume / "catalog.db") as old:
        old.execute("CREATE TABLE recordings(path TEXT, begin REAL)")
        old.execute("INSERT INTO recordings VALUES('elsewhere', 1)")
        old.execute("PRAGMA user_version=1")
    old.close()


async def test_recording_does_not_wait_for_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, segment_us=20 * S)
    first = await World(tmp_path, options=options).start()
    await first.run(4 * MINUTE)
    await first.stop()
    of_an_old_version(tmp_path)

    gate, refresh = threading.Event(), Reader.refresh

    def slowly(self: Reader) -> None:
        assert gate.wait(60)
        refresh(self)

    monkeypatch.setattr(Reader, "refresh", slowly)
    world = World(tmp_path, clock=first.clock, options=options)
    starting = asyncio.ensure_future(world.start())
    async with asyncio.timeout(30):
        while world.store is None:  # noqa: ASYNC110 - opening has no event of its own
            await asyncio.sleep(0.01)
    assert not starting.done(), "the index is still being made"
    await world.store.flush()
    gate.set()
    await starting
    await world.run(MINUTE)
    assert len(world.served()) == len(first.sent) + len(world.sent), "old and new footage"
    await world.stop()
