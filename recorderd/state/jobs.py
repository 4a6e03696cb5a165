"""Jobs: long work as a resource with one shape, whatever its kind.

Law: a job is queued, running, done, failed or cancelled, with a progress from 0 to 1. What was running when the
server went down is queued again at the next start when its kind can go on (RESUMABLE), else failed with the code
`interrupted`; it is never left hanging. Asked for twice under one key, a job is made once.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from recorderd.core.clock import Clock
from recorderd.core.errors import NotFoundError
from recorderd.core.ids import new_uuid
from recorderd.state.database import StateDb
from recorderd.state.tables import jobs

RESUMABLE = frozenset({"export"})
_PURGE_BATCH = 200


class JobState(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_OPEN = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """`params` as asked, `result` when done, `error` {code, message, ...} when failed, `detail` of the progress (bytes,
    time left). `key`: the caller's own name for the request. Times in UTC microseconds."""

    id: uuid.UUID
    kind: str
    state: JobState
    progress: float
    params: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    created_us: int
    started_us: int | None
    finished_us: int | None
    detail: Mapping[str, Any] | None = None
    key: str | None = None


class Jobs:
    """The repository."""

    def __init__(self, db: StateDb, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def create(self, kind: str, params: Mapping[str, Any], key: str | None = None) -> Job:
        """A queued job. Raises sqlalchemy.exc.IntegrityError when the key is taken: ask `find` first."""
        now_us = self._clock.utc_us()
        job = Job(new_uuid(), kind, JobState.QUEUED, 0.0, dict(params), None, None, now_us, None, None, None, key)
        row = {name: getattr(job, name) for name in Job.__slots__} | {"id": str(job.id), "state": str(job.state)}
        async with self._db.engine.begin() as connection:
            await connection.execute(sa.insert(jobs), [row])
        return job

    async def start(self, job: uuid.UUID) -> None:
        await self._change(job, state=JobState.RUNNING, started_us=self._clock.utc_us())

    async def progress(self, job: uuid.UUID, share: float, detail: Mapping[str, Any] | None = None) -> None:
        """`share` of the work is done, 0 to 1."""
        values: dict[str, Any] = {"detail": dict(detail)} if detail is not None else {}
        await self._change(job, progress=min(1.0, max(0.0, share)), **values)

    async def finish(self, job: uuid.UUID, result: Mapping[str, Any]) -> None:
        await self._change(
            job, state=JobState.DONE, progress=1.0, result=dict(result), finished_us=self._clock.utc_us()
        )

    async def fail(self, job: uuid.UUID, error: Mapping[str, Any]) -> None:
        await self._change(job, state=JobState.FAILED, error=dict(error), finished_us=self._clock.utc_us())

    async def cancel(self, job: uuid.UUID) -> None:
        await self._change(job, state=JobState.CANCELLED, finished_us=self._clock.utc_us())

    async def get(self, job: uuid.UUID) -> Job:
        """Raises NotFoundError."""
        async with self._db.engine.connect() as connection:
            row = (await connection.execute(sa.select(jobs).where(jobs.c.id == str(job)))).first()
        if row is None:
            raise NotFoundError(f"there is no job {job}", job=str(job))
        return _job(row)

    async def find(self, kind: str, key: str) -> Job | None:
        """The job made under that key."""
        query = sa.select(jobs).where(jobs.c.kind == kind, jobs.c.key == key)
        async with self._db.engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return _job(row) if row is not None else None

    async def unfinished(self, kind: str) -> list[Job]:
        """What waits or runs, oldest first."""
        query = sa.select(jobs).where(jobs.c.kind == kind, jobs.c.state.in_([str(state) for state in _OPEN]))
        async with self._db.engine.connect() as connection:
            return [_job(row) for row in await connection.execute(query.order_by(jobs.c.created_us, jobs.c.id))]

    async def resume(self, job: uuid.UUID) -> bool:
        """Queue a failed job again; whether it was failed."""
        values = {"state": str(JobState.QUEUED), "error": None, "finished_us": None}
        failed = sa.and_(jobs.c.id == str(job), jobs.c.state == str(JobState.FAILED))
        async with self._db.engine.begin() as connection:
            return bool((await connection.execute(sa.update(jobs).where(failed).values(values))).rowcount)

    async def remove(self, job: uuid.UUID) -> None:
        """Forget a finished job."""
        gone = sa.delete(jobs).where(jobs.c.id == str(job), jobs.c.finished_us.is_not(None))
        async with self._db.engine.begin() as connection:
            await connection.execute(gone)

    async def list(self, after: int = 0, limit: int = 100, kind: str | None = None) -> list[Job]:
        """Newest first; `after` skips that many."""
        query = sa.select(jobs).order_by(jobs.c.created_us.desc(), jobs.c.id).offset(after).limit(limit)
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        async with self._db.engine.connect() as connection:
            return [_job(row) for row in await connection.execute(query)]

    async def interrupt_open(self) -> int:
        """At the start: fail what the last process left open, or queue it again when it can go on; how many."""
        values = {
            "state": str(JobState.FAILED),
            "error": {"code": "interrupted", "message": "the server stopped before it was done: ask again"},
            "finished_us": self._clock.utc_us(),
        }
        left_open = jobs.c.state.in_([str(state) for state in _OPEN])
        goes_on = jobs.c.kind.in_(sorted(RESUMABLE))
        again = sa.update(jobs).where(left_open, goes_on).values(state=str(JobState.QUEUED))
        failed = sa.update(jobs).where(left_open, sa.not_(goes_on)).values(values)
        async with self._db.engine.begin() as connection:
            return (await connection.execute(again)).rowcount + (await connection.execute(failed)).rowcount

    async def purge(self, before_us: int) -> int:
        """Remove finished jobs created before that time, in small transactions; how many went."""
        removed = 0
        finished = jobs.c.finished_us.is_not(None)
        while True:
            oldest = sa.select(jobs.c.id).where(jobs.c.created_us < before_us, finished).limit(_PURGE_BATCH)
            async with self._db.engine.begin() as connection:
                gone = (await connection.execute(sa.delete(jobs).where(jobs.c.id.in_(oldest)))).rowcount
            removed += gone
            if gone < _PURGE_BATCH:
                return removed

    async def _change(self, job: uuid.UUID, **values: Any) -> None:
        """Change an open job; a finished one stays as it is (a late progress report is harmless)."""
        if "state" in values:
            values["state"] = str(values["state"])
        still_open = jobs.c.state.in_([str(state) for state in _OPEN])
        async with self._db.engine.begin() as connection:
            changed = await connection.execute(sa.update(jobs).where(jobs.c.id == str(job), still_open).values(values))
        if changed.rowcount == 0:
            await self.get(job)


def _job(row: sa.Row[Any]) -> Job:
    values = dict(row._mapping)
    return Job(**values | {"id": uuid.UUID(row.id), "state": JobState(row.state)})
