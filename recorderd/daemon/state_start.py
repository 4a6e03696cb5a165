"""Opening the state database so that recording can always begin.

Law: a damaged database is moved aside with every byte, what can be read of it is salvaged, and the server's identity
falls back to what its own footage says. Only a newer or unwritable database stops the start.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import structlog

from mediadb.errors import MediaDbError
from mediadb.format.identity import decode_log
from recorderd.config.schema import Config, StorageConfig
from recorderd.core.clock import Clock
from recorderd.core.errors import RecorderdError
from recorderd.state.database import FILE_NAME, StateDb, move_aside
from recorderd.state.errors import StateDamaged, StateUnusable
from recorderd.state.identities import Identities
from recorderd.state.peek import peek

LOCK_NAME = "recorderd.lock"
_LOOK_S = 2.0  # a disk that does not answer must not hold up the start

_log = structlog.get_logger("state")


class AlreadyRunning(RecorderdError):
    """Another process works with this data_dir."""

    code = "already-running"


@dataclass(frozen=True, slots=True)
class State:
    """`moved_to`: where a damaged database went, None in the ordinary case."""

    db: StateDb
    identities: Identities
    server: uuid.UUID
    moved_to: Path | None


def hold_data_dir(folder: Path) -> int:
    """Make the folder when only it is missing and lock it; the descriptor holds the lock. Raises AlreadyRunning
    and StateUnusable."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnusable(
            f"{folder} cannot be used: {error.strerror}; make it and give it to the service's user, or change "
            "[server] data_dir",
            path=str(folder),
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise AlreadyRunning(
            f"another recorderd uses {folder}; give this one its own data_dir", path=str(folder)
        ) from error
    return fd


async def open_state(config: Config, clock: Clock) -> State:
    """Raises StateTooNew and StateUnusable."""
    path = config.server.data_dir / FILE_NAME
    try:
        db = await StateDb.open(path)
    except StateDamaged as error:
        return await _replace(config, clock, path, error)
    identities = Identities(db, clock)
    return State(db, identities, await identities.server(config.server.id), None)


async def _replace(config: Config, clock: Clock, path: Path, error: StateDamaged) -> State:
    """Move the damaged file aside, begin a new one with what was salvaged."""
    lost = await asyncio.to_thread(peek, path)
    kept = await asyncio.to_thread(move_aside, path, clock.utc_us())
    _log.error("state-damaged", error=error.message, moved_to=str(kept), server_known=lost.server is not None)
    db = await StateDb.open(path)
    identities = Identities(db, clock)
    own = lost.server or await _owner_of_footage(config.storages)
    server = await identities.server(config.server.id, own)
    await identities.adopt(lost)
    return State(db, identities, server, kept)


async def _owner_of_footage(storages: tuple[StorageConfig, ...]) -> uuid.UUID | None:
    """The one server that all configured storages belong to, if it is one."""
    try:
        async with asyncio.timeout(_LOOK_S):
            owners = await asyncio.to_thread(_owners, storages)
    except TimeoutError:
        return None
    return owners.pop() if len(owners) == 1 else None


def _owners(storages: tuple[StorageConfig, ...]) -> set[uuid.UUID]:
    logs = [log for storage in storages for log in (storage.path / "log" / storage.name).glob("*/LOG")]
    return {owner for log in logs if (owner := log_owner(log)) is not None}


def log_owner(log: Path) -> uuid.UUID | None:
    """Whose log it is; None when that cannot be read, which the store says when it opens it."""
    try:
        newest, _ = decode_log(log.read_bytes())
    except (OSError, MediaDbError):
        return None
    return None if newest is None else newest.owner
