"""What both command lines share: relative times as arguments, kinds of arguments, exit codes.

Law: no command here. Exit codes are the contract of docs/commands.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from recorderd.core.errors import UsageError
from recorderd.core.timerange import parse_duration, parse_time

HELD = 0  # all well
WRONG = 1  # damage, loss or refusal
USAGE = 2  # the command or the configuration cannot be meant
UNREACHABLE = 3
UNCHECKED = 4  # not fully checked

_RELATIVE = re.compile(r"-\d+(ms|s|m|h|d)", re.ASCII)


def protect_relative_times(argv: Sequence[str]) -> list[str]:
    """'-10m' is a time, not an option: a leading blank tells argparse so, and reading a time strips it."""
    return [f" {word}" if _RELATIVE.fullmatch(word) else word for word in argv]


def time_text(text: str) -> str:
    """An argument that is a time; it is given on as written, so that the server's clock decides what now is."""
    try:
        parse_time(text, 0)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None
    return text.strip()


def duration_text(text: str) -> str:
    """An argument that is a duration such as '30s'."""
    try:
        parse_duration(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None
    return text.strip()


def port(text: str) -> int:
    """A port number; 0 takes any that is free."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text!r}; write a number from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a number above 0: {text!r}")
    return int(text)
