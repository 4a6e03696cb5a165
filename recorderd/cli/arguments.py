"""What both command lines share: relative times as arguments, kinds of arguments, exit codes.

Law: no command here. Exit codes are the contract of docs/commands.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from recorderd.cli.show import print_json
from recorderd.core.errors import UsageError
from recorderd.core.timerange import parse_duration, parse_time

HELD = 0  # all well
WRONG = 1  # damage, loss or refusal
USAGE = 2  # the command or the configuration cannot be meant
UNREACHABLE = 3
UNCHECKED = 4  # not fully checked

_RELATIVE = re.compile(r"-\d+(ms|s|m|h|d)", re.ASCII)


class _Unusable(Exception):
    """The words are no command; `parser` is the one that says so."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """One whose errors are told by `read_words`."""

    def error(self, message: str) -> NoReturn:
        raise _Unusable(self, message)


def read_words(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments; else usage and error on standard error, as JSON too when --json is among the words, and
    SystemExit(USAGE)."""
    try:
        return parser.parse_args(words)
    except _Unusable as error:
        if "--json" in words:
            print_json({"error": {"code": "usage", "detail": str(error)}})
        error.parser.print_usage(sys.stderr)
        print(f"{error.parser.prog}: error: {error}", file=sys.stderr)
        raise SystemExit(USAGE) from None


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
