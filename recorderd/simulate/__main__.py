"""`python -m recorderd.simulate`: the camera farm as a process.

Law: command line, signals, standard output; no logic of cameras. First line out: where it listens. Last line out:
totals. Exit 0 on SIGTERM, SIGINT or (with --stdin-eof) the end of standard input, 1 when it could not go on, 2 on
wrong usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from recorderd.aio.system_clock import SystemClock
from recorderd.core.errors import RecorderdError, UsageError
from recorderd.simulate.farm import Farm
from recorderd.simulate.options import FarmOptions, parse_options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a farm until it is told to end; gives the exit status."""
    try:
        options = parse_options(sys.argv[1:] if argv is None else argv)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(options.log.open("a")) if options.log is not None else None
            return asyncio.run(_run(options, log))
    except UsageError as error:
        sys.stderr.write(f"recorderd simulate: {error}\n")
        return 2
    except (RecorderdError, OSError) as error:
        sys.stderr.write(f"recorderd simulate: {error}\n")
        return 1


async def _run(options: FarmOptions, log: TextIO | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    broken: list[str] = []

    def on_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        broken.append(str(context.get("message")))
        loop.default_exception_handler(context)
        stop.set()

    loop.set_exception_handler(on_error)
    farm = Farm(options, SystemClock(), log)
    port = await farm.start()
    gc.collect()
    gc.freeze()  # clips and packets stay for ever: no need to look at them again
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if options.stdin_eof:
        _watch_stdin(loop, stop)
    _say({"listening": {"host": options.host, "port": port}, "cameras": options.cameras})
    await stop.wait()
    _say(await farm.stop())
    return 1 if broken else 0


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """End when the other side of standard input is gone: a parent that was killed leaves no farm behind."""
    descriptor = sys.stdin.fileno()

    def on_readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop.set()

    try:
        loop.add_reader(descriptor, on_readable)
    except OSError:
        raise UsageError("--stdin-eof needs a pipe as standard input, not a file") from None


def _say(line: dict[str, object]) -> None:
    try:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the parent is gone; the log has it all
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process


if __name__ == "__main__":
    sys.exit(main())
