"""`mediadb init | verify | fsck | rebuild`.

Law: arguments and printing; the work is in the modules of the same names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from mediadb.locks import VOLUME_NAME, create_volume, read_volume
from mediadb.times import show_bytes
from mediadb.tools.context import HELD, UNCHECKED, USAGE, WRONG, Context, UsageError
from mediadb.tools.fsck import fsck as run_fsck
from mediadb.tools.rebuild import rebuild_catalog
from mediadb.tools.verify import Verdict, verify_export, verify_file, verify_volume

NOT_SIGNED = "not signed (format 0): this shows that bytes are what was written, not by whom"


def init(context: Context, args: argparse.Namespace) -> int:
    """Make VOLUME. Exit code 2 when the folder is one already or has other things in it."""
    path: Path = args.path
    if context.fs.stat(path / VOLUME_NAME) is not None:
        identity = read_volume(context.fs, path)
        print(f"mediadb: {path} is volume {identity.volume} already; nothing was changed", file=sys.stderr)
        return USAGE
    others = [name for name in context.fs.listdir(path) if name != "lost+found"]
    if others:
        raise UsageError(f"{path} is not empty ({', '.join(others[:5])}); choose an empty folder")
    identity = create_volume(context.fs, path, context.now_us)
    if context.as_json:
        print(json.dumps({"volume": str(identity.volume), "path": str(path)}))
    else:
        print(f"{path} is volume {identity.volume}")
    return HELD


def verify(context: Context, args: argparse.Namespace) -> int:
    """Check a volume, a segment or an export. Exit code 4 when a part is of a format this program does not know."""
    path: Path = args.path
    status = context.fs.stat(path)
    if status is None:
        raise FileNotFoundError(2, "no such file or folder", str(path))
    if not status.is_dir:
        if path.suffix == ".mp4":
            path = path.with_suffix(".json")
        verdict = verify_export(context.fs, path) if path.suffix == ".json" else verify_file(context.fs, path)
    else:
        if context.fs.stat(path / VOLUME_NAME) is None:
            read_volume(context.fs, path)  # says what to do; a damaged VOLUME is a finding of verify instead
        verdict = verify_volume(context.fs, path, args.storage, None if context.as_json else _progress())
    _tell_verdict(context, verdict)
    if verdict.sound:
        return HELD
    unknown = all("this program knows" in f.what or "does not know" in f.what for f in verdict.findings)
    return UNCHECKED if unknown else WRONG


def _progress() -> Callable[[int, int, Path], None] | None:
    """A line on a terminal that names the file being read."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int, path: Path) -> None:
        print(f"\r\x1b[K{done + 1}/{total} {path.name}", end="\r", file=sys.stderr, flush=True)

    return show


def _tell_verdict(context: Context, verdict: Verdict) -> None:
    if context.as_json:
        print(
            json.dumps(
                {
                    "sound": verdict.sound,
                    "signed": False,
                    "files": verdict.files,
                    "bytes": verdict.read_bytes,
                    "blocks": verdict.blocks,
                    "chunks": verdict.chunks,
                    "samples": verdict.samples,
                    "removed_chunks": verdict.removed_chunks,
                    "findings": [{"file": f.path, "offset": f.offset, "what": f.what} for f in verdict.findings],
                    "notes": verdict.notes,
                }
            )
        )
        return
    for finding in verdict.findings:
        print(f"DAMAGED {finding.path} at {finding.offset}: {finding.what}")
    for note in verdict.notes:
        print(f"note: {note}")
    word = "sound" if verdict.sound else f"{len(verdict.findings)} findings"
    print(
        f"{word}: {verdict.files} files, {show_bytes(verdict.read_bytes)}, {verdict.chunks} chunks,"
        f" {verdict.samples} samples; {NOT_SIGNED}"
    )


def fsck(context: Context, args: argparse.Namespace) -> int:
    """Exit code 1 while a problem is left."""
    report = run_fsck(context.fs, args.path, args.storage, repair=args.repair)
    if context.as_json:
        print(json.dumps(report.record()))
    else:
        for text in report.repaired:
            print(f"repaired: {text}")
        for text in report.left:
            print(f"left: {text}")
        for text in report.notes:
            print(f"note: {text}")
        if not report.problems:
            print("structure is sound; run mediadb verify to check the bytes")
    return WRONG if report.left else HELD


def rebuild(context: Context, args: argparse.Namespace) -> int:
    """Exit code 1 when a footer could not be read."""
    read_volume(context.fs, args.path)
    done = rebuild_catalog(context.fs, args.path, lambda: context.now_us)
    if context.as_json:
        print(json.dumps([{"storage": r.storage, "segments": r.segments, "damaged": r.damaged} for r in done]))
    else:
        for result in done:
            print(f"{result.storage}: {result.segments} segments")
            for name, what in result.damaged.items():
                print(f"  {name}: {what}")
    return WRONG if any(result.damaged for result in done) else HELD
