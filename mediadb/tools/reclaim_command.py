"""`mediadb reclaim`: what retention would remove now, why, and how many bytes; nothing is removed.

Law: arguments and printing; the plan is the one that the daemon carries out. Without limits on the command line those
hold that the daemon used last on this volume.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from mediadb.fs import Fs
from mediadb.locks import LOG_NAME, read_volume
from mediadb.read.reader import TrackInfo
from mediadb.reclaim.facts import Facts
from mediadb.reclaim.limits import ReclaimOptions, Room, need_of
from mediadb.reclaim.memory import read_memory
from mediadb.reclaim.plan import Removal, plan
from mediadb.segment_files import list_storages
from mediadb.times import parse_time, show_bytes, show_time
from mediadb.tools.context import HELD, Context, tracks_of
from mediadb.types import Names
from mediadb.write.retention import CameraLimits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="what this command does in any case")
    parser.add_argument("--retention", metavar="30d", help="age limit instead of the last used: s, m, h or d")
    parser.add_argument("--max-size", type=int, metavar="BYTES", help="size limit in bytes")
    parser.add_argument(
        "--camera", action="append", default=[], metavar="NAME=30d", help="age limit of one camera (may be repeated)"
    )


def reclaim(context: Context, args: argparse.Namespace) -> int:
    """Exit code 0 whatever would go."""
    read_volume(context.fs, args.path)
    rows: list[tuple[str, Removal]] = []
    names: dict[uuid.UUID, str] = {}
    for storage, folder in _logs(context.fs, args.path, args.storage):
        options = _options(context, args, storage, folder)
        facts = Facts(context.fs, folder)
        facts.use(options)
        every = list(facts.oldest(every=True))
        free, total = context.fs.free_bytes(folder)
        room = Room(facts.used_bytes(0), free, total, cameras=facts.cameras)
        need = need_of(options, room, context.now_us, age_held=False)
        rows += [(storage, removal) for removal in plan(every, need, options, batch=len(every) + 1)]
        if options.by_track:
            names.update(_names(context, args.path, storage))
    if context.as_json:
        print(json.dumps([_row(storage, removal) for storage, removal in rows]))
        return HELD
    for storage, removal in rows:
        print(f"{storage}: {_line(removal, names)}")
    print(f"{len(rows)} segments, {show_bytes(sum(r.freed_bytes for _, r in rows))}; nothing was removed")
    return HELD


def _logs(fs: Fs, volume: Path, wanted: str | None) -> Iterator[tuple[str, Path]]:
    for storage in list_storages(fs, volume):
        if wanted is not None and storage != wanted:
            continue
        for log in fs.listdir(volume / "log" / storage):
            folder = volume / "log" / storage / log
            if fs.stat(folder / LOG_NAME) is not None:
                yield storage, folder


def _options(context: Context, args: argparse.Namespace, storage: str, folder: Path) -> ReclaimOptions:
    if args.retention is None and args.max_size is None and not args.camera:
        return read_memory(context.fs, folder).options
    retention = _length(context, args.retention)
    cameras: dict[uuid.UUID, CameraLimits] = {}
    for given in args.camera:
        name, _, limit = given.rpartition("=")
        tracks: Sequence[TrackInfo] = tracks_of(context.open(args.path, storage), name)
        cameras.update((track.spec.camera, CameraLimits(_length(context, limit))) for track in tracks)
    return ReclaimOptions(retention, args.max_size, cameras=cameras)


def _length(context: Context, text: str | None) -> int | None:
    return None if text is None else context.now_us - parse_time(f"-{text}", context.now_us)


def _names(context: Context, volume: Path, storage: str) -> dict[uuid.UUID, str]:
    reader = context.open(volume, storage)
    try:
        return {t.spec.track: _name(t.names, t.spec.track) for t in reader.tracks()}
    finally:
        reader.close()


def _name(names: Names, track: uuid.UUID) -> str:
    return names.camera or str(track)


def _row(storage: str, removal: Removal) -> dict[str, object]:
    return {
        "storage": storage,
        "file": str(removal.fact.path),
        "rule": removal.rule,
        "bytes": removal.freed_bytes,
        "end": show_time(removal.fact.end_us),
        "whole": removal.whole,
        "tracks": {str(track): rule for track, rule in (removal.rules or {}).items()},
    }


def _line(removal: Removal, names: dict[uuid.UUID, str]) -> str:
    fact = removal.fact
    text = f"{fact.path} ({show_bytes(removal.freed_bytes)}, until {show_time(fact.end_us)})"
    if removal.whole:
        return f"{text} by {removal.rule}"
    cameras = sorted({f"{names.get(track, str(track))} by {rule}" for track, rule in (removal.rules or {}).items()})
    return f"{text} only {', '.join(cameras)}"
