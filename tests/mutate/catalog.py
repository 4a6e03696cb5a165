"""catalog.db damaged on purpose: it is a cache, so whatever is in it, every answer comes out of the media.

Law: half of the changes are bytes of the file, half values of a row that SQLite finds sound. Wrong bytes are never
given; after byte damage everything is still found.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

from mediadb.errors import ChunkError
from mediadb.ledger_facts import FUTURE_US, PAST_US
from mediadb.read.reader import Reader
from tests.mutate.judge import Wrong
from tests.mutate.mutations import PAGE, Mutation
from tests.mutate.sample import ROOT, SPECS, STORAGE, T0, Place, S, Volume, content

LATER_US = 10**16  # a clock at which all folders have come to rest
ODD = (0, 1, -1, 1 << 31, (1 << 63) - 1, -(1 << 63), None, "", "x", "[[1]]", "{}", b"", b"\0" * 16, 1.5)
TABLES = ("segment", "track", "part", "folder", "config", "day")


class CatalogTrial:
    """A volume on disk with its catalog, changed and read again and again."""

    def __init__(self, volume: Volume, folder: Path) -> None:
        self._root, self._places = folder / "vol", volume.places
        for path, data in volume.files.items():
            target = self._root / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        self._catalog = self._root / "catalog.db"
        assert self._read() == volume.places
        self._healthy = self._catalog.read_bytes()

    def mutate(self, rng: random.Random) -> Mutation:
        """A mutation of the healthy catalog."""
        if rng.random() < 0.5:
            return self._row(rng)
        raw = bytearray(self._healthy)
        at = rng.randrange(len(raw))
        way = rng.choice(("flip", "fill", "cut", "extend", "swap", "empty", "delete", "rubbish"))
        if way == "flip":
            for _ in range(rng.choice((1, 8, 64))):
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        elif way == "fill":
            length = min(rng.choice((16, 512, PAGE)), len(raw) - at)
            raw[at : at + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
        elif way == "swap":
            a, b = (rng.randrange(len(raw)) & -PAGE for _ in range(2))
            raw[a : a + PAGE], raw[b : b + PAGE] = raw[b : b + PAGE], raw[a : a + PAGE]
        elif way == "extend":
            raw += rng.randbytes(PAGE)
        changed = {"cut": raw[:at], "empty": bytearray(), "rubbish": bytearray(rng.randbytes(3 * PAGE))}.get(way, raw)
        return Mutation("catalog", self._catalog, way, None if way == "delete" else bytes(changed))

    def _row(self, rng: random.Random) -> Mutation:
        """Another value in a column, put there by SQLite itself."""
        scratch = self._root / "scratch.db"
        scratch.write_bytes(self._healthy)
        db = sqlite3.connect(scratch, isolation_level=None)
        db.execute("PRAGMA journal_mode=DELETE")
        table = rng.choice(TABLES)
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        column, value = rng.choice(columns), rng.choice(ODD)
        what = f"{table}.{column} = {value!r}"
        with contextlib.suppress(sqlite3.Error):  # a value its constraints do not take leaves the row as it is
            db.execute(f"UPDATE OR IGNORE {table} SET {column}=?", (value,))
        db.close()
        raw = scratch.read_bytes()
        scratch.unlink()
        return Mutation("catalog", self._catalog, what, raw, sealed=True)

    def judge(self, mutation: Mutation) -> str:
        """Raise Wrong, or whatever escaped."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._catalog}{suffix}").unlink(missing_ok=True)
        if mutation.content is not None:
            self._catalog.write_bytes(mutation.content)
        sound = mutation.sealed or self._sqlite_is_content()
        found = self._read()
        if found == self._places:
            return "read"
        if not sound:
            raise Wrong(f"{len(self._places - found)} samples were not found any more")
        return "hidden"  # a value within a row, which SQLite cannot tell: found again by `mediadb rebuild`

    def _sqlite_is_content(self) -> bool:
        """Does SQLite find nothing wrong with the file?"""
        if not self._catalog.exists():
            return False
        db = sqlite3.connect(f"file:{self._catalog}?mode=ro", uri=True)
        try:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        except (sqlite3.Error, UnicodeDecodeError):
            return False
        finally:
            db.close()

    def _read(self) -> set[Place]:
        found: set[Place] = set()
        reader = Reader(self._root, STORAGE, lambda: LATER_US)
        try:
            reader.refresh()
            for spec in SPECS:
                for part in reader.index.parts(spec.track, PAST_US, FUTURE_US):
                    for n in range(part.count):
                        try:
                            samples = reader.read(reader.part_ref(spec.track, part, n)).samples
                        except ChunkError:
                            continue
                        for sample in samples:
                            if sample.data != content(spec.track, sample.recv_us):
                                raise Wrong(f"wrong bytes in {part.name}")
                            found.add((spec.track, sample.recv_us))
                reader.spans(spec.track, T0, T0 + 60 * S)
            reader.coverage([spec.track for spec in SPECS], T0, T0 + 60 * S)
            reader.tracks()
        finally:
            reader.close()
        return found
