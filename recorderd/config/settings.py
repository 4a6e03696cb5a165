"""A driver's own keys: the fields of its settings type, read from the hardware's table.

Law: knows no driver. A settings type is a frozen dataclass of str, int, float, bool, enum (or one of these or
None) fields, each with a default; what its constructor refuses with UsageError (param `key`: which one) or
ValueError becomes a finding.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

from recorderd.config.table import Table, wrong_choice
from recorderd.core.errors import UsageError
from recorderd.driverapi.info import DriverInfo


def read_settings(table: Table, info: DriverInfo) -> Any:
    """An instance of `info.settings`, with its defaults where the file says nothing or something wrong."""
    hints = typing.get_type_hints(info.settings)
    given = {}
    for field in dataclasses.fields(info.settings):
        if not table.has(field.name):
            continue
        before = len(table.findings.errors)
        value = _read(table, field.name, _plain_type(hints[field.name]))
        if len(table.findings.errors) == before:
            given[field.name] = value
    try:
        return info.settings(**given)
    except UsageError as error:
        table.error(str(error.params.get("key", "")), error.message)
    except ValueError as error:
        table.error("", f"driver {info.id!r} refuses its settings: {error}")
    return info.settings()


def _plain_type(hint: Any) -> Any:
    """`X | None` as X: the file has no null, absent means None."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0]
    return hint


def _read(table: Table, key: str, kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        word = table.value(key, str, "")
        for member in kind:
            if member.value == word:
                return member
        if isinstance(table.raw[key], str):
            table.error(key, wrong_choice(key, word, [str(member.value) for member in kind]))
        return None
    if typing.get_origin(kind) is typing.Literal:
        words = tuple(str(word) for word in typing.get_args(kind))
        return table.choice(key, words, words[0])
    return table.value(key, kind, None)
