"""Typed events: given out at once, written in batches, kept for the time asked for.

Law: `emit` is cheap, synchronous and never waits for the disk; ids grow without holes in one process and are never
used twice, so a client resumes by the last id it saw. What cannot be written is counted and said, never hidden.
Event loop thread only. Called by engine, daemon and server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import sqlalchemy as sa
import structlog

from recorderd.core.clock import Clock
from recorderd.state.database import StateDb
from recorderd.state.tables import events

_log = structlog.get_logger("events")

BATCH = 500
WAITING_LIMIT = 20_000  # events that may wait for a database that refuses them
RETRY_S = 5.0
SUBSCRIBER_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a stable code, where, when, and parameters for the client's own words."""

    id: int
    time_us: int
    code: str
    camera: uuid.UUID | None = None
    hardware: uuid.UUID | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


class EventSubscription:
    """New events in order. A reader that falls behind SUBSCRIBER_LIMIT is ended; it then lists from its last id."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self.closed = False

    def offer(self, event: Event) -> None:
        if len(self._waiting) >= self._limit:
            self.close()
        elif not self.closed:
            self._waiting.append(event)
            self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self.closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class EventLog:
    """The events of this server. `write_forever` is started by the composition root."""

    def __init__(self, db: StateDb, clock: Clock, last_id: int) -> None:
        self._db = db
        self._clock = clock
        self._last_id = last_id
        self._unwritten: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._subscribers: set[EventSubscription] = set()
        self.lost = 0  # events that the database never took
        self.stuck = False  # the database refused the last batch

    @classmethod
    async def open(cls, db: StateDb, clock: Clock) -> Self:
        """Continue after the highest id ever given."""
        async with db.engine.connect() as connection:
            given = await connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
            return cls(db, clock, given.scalar() or 0)

    @property
    def last_id(self) -> int:
        return self._last_id

    def emit(
        self,
        code: str,
        *,
        camera: uuid.UUID | None = None,
        hardware: uuid.UUID | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Give the event to all subscribers now and to the database soon. `params` that JSON does not know (UUIDs,
        paths) become text."""
        self._last_id += 1
        plain = json.loads(json.dumps(dict(params or {}), default=str))  # one odd value must not stop a batch
        event = Event(self._last_id, self._clock.utc_us(), code, camera, hardware, plain)
        _log.info(
            code,
            camera=_text(camera),
            hardware=_text(hardware),
            **{f"p_{key}": value for key, value in event.params.items()},
        )
        if len(self._unwritten) >= WAITING_LIMIT:
            self._unwritten.popleft()
            self.lost += 1
        self._unwritten.append(event)
        self._wake.set()
        for subscriber in tuple(self._subscribers):
            subscriber.offer(event)
            if subscriber.closed:
                self._subscribers.discard(subscriber)

    def subscribe(self, limit: int = SUBSCRIBER_LIMIT) -> EventSubscription:
        """Events from now on; `unsubscribe` when done."""
        subscription = EventSubscription(limit)
        self._subscribers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: EventSubscription) -> None:
        self._subscribers.discard(subscription)
        subscription.close()

    async def write_forever(self) -> None:
        """Write batches as they come; a database that refuses is tried again, events wait meanwhile."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
                self.stuck = False
            except sa.exc.SQLAlchemyError as error:
                self.stuck = True
                _log.error("events-not-written", waiting=len(self._unwritten), error=str(error.__cause__ or error))
                await asyncio.sleep(RETRY_S)
                self._wake.set()

    async def flush(self) -> None:
        """Write everything emitted so far; raises SQLAlchemyError and keeps what was not written."""
        async with self._writing:
            while self._unwritten:
                batch = [self._unwritten[index] for index in range(min(BATCH, len(self._unwritten)))]
                async with self._db.engine.begin() as connection:
                    await connection.execute(sa.insert(events), [_row(event) for event in batch])
                for event in batch:
                    if self._unwritten and self._unwritten[0] is event:  # an overflow may have taken it meanwhile
                        self._unwritten.popleft()

    async def list(
        self, after: int = 0, limit: int = 100, camera: uuid.UUID | None = None, code: str | None = None
    ) -> list[Event]:
        """Events with an id above `after`, oldest first, those not yet written (or not writable) among them."""
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # `write_forever` says it
            await self.flush()
        waiting = [one for one in self._unwritten if camera in (None, one.camera) and code in (None, one.code)]
        query = sa.select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if camera is not None:
            query = query.where(events.c.camera == str(camera))
        if code is not None:
            query = query.where(events.c.code == code)
        async with self._db.engine.connect() as connection:
            found = [_event(row) for row in await connection.execute(query)]
        last = found[-1].id if found else after
        return [*found, *(one for one in waiting if one.id > last)][:limit]

    async def purge(self, before_us: int, batch: int = BATCH) -> int:
        """Remove events older than `before_us` in small transactions, so that writers hardly wait; how many went."""
        removed = 0
        while True:
            oldest = sa.select(events.c.id).where(events.c.time_us < before_us).limit(batch)
            async with self._db.engine.begin() as connection:
                gone = (await connection.execute(sa.delete(events).where(events.c.id.in_(oldest)))).rowcount
            removed += gone
            if gone < batch:
                return removed
            await asyncio.sleep(0)


def _row(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "time_us": event.time_us,
        "code": event.code,
        "camera": _text(event.camera),
        "hardware": _text(event.hardware),
        "params": dict(event.params),
    }


def _event(row: sa.Row[Any]) -> Event:
    return Event(row.id, row.time_us, row.code, _uuid(row.camera), _uuid(row.hardware), row.params)


def _text(identity: uuid.UUID | None) -> str | None:
    return None if identity is None else str(identity)


def _uuid(text: str | None) -> uuid.UUID | None:
    return None if text is None else uuid.UUID(text)
