"""data_dir and the files in it that the daemon holds open: looked at every few seconds, made again when other hands
took them.

Law: the state database and the lock, nothing of footage. A database that is gone is written again out of the open
connection; one that was put in its place is left alone and said. Nothing here ends the daemon.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from recorderd.daemon.state_start import LOCK_NAME, AlreadyRunning, hold_data_dir
from recorderd.state.database import StateDb
from recorderd.state.errors import StateUnusable

LOOK_S = 5.0
RESTORED, TAKEN = "file-restored", "file-taken"
Told = Callable[[str, dict[str, object]], None]


class DataDir:
    """See the module. Made right after the database was opened; `lock_fd` is closed by `close`."""

    def __init__(self, db: StateDb, lock_fd: int, told: Told) -> None:
        self._db, self._told = db, told
        self._folder = db.path.parent
        self._fds = [lock_fd]
        self._database = _identity(db.path)
        self._said: set[Path] = set()

    async def keep_forever(self) -> None:
        """Look every few seconds."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Once; never raises for a file system that refuses: that is said, and tried again."""
        try:
            await asyncio.to_thread(self._look_at_folder)
        except OSError as error:
            self._say(self._folder, str(error))
            return
        try:
            await asyncio.to_thread(self._look_at_lock)
        except (OSError, StateUnusable, AlreadyRunning) as error:
            self._say(self._folder / LOCK_NAME, str(error))
        try:
            await self._look_at_database()
        except (OSError, sa.exc.DatabaseError, sqlite3.Error) as error:
            self._say(self._db.path, str(error))

    def close(self) -> None:
        """Give the lock back."""
        while self._fds:
            os.close(self._fds.pop())

    def _look_at_folder(self) -> None:
        """Removed with all that was in it: made again, when it is its own file system that lacks it."""
        if self._folder.is_dir():
            return
        if self._folder.parent.stat().st_dev != os.fstat(self._fds[-1]).st_dev:
            raise FileNotFoundError(errno.ENOENT, "its file system is not mounted", str(self._folder))
        self._folder.mkdir(mode=0o700)
        self._told(RESTORED, {"path": str(self._folder)})

    def _look_at_lock(self) -> None:
        path = self._folder / LOCK_NAME
        held = os.fstat(self._fds[-1])
        if _identity(path) == (held.st_dev, held.st_ino):
            return
        self._fds.append(hold_data_dir(self._folder))
        self._told(RESTORED, {"path": str(path)})

    async def _look_at_database(self) -> None:
        path = self._db.path
        there = await asyncio.to_thread(_identity, path)
        if there == self._database:
            return
        if there is not None:
            self._say(path, "another file lies there")
        else:
            await self._db.bring_back()
            self._database = await asyncio.to_thread(_identity, path)
            self._told(RESTORED, {"path": str(path)})

    def _say(self, path: Path, text: str) -> None:
        if path not in self._said:
            self._said.add(path)
            self._told(TAKEN, {"path": str(path), "text": text})


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
