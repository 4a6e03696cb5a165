"""catalog.db as a tool sees it: read, never written.

Law: what the daemon entered is believed as it believes it itself: only folders that did not change since, and every row
checked against what it points to. As soon as something would have to be entered (the catalog is not fresh), or the file
changes in a way that a look without locks cannot follow, it is put away and footers are read instead, in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from mediadb.catalog import SCHEMA_VERSION, Catalog, FolderStamp, PartRow
from mediadb.ledger_facts import MediaSpan

_Version = tuple[int, int, int, bool]


class CatalogView(Catalog):
    """The catalog of one storage for a tool beside, or without, a daemon. Nothing on the volume is changed."""

    _seen: _Version | None = None

    def _connect(self) -> sqlite3.Connection:
        path, self._path = self._path, None
        if path is not None:
            try:
                connection = self._look(path)
            except (sqlite3.Error, OSError, ValueError):
                pass  # none, another version, or damaged: footers say the same
            else:
                self._path = path
                return connection
        return super()._connect()

    def _look(self, path: Path) -> sqlite3.Connection:
        self._seen = _version(path)
        shared = self._seen[3] and Path(f"{path}-shm").exists()
        if self._seen[3] and not shared:
            raise ValueError("a log without its index: SQLite would have to make one")
        mode = "mode=ro" if shared else "immutable=1"  # the latter takes no lock and makes no file
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?{mode}", uri=True, timeout=5, check_same_thread=False, isolation_level=None
        )
        try:
            if connection.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                raise ValueError("a catalog of another version")
        except (sqlite3.Error, ValueError):
            connection.close()
            raise
        return connection

    def check(self) -> None:
        """Raise CatalogLost when the file changed under a look without locks, or is another one."""
        with self._lock:
            if self._path is None or self._seen is None:
                return
            try:
                now = _version(self._path)
            except OSError:
                self._lost()
            fixed = not self._seen[3]
            if now[:2] != self._seen[:2] or (fixed and now != self._seen):
                self._lost()

    def _discard(self) -> None:
        """It is not ours to throw away."""

    def _lost(self) -> NoReturn:
        self._path = None
        super()._lost()
        raise AssertionError("CatalogLost was raised")

    def keep_folders(
        self, stamps: Mapping[str, FolderStamp], gone: Iterable[str], generation: int | None = None
    ) -> None:
        if self._path is None:
            super().keep_folders(stamps, gone, generation)

    def keep_config(self, config_hash: bytes, record: bytes) -> None:
        if self._path is None:
            super().keep_config(config_hash, record)

    def keep_spans(self, part: PartRow, spans: list[MediaSpan]) -> None:
        if self._path is None:
            super().keep_spans(part, spans)

    def keep_day(self, track: object, day: int, parts: int, spans: list[MediaSpan]) -> None:
        if self._path is None:
            super().keep_day(track, day, parts, spans)  # type: ignore[arg-type]


def _version(path: Path) -> _Version:
    """Which file it is, when it changed, and whether somebody has it open (or died with it)."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, Path(f"{path}-wal").exists()
