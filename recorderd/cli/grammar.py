"""The command lines as data: programs, commands, options, read from the parsers that run them.

Law: reads parsers, changes nothing. Manual pages and shell completion are made from this and from nothing else, so
that neither can say something the programs do not do. Used by `manual` and `completion`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """`names` empty: a positional argument. `value` is its placeholder, '' for a flag; `choices` its only values;
    `is_path`: a file or folder."""

    names: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...] = ()
    is_path: bool = False
    required: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A program (`name` is the program) or one of its commands."""

    name: str
    help: str
    options: tuple[Option, ...]
    commands: tuple[Command, ...] = ()
    epilog: str = ""


_PATHS = frozenset({"FILE", "DIR", "PATH"})


def programs() -> tuple[Command, ...]:
    """All three."""
    from mediadb.tools.main import build_parser as mediadb_parser
    from recorderd.cli.ctl import build_parser as ctl_parser
    from recorderd.cli.daemon_cli import build_parser as daemon_parser

    return tuple(describe(parser, parser.prog, parser.description or "") for parser in
                 (daemon_parser(), ctl_parser(), mediadb_parser()))  # fmt: skip


def describe(parser: argparse.ArgumentParser, name: str, text: str) -> Command:
    """A parser and all below it."""
    options: list[Option] = []
    commands: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands += _commands(action)
        elif action.help is not argparse.SUPPRESS:
            options.append(_option(action))
    return Command(name, text, tuple(options), tuple(commands), parser.epilog or "")


def _commands(action: argparse._SubParsersAction[argparse.ArgumentParser]) -> Iterator[Command]:
    said = {choice.dest: choice.help or "" for choice in action._choices_actions}
    for name, parser in action.choices.items():
        yield describe(parser, name, said.get(name, parser.description or ""))


def _option(action: argparse.Action) -> Option:
    flag = action.nargs == 0
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(str(choice) for choice in action.choices) if action.choices else ()
    return Option(
        names=tuple(action.option_strings),
        value="" if flag else metavar,
        help=action.help or "",
        choices=choices,
        is_path=not flag and metavar in _PATHS,
        required=bool(action.required),
        many=action.nargs in ("*", "+"),
    )
