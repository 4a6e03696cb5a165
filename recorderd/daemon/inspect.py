"""Looking at a storage's folder before anything is opened: for check-config.

Law: reads only. Says what would make the storage an error in service: not there, not writable, no volume or a
damaged one, another server's log, another disk than the known one, closed by the unit.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from mediadb.errors import MediaDbError
from mediadb.format.identity import decode_volume
from recorderd.config.load import StorageFindings
from recorderd.config.schema import ServerConfig, StorageConfig
from recorderd.daemon.state_start import log_owner
from recorderd.daemon.unit_paths import missing_from_unit, unit_texts
from recorderd.state.database import FILE_NAME
from recorderd.state.peek import Known, peek


def inspect_storage(storage: StorageConfig, server: ServerConfig) -> StorageFindings:
    """The inspector that `check-config` hands to `load`."""
    errors = list(_folder_errors(storage.path))
    if not errors:
        known = peek(server.data_dir / FILE_NAME)
        errors = list(_volume_errors(storage, known, server.id or known.server))
    closed = missing_from_unit(storage.path, unit_texts())
    return StorageFindings(tuple(errors), (closed,) if closed else ())


def _folder_errors(path: Path) -> Iterator[str]:
    if not path.exists():
        yield f"{path} does not exist: create it, or mount the disk that belongs there"
    elif not path.is_dir():
        yield f"{path} is not a folder"
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield f"{path} cannot be written by this user: run as the service's user, or chown it to that user"


def _volume_errors(storage: StorageConfig, known: Known, server: uuid.UUID | None) -> Iterator[str]:
    expected = storage.id or known.volumes.get(storage.name)
    try:
        found = decode_volume((storage.path / "VOLUME").read_bytes()).volume
    except FileNotFoundError:
        if expected is not None:
            yield f"{storage.path} is empty, but storage {storage.name!r} has a volume ({expected}): is it mounted?"
        return
    except (OSError, MediaDbError) as error:
        yield f"{storage.path / 'VOLUME'}: {error}"
        return
    if expected not in (None, found):
        yield f"{storage.path} holds volume {found}, but storage {storage.name!r} belongs to volume {expected}"
    for log in sorted((storage.path / "log" / storage.name).glob("*/LOG")):
        owner = log_owner(log)
        if owner is not None and owner != server:
            yield (
                f"{log.parent} belongs to server {owner}, not to this one: use another folder, or, when that server is "
                f'gone for good, set [server] id = "{owner}"'
            )
