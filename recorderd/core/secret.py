"""A value that must never be shown: passwords and keys.

Law: a Secret has no repr, no str, no JSON, no format and no pickle; `reveal()` is called only where the bytes
go out to the device or system that owns the secret.
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Wraps a string; every accidental way of printing it gives `***` or raises TypeError."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The plain value: pass it on to its owner, never keep or log it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be serialised; reveal() it only where it is used")
