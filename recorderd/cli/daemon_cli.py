"""`recorderd`: run the server, check a configuration, start the demo or simulated cameras.

Law: parses arguments and calls one thing. Heavy parts are imported by the command that needs them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from recorderd.cli.arguments import HELD, USAGE, Parser, duration_text, port, read_words
from recorderd.cli.show import print_json

DEFAULT_CONFIG = Path("/etc/recorderd/recorderd.toml")


def build_parser() -> Parser:
    """The whole command line; docs/commands.md is tested against it."""
    parser = Parser(prog="recorderd", description="A video recording server.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    run = verbs.add_parser("run", help="record until stopped")
    run.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE")
    check = verbs.add_parser("check-config", help="report every error of a configuration; touches nothing")
    check.add_argument("file", type=Path, nargs="?", default=DEFAULT_CONFIG, metavar="FILE")
    check.add_argument("--json", action="store_true")
    demo = verbs.add_parser("demo", help="simulated cameras with faults, recorded and shown on a page")
    demo.add_argument("--for", dest="duration", type=duration_text, metavar="DURATION", help="end and judge after this")
    demo.add_argument("--port", type=port, default=8080, metavar="N", help="0 takes any; a busy one the next free")
    demo.add_argument("--dir", metavar="DIR", help="keep the data there instead of in a temporary folder")
    demo.add_argument("--json", action="store_true", help="the verdict as the last line")
    verbs.add_parser("simulate", help="simulated cameras; see recorderd simulate --help", add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is the contract of docs/commands.md."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["simulate"]:  # the farm is a program of its own with its own options
        os.execv(sys.executable, [sys.executable, "-m", "recorderd.simulate", *words[1:]])  # noqa: S606 - no shell
    args = read_words(build_parser(), words)
    if args.verb == "run":
        for number in (signal.SIGTERM, signal.SIGINT):  # until the daemon has handlers of its own nothing is held
            signal.signal(number, lambda *_: os._exit(HELD))
        from recorderd.daemon.main import run

        return run(args.config)
    if args.verb == "check-config":
        return check_config(args.file, args.json)
    from recorderd.cli import demo

    return demo.main(args)


def check_config(path: Path, as_json: bool) -> int:
    """Every finding with its place; USAGE when there is an error."""
    from recorderd.config.load import load
    from recorderd.daemon.inspect import inspect_storage
    from recorderd.engine.registry import Registry

    found = load(path, Registry.discover().infos, inspect_storage, os.environ, checking=True)
    if as_json:
        print_json(
            {
                "file": str(path),
                "valid": found.config is not None,
                "errors": [{"file": one.file, "path": one.path, "message": one.message} for one in found.errors],
                "warnings": [{"file": one.file, "path": one.path, "message": one.message} for one in found.warnings],
            }
        )
        return USAGE if found.errors else HELD
    for finding in found.errors:
        print(f"error: {finding}")
    for finding in found.warnings:
        print(f"warning: {finding}")
    if found.config is not None:
        cameras = sum(len(device.cameras) for device in found.config.hardware)
        print(f"{path} is valid: {len(found.config.storages)} storage(s), {cameras} camera(s)")
    return USAGE if found.errors else HELD


if __name__ == "__main__":
    sys.exit(main())
