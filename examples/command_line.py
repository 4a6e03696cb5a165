"""What the three programs share: their common options, times in words, exit codes.

Exit codes: 0 done · 1 something is wrong (a refusal, damage, a check that failed) · 2 usage · 3 the server could not be
reached or kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from recorderd.client import (
    CannotConnect,
    Client,
    ClientError,
    ConnectionLost,
    ConnectOptions,
    Reconnect,
    Retry,
    connect,
)

DONE, WRONG, USAGE, UNREACHABLE = 0, 1, 2, 3
_AGO = re.compile(r"-(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parser(text: str | None) -> argparse.ArgumentParser:
    """With the options that all have; `text` is the program's own docstring."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--server", metavar="HOST:PORT", type=server, default=("127.0.0.1", 7563),
                      help="the stream API (127.0.0.1:7563)")  # fmt: skip
    made.add_argument("--tries", type=int, default=10, help="tries in a row to come back after a cut (10)")
    return made


def arguments(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Of the command line; `--start -10m` is a time, not an option."""
    words: list[str] = []
    for word in sys.argv[1:]:
        if _AGO.fullmatch(word) and words and words[-1] in ("--start", "--end"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return made.parse_args(words)


def server(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, 7563
    return host.strip("[]"), int(port)


def moment(text: str) -> int:
    """`now`, `-10m`, or RFC 3339, in microseconds."""
    ago = _AGO.fullmatch(text)
    if ago or text == "now":
        return time.time_ns() // 1000 - (int(ago[1]) * _UNITS[ago[2]] * 1_000_000 if ago else 0)
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time needs its zone: 2026-11-21T22:00:00Z")
    since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def client(args: argparse.Namespace) -> AbstractAsyncContextManager[Client]:
    """A client that comes back after a cut, and says so."""

    def say(what: Reconnect) -> None:
        print(f"connected again after {what.tries} tries: {what.reason}", file=sys.stderr)

    host, port = args.server
    return connect(host, port, ConnectOptions(retry=Retry(tries=args.tries), on_reconnect=say))


def run(main: Coroutine[object, object, int]) -> int:
    """The exit code of `main`. Ctrl-C and SIGTERM cancel it; it then ends with what `main` makes of that."""
    try:
        return asyncio.run(_with_signals(main))
    except (CannotConnect, ConnectionLost) as error:
        print(error, file=sys.stderr)
        return UNREACHABLE
    except (ClientError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG
    except asyncio.CancelledError:
        return DONE


async def _with_signals(main: Coroutine[object, object, int]) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # not on this platform's loop: Ctrl-C still ends it
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await main
