"""A volume for B=seek: a few segments and lanes written by the real writer, and a catalog that names very many more.

Law: what is sampled is real and byte-checked; the rest are rows in the catalog's own tables, made by SQL, in day
folders that exist. The product is not told that anything here is generated: it opens the volume as after any stop.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from mediadb.catalog import Catalog, FolderStamp
from mediadb.fs import RealFs
from mediadb.locks import OpenRequest, open_log
from mediadb.mp4.entries import avc1_entry
from mediadb.read.reader import Reader
from mediadb.types import Cause, KeyType, Names, Origin, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, Now, TrackItem
from mediadb.write.lane import LanePlace, LaneWriter
from mediadb.write.store import LogWriter

S = 1_000_000
SEGMENT_US = 300 * S
LANE_US = 3600 * S
GOP_US = 2 * S
KEY_BYTES, LANE_KEY_BYTES, DELTA_BYTES = 32 << 10, 8 << 10, 200
LAST_US = 1_790_035_200 * S  # a midnight; the newest segment ends 6 h before it
END_US = LAST_US - 21_600 * S
STORAGE = "bench"
_ENTRY = avc1_entry(1920, 1080, [bytes.fromhex("6742c01e")], [bytes.fromhex("68ce3c80")])
CODING = TrackConfig("h264", 90_000, _ENTRY, 1920, 1080, frame_ticks=45_000)  # two pictures a second

# A part of each track in each generated segment; those of real tracks know their gapless stretches, as sealed ones do.
_PARTS = (
    "INSERT INTO part SELECT t.id, g.first_us, g.id, g.first_us + g.length, g.number * 1000, (g.number + 1) * 1000,"
    " 600, 30000000, 0, 0, 450, 0, 1, 90000000, 42000, 1234567890, NULL, NULL, CASE WHEN t.is_real THEN"
    " printf('[[%d,%d,%d,%d,0,0,0,0,-4611686018427387904,-4611686018427387904,1,\"%s\"]]', g.first_us,"
    " g.first_us + g.length, g.number * 1000, (g.number + 1) * 1000, g.lane) END"
    " FROM (SELECT id, id <= :real AS is_real, id % :count AS place FROM track) t CROSS JOIN gen g"
    " WHERE {which} ORDER BY t.id, g.first_us"
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much the catalog names."""

    segments: int
    lanes: int
    tracks: int


@dataclass(frozen=True, slots=True)
class Real:
    """What is really there: `slots` count 5 min backwards from END_US, `lanes` hours backwards from `lane_end_us`."""

    tracks: list[TrackSpec]
    slots: list[int]
    lanes: int
    lane_end_us: int


class _FastFs(RealFs):
    """Files of the preparation: synced once, at its end."""

    def fdatasync(self, fd: int) -> None:
        pass


class _Events:
    def committed(self, info: object) -> None:
        pass

    def trouble(self, code: str, params: dict[str, object]) -> None:
        raise AssertionError(f"{code} {params}")

    def sealed(self, path: Path) -> None:
        pass

    def refused(self, track: uuid.UUID, size: int) -> None:
        raise AssertionError("refused")


def key_payload(track: uuid.UUID, time_us: int, size: int) -> bytes:
    """The bytes of the keyframe of `track` at `time_us`: nobody else's."""
    return (track.bytes + time_us.to_bytes(8, "big")) * (size // 24) + bytes(size % 24)


def slot_us(slot: int) -> int:
    return END_US - (slot + 1) * SEGMENT_US


def lane_us(real: Real, number: int) -> int:
    return real.lane_end_us - (number + 1) * LANE_US


def write_real(volume: Path, real: Real) -> None:
    """The real segments, oldest first, and the real lanes."""
    fs = _FastFs()
    start = slot_us(max(real.slots))
    log = open_log(fs, OpenRequest(volume, STORAGE, uuid.UUID(int=7), 1, start, create=True))
    writer = LogWriter(log, uuid.UUID(int=7), StoreOptions(segment_us=SEGMENT_US), _Events(), lambda job: job())
    writer.start(Now(start, start))
    states = [writer.track_state(spec, Names("bench", "bench")) for spec in real.tracks]
    for state in states:
        about = (TrackItem(state.spec, state.names), ConfigItem(CODING), CoverItem(start, Cause(State.RECORDED)))
        for item in about:
            writer.take([(state, item)], Now(start, start))
    for slot in sorted(real.slots, reverse=True):
        for second in range(slot_us(slot), slot_us(slot) + SEGMENT_US, S):
            for state in states:
                writer.take(
                    [(state, sample) for sample in _second(state.spec.track, second, KEY_BYTES)], Now(second, second)
                )
            writer.commit(Now(second, second))
    assert writer.close(Now(END_US, END_US)) == []
    place = LanePlace(volume, STORAGE, log.identity.volume, uuid.UUID(int=7), log.identity.log, Origin.EDGE)
    for spec in real.tracks:
        for number in range(real.lanes):
            with LaneWriter(fs, place, spec, Names("bench", "bench")) as lane:
                lane.config(CODING)
                first = lane_us(real, number)
                for second in range(first, first + LANE_US, S):
                    lane.extend(_second(spec.track, second, LANE_KEY_BYTES))
    log.close()
    for path in volume.rglob("*.rseg"):
        _settle(path)


def _settle(path: Path) -> None:
    """Only clean pages can be dropped from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _second(track: uuid.UUID, time_us: int, key_bytes: int) -> list[Sample]:
    ticks = (time_us - LAST_US) * 9 // 100
    first_is_key = time_us % GOP_US == 0
    data = key_payload(track, time_us, key_bytes) if first_is_key else bytes(DELTA_BYTES)
    kind = KeyType.IDR if first_is_key else KeyType.DELTA
    half = Sample(bytes(DELTA_BYTES), ticks + 45_000, ticks + 45_000, KeyType.DELTA, time_us + S // 2)
    return [Sample(data, ticks, ticks, kind, time_us), half]


def generate(source: Path, volume: Path, real: Real, size: Size) -> int:
    """Make `volume` of the real files of `source` and its catalog, with rows up to `size`; returns how many parts."""
    shutil.copytree(source, volume, copy_function=os.link, ignore=shutil.ignore_patterns("catalog.db*"))
    catalog = volume / "catalog.db"
    shutil.copyfile(source / "catalog.db", catalog)
    db = sqlite3.connect(catalog, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    (index_sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name='part_segment'").fetchone()
    db.execute("DROP INDEX part_segment")
    db.execute("BEGIN")
    db.execute("DELETE FROM day")
    _tracks(db, real, size.tracks)
    _segments(db, real, size)
    db.execute("CREATE INDEX temp.gen_place ON gen(place, first_us)")
    for which in ("g.place = t.place", "g.place IS NULL"):
        db.execute(_PARTS.format(which=which), {"real": len(real.tracks), "count": size.tracks})
    db.execute("COMMIT")
    db.execute(index_sql)
    (rows,) = db.execute("SELECT count(*) FROM part").fetchone()
    names = [name for (name,) in db.execute("SELECT DISTINCT rtrim(name, replace(name, '/', '')) FROM segment")]
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    _folders(volume, [name.rstrip("/") for name in names])
    _settle(catalog)
    return int(rows)


def _tracks(db: sqlite3.Connection, real: Real, count: int) -> None:
    spec, names = db.execute("SELECT spec, names FROM track LIMIT 1").fetchone()
    known = real.tracks[0].track
    for number in range(len(real.tracks), count):
        own = uuid.UUID(int=0xBEEF << 64 | number)
        values = (STORAGE, own.bytes, spec.replace(str(known), str(own)), names, SEGMENT_US)
        db.execute("INSERT INTO track(storage,uuid,spec,names,named_us,longest_us) VALUES(?,?,?,?,0,?)", values)
    db.execute("UPDATE track SET longest_us=max(longest_us, ?)", (LANE_US,))


def _segments(db: sqlite3.Connection, real: Real, size: Size) -> None:
    """Rows of segments without a file, and the table `gen` of their times. `place`: the track of a lane."""
    (day_path,) = db.execute("SELECT name FROM segment WHERE origin=0 LIMIT 1").fetchone()
    log_folder = day_path.rsplit("/", 2)[0]
    db.execute(
        "CREATE TEMP TABLE gen(id INTEGER PRIMARY KEY, first_us INTEGER, length INTEGER, number INTEGER, place INTEGER,"
        " lane TEXT, name TEXT)"
    )
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i+1 < :count)"
        " INSERT INTO gen SELECT 1000000+i, :end-(i+1)*:length, :length, 90000000-i, NULL, '',"
        " :folder || strftime('/%Y-%m-%d/%Y%m%dT%H%M%SZ', (:end-(i+1)*:length)/1000000, 'unixepoch')"
        " || printf('-%08d-%06d', 9, i) FROM n"
        f" WHERE i NOT IN ({','.join(map(str, real.slots))})",
        {"count": size.segments, "end": END_US, "length": SEGMENT_US, "folder": log_folder},
    )
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i+1 < :count)"
        " INSERT INTO gen SELECT 100000000+i, :end-(i/:tracks+1)*:length, :length, 80000000-i, (i+1)%:tracks, 'edge',"
        " printf('archive/%s/%05d', :storage, i%:tracks) ||"
        " strftime('/%Y-%m-%d/%Y%m%dT%H%M%SZ', (:end-(i/:tracks+1)*:length)/1000000, 'unixepoch')"
        " || printf('-%016x-%06d', i, i) FROM n WHERE NOT (i%:tracks < :real AND i/:tracks < :lanes)",
        {"count": size.lanes, "end": real.lane_end_us, "length": LANE_US, "tracks": size.tracks, "storage": STORAGE,
         "real": len(real.tracks), "lanes": real.lanes},
    )  # fmt: skip
    db.execute(
        "INSERT INTO segment SELECT id, ?, name, 400000000, randomblob(16), 1, place IS NOT NULL FROM gen", (STORAGE,)
    )


def _folders(volume: Path, names: list[str]) -> None:
    """Day folders, remembered as compared. The newest of the log changed since: it has a file for each of its rows."""
    stamps = {}
    for name in names:
        folder = volume / name
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
        stamps[name] = FolderStamp(status.st_ino, status.st_mtime_ns // 1000)
    newest = max(name for name in names if name.startswith("log/"))
    del stamps[newest]
    catalog = Catalog(volume / "catalog.db", STORAGE)
    for name, row in catalog.segments(newest).items():
        path = volume / f"{name}.rseg"
        if not path.exists():
            path.touch()
            os.truncate(path, row.size)  # sparse
    catalog.keep_folders(stamps, [])
    catalog.close()


def prepare(volume: Path, tracks: int, slots: list[int], lane_end_us: int) -> tuple[Real, list[float]]:
    """The real part of the volume, the catalog that the product makes of it, and how many ms it takes to work out
    the gapless stretches of one camera in one segment."""
    specs = [TrackSpec(uuid.UUID(int=n + 1), uuid.UUID(int=n + 101), uuid.UUID(int=9), TrackKind.VIDEO)
             for n in range(tracks)]  # fmt: skip
    real = Real(specs, slots, 2, lane_end_us)
    write_real(volume, real)
    reader = Reader(volume, STORAGE, lambda: LAST_US)
    reader.refresh()
    worked_ms: list[float] = []
    for spec in specs:
        for slot in slots:
            start = time.perf_counter()
            reader.spans(spec.track, slot_us(slot), slot_us(slot) + SEGMENT_US)
            worked_ms.append((time.perf_counter() - start) * 1000)
        key = reader.locate_key(spec.track, LAST_US)
        assert key is not None
        reader.read(key)  # its CONFIG is remembered
    reader.close()
    return real, worked_ms
