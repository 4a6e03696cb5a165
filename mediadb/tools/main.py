"""The `mediadb` command: look into, check, repair and export a storage without a daemon.

Law: arguments in, exit code out; each command is a function in `mediadb.tool_*`. Exit codes: 0 held, 1 something is
wrong, 2 usage, 3 could not be reached, 4 not fully checked. The only place of the library that reads the wall clock.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mediadb.errors import ChunkError, MediaDbError, StorageError, StorageMissing, UnsupportedVersion
from mediadb.fs import RealFs
from mediadb.times import TimeTextError, shield
from mediadb.tools import check, cover, export_command, reclaim_command, salvage_command, show
from mediadb.tools.context import HELD, UNCHECKED, UNREACHED, USAGE, WRONG, Context, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    given = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args([shield(argument) for argument in given])
    # Not `time.time`: that name is kept out of the code base, and this is the one reading of the clock.
    now_us = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
    context = Context(RealFs(), now_us, bool(args.json))
    try:
        return int(args.run(context, args))
    except (UsageError, TimeTextError) as error:
        return _fail(context, "usage", str(error), USAGE)
    except StorageMissing as error:
        return _fail(context, error.code, error.message, UNREACHED)
    except UnsupportedVersion as error:
        return _fail(context, error.code, error.message, UNCHECKED)
    except (StorageError, ChunkError, MediaDbError) as error:
        return _fail(context, error.code, error.message, WRONG)
    except BrokenPipeError:
        return HELD  # the reader of our output has seen enough
    except OSError as error:
        return _fail(context, "unreachable", _in_words(error, args), UNREACHED)


def _in_words(error: OSError, args: argparse.Namespace) -> str:
    """The place and the system's words; and the next move when a disk is full. A write through a descriptor names no
    file: it went to where the command writes."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    target = getattr(args, "target", None) or getattr(args, "output", None)
    where = error.filename or (target if full else None) or args.path
    more = "; make room there or write elsewhere, then begin again in an empty folder" if full and target else ""
    return f"{where}: {error.strerror}{more}"


def _fail(context: Context, code: str, text: str, status: int) -> int:
    if context.as_json:
        print(json.dumps({"error": code, "message": text}))
    print(f"mediadb: {text}", file=sys.stderr)
    return status


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="mediadb",
        description="Look into, check, repair and export a recorderd storage. Works without the daemon.",
        epilog="Exit codes: 0 held, 1 something is wrong, 2 usage, 3 could not be reached, 4 not fully checked. "
        "Times: 2026-01-31T12:00:00Z, now, -10m.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str, path_help: str = "folder of the volume") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("path", type=Path, metavar="PATH", help=path_help)
        sub.add_argument("--json", action="store_true", help="machine-readable output")
        sub.set_defaults(run=run)
        return sub

    def storage(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--storage", help="name of the storage; may be left out when there is one")

    command("init", check.init, "make a volume: an empty folder that recorderd may record to")
    storage(command("ls", show.ls, "list storages, tracks and segments"))
    command("dump", show.dump, "show what is in a segment or a ledger file", "segment or ledger file")
    why = command("why", cover.why, "say why a second is recorded or missing")
    storage(why)
    why.add_argument("camera", help="name or id of a camera, or id of a track")
    why.add_argument("time", help="instant")
    coverage = command("coverage", cover.coverage, "list the states of a range of time")
    storage(coverage)
    coverage.add_argument("camera", nargs="*", help="names or ids of cameras or tracks; all when left out")
    coverage.add_argument("--start", default="-1h", help="begin of the range (default -1h)")
    coverage.add_argument("--end", default="now", help="end of the range (default now)")
    report = command("report", cover.report, "say what was recorded in a week, per camera, and where the rest went")
    storage(report)
    cover.add_report(report)
    verify = command(
        "verify",
        check.verify,
        "check every byte of a volume, a segment or an export (format 0 is not signed)",
        "folder of the volume, segment file, or manifest of an export",
    )
    storage(verify)
    fsck = command("fsck", check.fsck, "find what an interrupted program left; repair it when told")
    storage(fsck)
    fsck.add_argument("--repair", action="store_true", help="seal, write footers again, finish removals")
    rescue = command(
        "salvage",
        salvage_command.run,
        "get everything that verifies out of a damaged volume, image, device or segment into a clean volume",
        "folder, image, device or file; it is only read",
    )
    rescue.add_argument("target", type=Path, metavar="TARGET", help="an empty folder for the new volume")
    command("rebuild", check.rebuild, "make catalog.db again")
    reclaim = command("reclaim", reclaim_command.reclaim, "show what retention would remove now (nothing is removed)")
    storage(reclaim)
    reclaim_command.add_arguments(reclaim)
    export = command("export", export_command.export, "write footage of cameras as MP4 with a manifest")
    storage(export)
    _add_export(export)
    return parser


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("camera", nargs="+", help="names or ids of cameras")
    export.add_argument("--start", required=True, help="begin of the range")
    export.add_argument("--end", required=True, help="end of the range")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    export.add_argument("--stream", default="main", help="role of the stream (default main)")


if __name__ == "__main__":
    sys.exit(main())
