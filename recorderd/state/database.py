"""The state database: one SQLite file in data_dir, opened, checked and migrated.

Law: nothing of recording waits for it and no frame passes through it. One connection writes, so writers never meet
`database is locked`. Durability: WAL with synchronous=FULL: who this server is, and which camera is which, stands on
volumes too, and what is durable there must be durable here first. Events come in batches.
Repositories (identities, storages, events, jobs) share the engine opened here.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from recorderd.state import migrate
from recorderd.state.errors import StateDamaged, StateUnusable

FILE_NAME = "state.db"
_COMPANIONS = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class StateDb:
    """An open state database."""

    engine: AsyncEngine
    path: Path

    @classmethod
    async def open(cls, path: Path) -> StateDb:
        """Open or create `path`; raises StateDamaged, StateTooNew or StateUnusable."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StateUnusable(
                f"{path} cannot be opened for writing: {error.strerror}; check [server] data_dir and its owner",
                path=str(path),
            ) from error
        engine = _engine(path)
        try:
            async with engine.begin() as connection:
                verdict = (await connection.exec_driver_sql("PRAGMA quick_check(1)")).scalar_one()
                if verdict != "ok":
                    raise StateDamaged(f"{path} is damaged: {verdict}", path=str(path))
                await connection.run_sync(migrate.upgrade)
        except sa.exc.DatabaseError as error:
            await engine.dispose()
            raise _explain(path, error) from error
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine, path)

    async def bring_back(self) -> None:
        """The file was removed by other hands: write it again out of the open connection, which still reads it. Nobody
        else has a connection meanwhile. Raises OSError, DatabaseError."""
        fresh = Path(f"{self.path}.new")
        async with self.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            await connection.rollback()
            await asyncio.to_thread(fresh.unlink, missing_ok=True)
            await raw.execute("VACUUM INTO ?", (str(fresh),))
            await asyncio.to_thread(_put_in_place, fresh, self.path)
            await raw.close()  # removes the log of that name: before anybody opens the new file
            await connection.invalidate()

    async def close(self) -> None:
        await self.engine.dispose()


def _put_in_place(fresh: Path, path: Path) -> None:
    for suffix in _COMPANIONS[1:]:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    fresh.chmod(0o600)
    for one in (fresh, fresh.parent):
        fd = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        if one == fresh:
            fresh.rename(path)


def move_aside(path: Path, stamp_us: int) -> Path:
    """Rename a damaged database and its companions to NAME.damaged-STAMP*, keeping every byte for salvage."""
    kept = path.with_name(f"{path.name}.damaged-{stamp_us}")
    for suffix in _COMPANIONS:
        source = Path(f"{path}{suffix}")
        if source.exists():
            source.rename(f"{kept}{suffix}")
    return kept


def _engine(path: Path) -> AsyncEngine:
    """One connection, so that transactions of different tasks follow each other instead of mixing."""
    url = sa.URL.create("sqlite+aiosqlite", database=str(path))
    engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0)
    sa.event.listen(engine.sync_engine, "connect", _pragmas)
    # The sqlite3 module begins transactions by its own rules, which leave table changes outside: begin them here.
    sa.event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _explain(path: Path, error: sa.exc.DatabaseError) -> StateDamaged | StateUnusable:
    original = error.orig
    text = str(original)
    if isinstance(original, sqlite3.OperationalError) and "malformed" not in text:
        return StateUnusable(f"{path} cannot be used: {text}; check the disk and the owner of data_dir", path=str(path))
    return StateDamaged(f"{path} is damaged: {text}", path=str(path))
