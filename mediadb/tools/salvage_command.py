"""`mediadb salvage SOURCE TARGET`.

Law: arguments and printing; the work is `mediadb.tools.salvage`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mediadb.times import show_bytes, show_duration, show_time
from mediadb.tools.context import HELD, WRONG, Context, UsageError
from mediadb.tools.salvage import Salvaged, TargetError, Tell, TrackResult, salvage

SHOWN_HOLES = 10


def run(context: Context, args: argparse.Namespace) -> int:
    """Exit code 1 when something is known to be missing, 2 when the target cannot be used."""
    try:
        result = salvage(context.fs, args.path, args.target, context.now_us, None if context.as_json else _progress())
    except TargetError as error:
        raise UsageError(error.message) from None
    if context.as_json:
        print(json.dumps(_record(result)))
    else:
        _show(result, args.target)
    return HELD if result.whole and result.tracks else WRONG


def _progress() -> Tell | None:
    if not sys.stderr.isatty():
        return None
    last = [(Path(), 0)]

    def show(path: Path, offset: int, size: int) -> None:
        if (path, offset >> 26) != last[0]:
            last[0] = (path, offset >> 26)
            print(f"\r\x1b[K{path.name} {offset * 100 // max(1, size)} %", end="\r", file=sys.stderr, flush=True)

    return show


def _record(result: Salvaged) -> dict[str, object]:
    return {
        "files": result.files, "bytes": result.read_bytes, "segments": result.segments,
        "ledger_pages": result.ledger_pages, "found_twice": result.twice, "without_config": result.without_config,
        "unreadable_bytes": result.losses.unreadable_bytes,
        "unreadable": [{"file": f, "offset": o, "bytes": n} for f, o, n in result.losses.unreadable],
        "damaged_chunks": sum(result.losses.damaged.values()), "unopened": result.unopened, "whole": result.whole,
        "tracks": [_track(track) for track in result.tracks.values()],
    }  # fmt: skip


def _track(track: TrackResult) -> dict[str, object]:
    return {
        "track": str(track.spec.track), "camera": str(track.spec.camera), "name": track.names.camera,
        "stream": track.spec.stream, "kind": track.spec.kind.name.lower(), "chunks": track.chunks,
        "samples": track.samples, "bytes": track.stored_bytes, "first": show_time(track.first_us),
        "end": show_time(track.end_us), "damaged_chunks": track.damaged, "missing_chunks": track.missing,
        "holes": [
            {"start": show_time(start), "end": show_time(end), "chunks": chunks, "why": why}
            for start, end, chunks, why in track.holes
        ],
    }  # fmt: skip


def _show(result: Salvaged, target: Path) -> None:
    for track in result.tracks.values():
        who = track.names.camera or track.spec.camera
        print(
            f"{who} {track.spec.stream} {track.spec.kind.name.lower()}: {track.samples} samples,"
            f" {show_bytes(track.stored_bytes)}, {show_time(track.first_us)} to {show_time(track.end_us)};"
            f" {track.missing} chunks missing, {track.damaged} damaged"
        )
        for start, end, chunks, why in track.holes[:SHOWN_HOLES]:
            print(f"  {show_time(start)}  {show_duration(end - start):>14}  {chunks} chunks {why}")
        if len(track.holes) > SHOWN_HOLES:
            print(f"  and {len(track.holes) - SHOWN_HOLES} more holes (--json lists them)")
    for file, offset, length in result.losses.unreadable:
        print(f"cannot be read: {file} at {offset}, {length} bytes")
    for text in result.unopened:
        print(f"cannot be opened: {text}")
    if result.without_config:
        print(f"{result.without_config} chunks verify, but how they are coded was nowhere to be found")
    if not result.tracks:
        print("nothing was found that verifies")
    print(
        f"{result.files} files, {show_bytes(result.read_bytes)} read; {target} has {result.segments} segments and"
        f" {result.ledger_pages} pages of the old ledger; every chunk was checked by its SHA-256"
    )
