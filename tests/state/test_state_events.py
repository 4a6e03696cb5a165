"""Events: at once to subscribers, in batches to the database, never twice the same id, purged in small steps."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from recorderd.core.clock import FakeClock
from recorderd.state import events as module
from recorderd.state.database import FILE_NAME, StateDb
from recorderd.state.events import EventLog

CAMERA = uuid.uuid4()


async def test_emitted_events_are_listed_filtered_and_paged(db: StateDb) -> None:
    log = await EventLog.open(db, FakeClock(5_000))
    for number in range(7):
        log.emit("camera-online", camera=CAMERA if number % 2 else None, params={"n": number})
    log.emit("server-started")
    first = await log.list(limit=3)
    assert [(event.id, event.code, event.params, event.time_us) for event in first] == [
        (number + 1, "camera-online", {"n": number}, 5_000) for number in range(3)
    ]
    assert [event.id for event in await log.list(after=first[-1].id)] == [4, 5, 6, 7, 8]
    assert [event.params["n"] for event in await log.list(camera=CAMERA)] == [1, 3, 5]
    assert [event.id for event in await log.list(code="server-started")] == [8]


async def test_ids_are_never_used_again_after_a_purge_and_a_restart(db: StateDb) -> None:
    clock = FakeClock(1_000)
    log = await EventLog.open(db, clock)
    for _ in range(25):
        log.emit("x")
    clock.advance(10)
    log.emit("young")
    await log.flush()
    assert await log.purge(1_005, batch=10) == 25
    assert [event.code for event in await log.list()] == ["young"]
    assert await log.purge(5_000) == 1
    again = await EventLog.open(db, clock)
    again.emit("next")
    assert [event.id for event in await again.list()] == [27]


async def test_subscribers_hear_at_once_and_a_slow_one_is_ended(db: StateDb) -> None:
    log = await EventLog.open(db, FakeClock())
    quick, slow = log.subscribe(), log.subscribe(limit=2)
    for number in range(4):
        log.emit("x", params={"n": number})
    heard = [(await anext(quick)).params["n"] for _ in range(4)]
    assert heard == [0, 1, 2, 3]
    assert [event.params["n"] async for event in slow] == [0, 1]
    waiting = asyncio.ensure_future(anext(quick))
    await asyncio.sleep(0)
    log.emit("x", params={"n": 9})
    assert (await waiting).params["n"] == 9
    log.unsubscribe(quick)
    assert [event async for event in quick] == []


async def test_a_database_that_refuses_loses_nothing_until_the_bound_and_then_counts(
    db: StateDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await EventLog.open(db, FakeClock())
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE events RENAME TO hidden")
    monkeypatch.setattr(module, "WAITING_LIMIT", 3)
    for number in range(5):
        log.emit("x", params={"n": number})
    with pytest.raises(sa.exc.SQLAlchemyError):
        await log.flush()
    assert log.lost == 2
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE hidden RENAME TO events")
    assert [event.params["n"] for event in await log.list()] == [2, 3, 4]


async def test_events_are_listed_although_the_disk_of_the_database_is_full(db: StateDb) -> None:
    log = await EventLog.open(db, FakeClock())
    log.emit("written", camera=CAMERA)
    await log.flush()
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'database or disk is full'); END"
        )
    for number in range(3):
        log.emit("waiting", camera=CAMERA if number else None, params={"n": number})
    assert [event.id for event in await log.list()] == [1, 2, 3, 4]
    assert [event.id for event in await log.list(camera=CAMERA)] == [1, 3, 4]
    assert [event.id for event in await log.list(after=2, limit=1, code="waiting")] == [3]
    assert [event.id for event in await log.list(limit=1)] == [1]


async def test_the_writer_task_writes_without_being_asked(tmp_path: Path) -> None:
    db = await StateDb.open(tmp_path / FILE_NAME)
    log = await EventLog.open(db, FakeClock())
    written = asyncio.Event()
    sa.event.listen(db.engine.sync_engine, "commit", lambda _: written.set())
    task = asyncio.ensure_future(log.write_forever())
    log.emit("x")
    await asyncio.wait_for(written.wait(), 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await db.close()


async def test_odd_parameters_become_text_and_stop_nothing(db: StateDb) -> None:
    log = await EventLog.open(db, FakeClock())
    log.emit("x", params={"camera": CAMERA, "path": Path("/a"), "nested": [{"p": Path("/b")}]})
    (event,) = await log.list()
    assert event.params == {"camera": str(CAMERA), "path": "/a", "nested": [{"p": "/b"}]}
