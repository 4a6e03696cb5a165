"""`mediadb export`: footage of cameras as MP4 with manifests, with a progress bar on a terminal.

Law: arguments and printing; the work is `mediadb.movie.export`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from mediadb.movie.export import ExportRequest, ExportResult, export_camera
from mediadb.movie.manifest import skipped_record
from mediadb.times import parse_time, show_bytes, show_time
from mediadb.tools.context import HELD, WRONG, Context, UsageError, tracks_of


def export(context: Context, args: argparse.Namespace) -> int:
    """Exit code 1 when footage in the range could not be read, or a camera has none in it."""
    start_us, end_us = parse_time(args.start, context.now_us), parse_time(args.end, context.now_us)
    if start_us >= end_us:
        raise UsageError("the range ends before it begins")
    reader = context.open(args.path, args.storage)
    results: list[tuple[str, ExportResult]] = []
    try:
        cameras = {name: tracks_of(reader, name)[0].spec.camera for name in args.camera}
        for name, camera in cameras.items():
            request = ExportRequest(camera, start_us, end_us, args.output, args.stream)
            results.append((name, export_camera(reader, context.fs, request, _bar(name, context.as_json))))
    finally:
        reader.close()
    if context.as_json:
        print(json.dumps({"exports": [_record(name, result) for name, result in results]}))
    else:
        for name, result in results:
            _tell(name, result)
    return HELD if all(result.path is not None and result.complete for _, result in results) else WRONG


def _record(name: str, result: ExportResult) -> dict[str, object]:
    return {
        "camera": name,
        "file": str(result.path) if result.path else None,
        "manifest": str(result.manifest),
        "bytes": result.total_bytes,
        "samples": result.samples,
        "skipped": [skipped_record(str(s.track), s.start_us, s.end_us, s.what) for s in result.skipped],
    }


def _tell(name: str, result: ExportResult) -> None:
    if result.path is None:
        print(f"{name}: no footage in this range; why is in {result.manifest}")
    else:
        print(f"{name}: {result.path} ({show_bytes(result.total_bytes)}, {result.samples} samples), {result.manifest}")
    for left in result.skipped:
        print(f"  left out: {show_time(left.start_us)} to {show_time(left.end_us)}: {left.what}")


def _bar(name: str, quiet: bool) -> Callable[[int, int], None]:
    if quiet or not sys.stderr.isatty():
        return lambda _done, _all: None

    def show(done: int, total: int) -> None:
        filled = 40 * done // total if total else 40
        end = "\n" if done >= total else ""
        print(f"\r{name} [{'#' * filled:40}] {100 * done // max(total, 1)} %", end=end, file=sys.stderr, flush=True)

    return show
