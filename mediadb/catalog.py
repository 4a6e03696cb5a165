"""catalog.db: which segment holds what of a track, as a cache.

Law: SQLite, opened only here, on threads of the read pool. Every row can be made again from footers, so the file may
be deleted, damaged or unwritable at any instant: `CatalogLost` is raised and the index fills a fresh one, in memory
when the file cannot be written (full disk). It decides nothing: what a row points to is checked against its own
checksum when read.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from urllib.parse import quote

from mediadb.catalog_rows import (
    FolderStamp,
    PartRow,
    SegmentRow,
    TrackRow,
    clamp,
    dump_spans,
    folder_of,
    load_spans,
    part_of,
    segment_of,
    signed,
    unsigned,
)
from mediadb.errors import FormatError
from mediadb.format.constants import NO_SEQ
from mediadb.format.footer import TrackSummary
from mediadb.format.records import decode_names, decode_spec, encode_names, encode_spec
from mediadb.ledger_facts import MediaSpan
from mediadb.types import Names, TrackSpec

__all__ = ["DAY_US", "Catalog", "CatalogLost", "FolderStamp", "PartRow", "SegmentRow", "TrackRow", "folder_of"]
P = ParamSpec("P")
T = TypeVar("T")
SCHEMA_VERSION: Final = 4
DAY_US: Final = 86_400_000_000
QUICK_CHECK_BYTES: Final = 64 << 20  # a larger file is only found damaged when a page of it is used
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS segment(
  id INTEGER PRIMARY KEY, storage TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, uuid BLOB NOT NULL,
  run INTEGER NOT NULL, origin INTEGER NOT NULL, UNIQUE(storage, name));
CREATE TABLE IF NOT EXISTS track(
  id INTEGER PRIMARY KEY, storage TEXT NOT NULL, uuid BLOB NOT NULL, spec TEXT NOT NULL, names TEXT NOT NULL,
  named_us INTEGER NOT NULL, longest_us INTEGER NOT NULL, UNIQUE(storage, uuid));
CREATE TABLE IF NOT EXISTS part(
  track INTEGER NOT NULL, first_us INTEGER NOT NULL, segment INTEGER NOT NULL, end_us INTEGER NOT NULL,
  first_seq INTEGER NOT NULL, next_seq INTEGER NOT NULL, samples INTEGER NOT NULL, bytes INTEGER NOT NULL,
  lost INTEGER NOT NULL, damaged INTEGER NOT NULL, media INTEGER NOT NULL, notes INTEGER NOT NULL,
  configs INTEGER NOT NULL, at INTEGER NOT NULL, len INTEGER NOT NULL, crc INTEGER NOT NULL,
  key_seq INTEGER, key_segment BLOB, spans TEXT, PRIMARY KEY(track, first_us, segment)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS part_segment ON part(segment);
CREATE TABLE IF NOT EXISTS folder(
  storage TEXT NOT NULL, name TEXT NOT NULL, inode INTEGER NOT NULL, changed_us INTEGER NOT NULL,
  PRIMARY KEY(storage, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS config(hash BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS day(
  track INTEGER NOT NULL, day INTEGER NOT NULL, spans TEXT NOT NULL, PRIMARY KEY(track, day)) WITHOUT ROWID;
"""
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PART_COLUMNS: Final = (
    "s.name, s.uuid, s.run, s.origin, t.uuid, p.first_us, p.end_us, p.first_seq, p.next_seq, p.samples, p.bytes,"
    " p.lost, p.damaged, p.media, p.notes, p.configs, p.at, p.len, p.crc, p.key_seq, p.key_segment, p.spans"
)
_PART_FROM: Final = "FROM part p JOIN segment s ON s.id = p.segment JOIN track t ON t.id = p.track WHERE p.track = ?"


class CatalogLost(Exception):
    """The cache is gone or damaged; it was thrown away and is empty now."""


def _believed(method: Callable[P, T]) -> Callable[P, T]:
    """What SQLite takes for sound may still be no catalog: rows that cannot be, are damage like any other."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (ValueError, TypeError, LookupError, OverflowError, AssertionError, FormatError):
            catalog = args[0]
            assert isinstance(catalog, Catalog)
            catalog.disbelieve()
            raise  # never reached: `disbelieve` raises

    return call


class Catalog:
    """The cache of one storage. Thread-safe; every method may raise CatalogLost (then it is empty and usable)."""

    def __init__(self, path: Path | None, storage: str) -> None:
        self._path = path
        self._storage = storage
        self._lock = threading.RLock()
        self._identity: tuple[int, int] | None = None
        self._folder = _place(path.parent) if path is not None else None
        self.generation = 0  # counts the catalogs that were thrown away
        self._connection = self._connect()
        self._ids: dict[uuid.UUID, tuple[int, int]] = {}

    def _connect(self) -> sqlite3.Connection:
        """A usable connection whatever state the file is in; in memory when the volume cannot be written."""
        if self._path is not None and _place(self._path.parent) != self._folder:
            self._path = None  # unmounted: another disk, or what lies below, is left as it is
        if self._path is not None:
            for attempt in (1, 2):
                try:
                    return self._open(self._path)
                except (sqlite3.Error, OSError, ValueError):  # the last: text of the schema that is no text
                    if attempt == 1:
                        self._discard()
        self._path = None
        return self._prepare(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))

    def _open(self, path: Path) -> sqlite3.Connection:
        if not path.exists():
            self._discard()  # a stale -wal beside a deleted catalog must not be replayed into the new one
        connection = sqlite3.connect(path, timeout=5, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            if path.stat().st_size <= QUICK_CHECK_BYTES:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()
                if answer != ("ok",):
                    raise sqlite3.DatabaseError(str(answer))
            self._prepare(connection)
            status = path.stat()
        except (sqlite3.Error, OSError, ValueError):
            connection.close()
            raise
        self._identity = (status.st_dev, status.st_ino)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"catalog of version {version}")
        connection.executescript(_SCHEMA)
        if version == 0:
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        return connection

    def _discard(self) -> None:
        assert self._path is not None
        for suffix in ("", "-wal", "-shm"):
            try:
                os.unlink(f"{self._path}{suffix}")
            except OSError:
                pass  # not there, or not ours: the next attempt to open decides

    @staticmethod
    def glance(path: Path, storage: str) -> dict[str, int] | None:
        """Names and sizes of the segments that a catalog names, read without changing or making a file; None when there
        is none. ValueError when it is damaged."""
        if not path.exists():
            return None
        connection = None
        try:
            mode = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"  # the latter makes no file beside it
            connection = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)
            rows = connection.execute("SELECT name, size FROM segment WHERE storage=?", (storage,)).fetchall()
            return {str(name): int(size) for name, size in rows}
        except sqlite3.Error as error:
            raise ValueError(f"it cannot be read: {error}") from None
        finally:
            if connection is not None:
                connection.close()

    def check(self) -> None:
        """Raise CatalogLost when the file was deleted or replaced under us."""
        with self._lock:
            if self._path is None:
                return
            try:
                status = self._path.stat()
                same = (status.st_dev, status.st_ino) == self._identity
            except OSError:
                same = False
            if not same:
                self._lost()

    def disbelieve(self) -> None:
        """A row is not what this program writes: throw the file away. Always raises CatalogLost."""
        with self._lock:
            if self._connection.in_transaction:
                self._connection.rollback()
            if self._path is not None:
                self._discard()
            self._lost()

    def _lost(self) -> None:
        self._connection.close()
        self._ids.clear()
        self._connection = self._connect()
        self.generation += 1
        raise CatalogLost

    def _run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                rows = self._connection.execute(sql, values).fetchall()
                if not (sql.startswith("SELECT") or self._connection.in_transaction):
                    # The first read behind a write marks its place in the shared index of the log. Done at once, later
                    # reads write nothing and are answered while the disk takes no writes.
                    self._connection.execute("SELECT 1 FROM folder LIMIT 1").fetchall()
                return rows
            except sqlite3.Error as error:
                if self._path is not None and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                    self._discard()
                else:
                    self._path = None  # full, read-only or failing: a new file would fare no better
                self._lost()
                raise AssertionError from None  # _lost always raises

    @_believed
    def segments(self, folder: str = "") -> dict[str, SegmentRow]:
        """Segments by name: all, or those of one day folder."""
        low, high = (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")  # "0" follows "/"
        rows = self._run(
            "SELECT name, size, uuid, run, origin FROM segment WHERE storage=? AND name>=? AND name<?",
            (self._storage, low, high),
        )
        return {row.name: row for row in (segment_of(fields) for fields in rows)}

    @_believed
    def folders(self) -> dict[str, FolderStamp]:
        """Every folder that has segments here, or had, and its version when the two were compared."""
        rows = self._run("SELECT name, inode, changed_us FROM folder WHERE storage=?", (self._storage,))
        return {str(name): FolderStamp(unsigned(inode), int(str(us))) for name, inode, us in rows}

    def keep_folders(
        self, stamps: Mapping[str, FolderStamp], gone: Iterable[str], generation: int | None = None
    ) -> None:
        """Remember versions of folders; forget those that are `gone`. Nothing is remembered when the catalog that
        was compared with the folders (`generation`, if any) was thrown away meanwhile: another thread may have lost it,
        and the stamps would vouch for rows that went with it."""
        with self._lock:
            if generation not in (None, self.generation):
                return
            self._run("BEGIN IMMEDIATE")
            for name, stamp in stamps.items():
                values = (self._storage, name, signed(stamp.inode), stamp.changed_us)
                self._run("INSERT OR REPLACE INTO folder VALUES(?,?,?,?)", values)
            for name in gone:
                self._run("DELETE FROM folder WHERE storage=? AND name=?", (self._storage, name))
            self._run("COMMIT")

    @_believed
    def config(self, config_hash: bytes) -> bytes | None:
        """The CONFIG record of that hash, when it was read before. The caller checks it against the hash."""
        rows = self._run("SELECT record FROM config WHERE hash=?", (config_hash,))
        record = rows[0][0] if rows else None
        return record if isinstance(record, bytes) else None

    def keep_config(self, config_hash: bytes, record: bytes) -> None:
        """Remember a CONFIG record, so that the first seek in a track need not read it."""
        self._run("INSERT OR REPLACE INTO config VALUES(?,?)", (config_hash, record))

    @_believed
    def add(
        self,
        segment: SegmentRow,
        parts: Iterable[tuple[TrackSpec, Names, TrackSummary, list[MediaSpan] | None]],
    ) -> None:
        """Enter a sealed segment, replacing what was known under its name."""
        with self._lock:
            self._run("BEGIN IMMEDIATE")
            try:
                self._forget(segment.name)
                values = (
                    self._storage, segment.name, segment.size, segment.segment.bytes, signed(segment.run),
                    segment.origin,
                )  # fmt: skip
                (row,) = self._run(
                    "INSERT INTO segment(storage,name,size,uuid,run,origin) VALUES(?,?,?,?,?,?) RETURNING id",
                    values,
                )
                self._run("INSERT OR IGNORE INTO folder VALUES(?,?,0,0)", (self._storage, folder_of(segment.name)))
                for spec, names, summary, spans in parts:
                    self._add_part(row[0], spec, names, summary, spans)
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise
            self._run("COMMIT")

    def _add_part(
        self, segment: object, spec: TrackSpec, names: Names, t: TrackSummary, spans: list[MediaSpan] | None
    ) -> None:
        track = self._track_id(spec, names, t)
        if not t.media_count:
            return
        values = (
            track, t.first_us, segment, t.end_us, signed(t.first_seq), signed(t.next_seq), t.samples, t.stored_bytes,
            t.lost_packets, t.damaged_count, t.media_count, t.notes_count, t.config_count, t.index_offset,
            t.index_len, t.index_crc, None if t.key_seq == NO_SEQ else signed(t.key_seq),
            t.key_segment.bytes if t.key_segment else None, dump_spans(spans),
        )  # fmt: skip
        self._run("DELETE FROM day WHERE track=? AND day=?", (track, t.first_us // DAY_US))
        self._run(f"INSERT OR REPLACE INTO part VALUES({','.join('?' * len(values))})", values)

    def _track_id(self, spec: TrackSpec, names: Names, t: TrackSummary) -> int:
        length = max(0, t.end_us - t.first_us) if t.media_count else 0
        end_us = t.end_us if t.media_count else 0
        known = self._ids.get(spec.track)
        if known is not None and known[1] >= length:
            return known[0]
        (row,) = self._run(
            "INSERT INTO track(storage,uuid,spec,names,named_us,longest_us) VALUES(?,?,?,?,?,?)"
            " ON CONFLICT(storage,uuid) DO UPDATE SET longest_us=max(longest_us,excluded.longest_us),"
            " names=CASE WHEN excluded.named_us>=named_us THEN excluded.names ELSE names END,"
            " named_us=max(named_us,excluded.named_us) RETURNING id, longest_us",
            (
                self._storage, spec.track.bytes, json.dumps(encode_spec(spec)), json.dumps(encode_names(names)),
                end_us, length,
            ),
        )  # fmt: skip
        self._ids[spec.track] = (int(str(row[0])), int(str(row[1])))
        return self._ids[spec.track][0]

    @_believed
    def remove(self, name: str) -> None:
        """Forget a segment."""
        with self._lock:
            self._forget(name)

    def _forget(self, name: str) -> None:
        for (number,) in self._run("SELECT id FROM segment WHERE storage=? AND name=?", (self._storage, name)):
            self._run(
                "DELETE FROM day WHERE (track, day) IN (SELECT track, first_us / ? FROM part WHERE segment=?)",
                (DAY_US, number),
            )
            self._run("DELETE FROM part WHERE segment=?", (number,))
            self._run("DELETE FROM segment WHERE id=?", (number,))

    @_believed
    def clear(self) -> None:
        """Forget everything of this storage."""
        for name in self.segments():
            self.remove(name)
        self._run("DELETE FROM day WHERE track IN (SELECT id FROM track WHERE storage=?)", (self._storage,))
        self._run("DELETE FROM track WHERE storage=?", (self._storage,))
        self._run("DELETE FROM folder WHERE storage=?", (self._storage,))
        self._run("DELETE FROM config")
        self._ids.clear()

    def _known(self, track: uuid.UUID) -> tuple[int, int] | None:
        """(row id, longest part in us) of a track."""
        rows = self._run("SELECT id, longest_us FROM track WHERE storage=? AND uuid=?", (self._storage, track.bytes))
        return (int(str(rows[0][0])), int(str(rows[0][1]))) if rows else None

    @_believed
    def tracks(self) -> list[TrackRow]:
        """All tracks that have media."""
        rows = self._run(
            "SELECT spec, names, (SELECT min(first_us) FROM part WHERE track=t.id),"
            " (SELECT max(end_us) FROM (SELECT end_us FROM part WHERE track=t.id ORDER BY first_us DESC LIMIT 8))"
            " FROM track t WHERE storage=?",
            (self._storage,),
        )
        return [
            TrackRow(decode_spec(json.loads(str(spec))), decode_names(json.loads(str(names))), int(str(a)), int(str(b)))
            for spec, names, a, b in rows
            if a is not None
        ]

    @_believed
    def parts(self, track: uuid.UUID, start_us: int, end_us: int, limit: int = -1) -> list[PartRow]:
        """Segments (the first `limit`, unless negative) that have media of the track in [start_us, end_us), by first
        time."""
        known = self._known(track)
        if known is None:
            return []
        rows = self._run(
            f"SELECT {_PART_COLUMNS} {_PART_FROM} AND p.first_us >= ? AND p.first_us < ? AND p.end_us > ?"
            " ORDER BY p.first_us LIMIT ?",
            (known[0], clamp(start_us - known[1]), clamp(end_us), clamp(start_us), limit),
        )
        return [part_of(row) for row in rows]

    @_believed
    def neighbours(self, track: uuid.UUID, time_us: int, limit: int, *, before: bool) -> list[PartRow]:
        """Up to `limit` segments that begin at or before `time_us` (newest first), or after it (oldest first)."""
        known = self._known(track)
        if known is None:
            return []
        order = "p.first_us <= ? ORDER BY p.first_us DESC" if before else "p.first_us > ? ORDER BY p.first_us"
        rows = self._run(f"SELECT {_PART_COLUMNS} {_PART_FROM} AND {order} LIMIT ?", (known[0], clamp(time_us), limit))
        return [part_of(row) for row in rows]

    @_believed
    def keep_spans(self, part: PartRow, spans: list[MediaSpan]) -> None:
        """Remember the gapless stretches of a part, so that a timeline need not read its index again."""
        known = self._known(part.summary.track)
        if known is not None:
            self._run(
                "UPDATE part SET spans=? WHERE track=? AND first_us=? AND segment="
                "(SELECT id FROM segment WHERE storage=? AND name=?)",
                (dump_spans(spans), known[0], part.summary.first_us, self._storage, part.segment.name),
            )

    @_believed
    def days(self, track: uuid.UUID, first: int, end: int) -> dict[int, list[MediaSpan]]:
        """Remembered merged stretches of the parts that begin on the days [first, end) since 1970."""
        known = self._known(track)
        if known is None:
            return {}
        rows = self._run("SELECT day, spans FROM day WHERE track=? AND day >= ? AND day < ?", (known[0], first, end))
        return {int(str(day)): load_spans(spans) or [] for day, spans in rows}

    @_believed
    def keep_day(self, track: uuid.UUID, day: int, parts: int, spans: list[MediaSpan]) -> None:
        """Remember the merged stretches of a day made of `parts` parts, unless parts came or went meanwhile."""
        known = self._known(track)
        if known is not None:
            self._run(
                "INSERT OR REPLACE INTO day SELECT ?, ?, ? WHERE ? ="
                " (SELECT count(*) FROM part WHERE track=? AND first_us >= ? AND first_us < ?)",
                (known[0], day, dump_spans(spans), parts, known[0], day * DAY_US, (day + 1) * DAY_US),
            )

    def close(self) -> None:
        """For good: who still asks is answered out of memory."""
        with self._lock:
            self._path = None
            self._connection.close()


def _place(folder: Path) -> tuple[int, int] | None:
    """Which folder that is, whatever its name."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
