"""`recorderctl`: the command line of a running server.

Law: parses arguments, calls one command, turns errors into one line and an exit code. No logic.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from mediadb.errors import MediaDbError
from recorderd.cli import coverage_commands, export_job
from recorderd.cli import ctl_commands as commands
from recorderd.cli.arguments import (
    USAGE,
    WRONG,
    Parser,
    count,
    duration_text,
    protect_relative_times,
    read_words,
    time_text,
)
from recorderd.cli.client import Client, Refused, Unreachable, choose_server
from recorderd.cli.completion import SHELLS
from recorderd.cli.daemon_cli import DEFAULT_CONFIG
from recorderd.cli.doctor import doctor
from recorderd.cli.reclaim_command import add_reclaim, reclaim
from recorderd.cli.show import print_json, printable
from recorderd.core.errors import RecorderdError, UsageError

_EPILOG = (
    "Times: RFC 3339 (2026-03-01T12:00:00Z), now, -10m. CAMERA is a name or an id. "
    "Exit codes: 0 all well, 1 something is wrong, 2 usage, 3 not reached, 4 not fully checked."
)


def build_parser() -> Parser:
    """The whole command line; docs/commands.md is tested against it."""
    parser = Parser(prog="recorderctl", description="Ask a running recorderd.", epilog=_EPILOG)
    parser.add_argument("--json", action="store_true", help="the server's answer as JSON; also after COMMAND")
    parser.add_argument(
        "--server", metavar="URL|unix:PATH", help="default: RECORDERD_SERVER, the local socket, then port 8080"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="the server's answer as JSON")

    def verb(name: str, command: object, text: str) -> Parser:
        made = verbs.add_parser(name, help=text, description=text, parents=[common], epilog=_EPILOG)
        made.set_defaults(command=command)
        return made

    verb("status", commands.status, "the server at a glance; exit code 1 when something is wrong")
    verb("cameras", commands.cameras, "all cameras and what they do now")
    snapshot = verb("snapshot", commands.snapshot, "the newest picture at or before a time, as JPEG")
    snapshot.add_argument("camera", metavar="CAMERA")
    snapshot.add_argument("--time", type=time_text, default="now", metavar="TIME")
    snapshot.add_argument("-o", "--output", metavar="FILE", help="default CAMERA.jpg; - writes to standard output")
    timeline = verb("timeline", commands.timeline, "where there is media")
    timeline.add_argument("camera", metavar="CAMERA")
    timeline.add_argument(
        "--resolution", type=duration_text, metavar="DURATION", help="join stretches closer than this"
    )
    coverage = verb("coverage", commands.coverage, "every instant recorded or explained")
    coverage.add_argument("cameras", nargs="*", metavar="CAMERA", help="default: all")
    for made in (timeline, coverage):
        made.add_argument("--start", type=time_text, default="-1h", metavar="TIME")
        made.add_argument("--end", type=time_text, default="now", metavar="TIME")
    coverage_commands.add_report(
        verb("report", coverage_commands.report, "a week or a range: what was recorded, and where the rest went")
    )
    why = verb("why", coverage_commands.why, "why is this moment there, or missing?")
    why.add_argument("camera", metavar="CAMERA")
    why.add_argument("time", type=time_text, metavar="TIME")
    _add_url(verb("url", export_job.url, "an address of live or recorded media for players that send no headers"))
    _add_export(verb("export", commands.export_footage, "MP4 files and a manifest per camera"))
    events = verb("events", commands.events, "what happened: the newest, oldest first")
    events.add_argument("--camera", metavar="CAMERA")
    events.add_argument("--code", metavar="CODE")
    events.add_argument("--limit", type=count, default=100, metavar="N")
    _add_jobs(verb("jobs", export_job.jobs, "long work, newest first; or one job: wait, cancel, go on"))
    check = verb("doctor", doctor, "what is wrong with server and machine, each with its fix; 1 when something is")
    check.add_argument(
        "--config", metavar="FILE", default=str(DEFAULT_CONFIG), help="for the storages when no server answers"
    )
    check.add_argument("--no-write-test", action="store_true", help="leave the disks alone")
    storage = verb("storage", commands.storage, "storages; exit code 1 when one is not ok")
    storage.add_argument(
        "--accept", metavar="STORAGE", help="use the disk that is there though it is an older copy (storage-older)"
    )
    add_reclaim(verb("reclaim", reclaim, "what retention would remove, and how far back footage will reach"))
    complete = verb("completion", commands.completion, "a completion script of all three programs for your shell")
    complete.add_argument("shell", choices=SHELLS)
    verb("reload", commands.reload, "read the configuration again; what did not change is not touched")
    return parser


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cameras", nargs="+", metavar="CAMERA")
    parser.add_argument("--start", type=time_text, required=True, metavar="TIME")
    parser.add_argument("--end", type=time_text, required=True, metavar="TIME")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="may be left out with --job: the files stay on the server"
    )
    parser.add_argument("--job", action="store_true", help="let the server make the files, beside recording")
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out; with --job only")
    parser.add_argument("--stream", choices=("main", "sub"), default="main")
    parser.add_argument("--replace", action="store_true", help="overwrite files of an earlier export")


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", nargs="?", metavar="ID")
    parser.add_argument("--limit", type=count, default=100, metavar="N")
    parser.add_argument("--wait", action="store_true", help="until it has ended; 1 when it failed")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cancel", action="store_true", help="end it and remove what it wrote")
    what.add_argument("--resume", action="store_true", help="go on with a failed one")


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("camera", metavar="CAMERA")
    parser.add_argument("--start", type=time_text, metavar="TIME", help="recorded media; without it live")
    parser.add_argument("--end", type=time_text, metavar="TIME", help="without it the picture at --start")
    parser.add_argument("--form", choices=("mp4", "hls", "jpg"))
    parser.add_argument("--stream", choices=("main", "sub"), default="main")
    parser.add_argument("--for", dest="lifetime", type=duration_text, default="1h", metavar="DURATION")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is the contract of docs/commands.md."""
    args = read_words(build_parser(), protect_relative_times(sys.argv[1:] if argv is None else argv))
    try:
        return asyncio.run(_run(args))
    except (Unreachable, Refused) as error:
        _complain(args, error.code if isinstance(error, Unreachable) else error.problem_code, error)
        return error.exit_code
    except UsageError as error:
        _complain(args, error.code, error)
        return USAGE
    except (RecorderdError, MediaDbError) as error:
        _complain(args, error.code, error)
        return WRONG
    except OSError as error:
        _complain(args, "os-error", error)
        return WRONG
    except BrokenPipeError:
        return WRONG
    except KeyboardInterrupt:
        return 130


async def _run(args: argparse.Namespace) -> int:
    async with Client(choose_server(args.server, os.environ)) as client:
        code: int = await args.command(client, args)
        return code


def _complain(args: argparse.Namespace, code: str, error: Exception) -> None:
    if args.json:
        document = dict(error.problem) if isinstance(error, Refused) else {"code": code, "detail": str(error)}
        print_json({"error": document})
    lines = "\n  ".join(printable(line) for line in str(error).split("\n"))
    print(f"recorderctl: {lines}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
