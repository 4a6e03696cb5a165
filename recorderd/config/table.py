"""One table of the file, read key by key: right type or a finding, and what nobody read is an unknown key.

Law: a reader asks for each key it knows with the type it wants and gets a value or the default; `finish` reports
the rest. No key is known in two places. No meaning here: sections give it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from recorderd.config.findings import Findings, Place, did_you_mean
from recorderd.core.errors import UsageError
from recorderd.core.timerange import parse_duration, parse_size

T = TypeVar("T")

# Words that the documented format already knows and this version cannot do yet: refused by name, never ignored.
PLANNED_KEYS = frozenset({"fallback", "schedule", "motion"})
PLANNED_VALUES: Mapping[str, frozenset[str]] = {
    "record": frozenset({"motion", "event", "schedule"}),
}
_MISSING = object()
_TYPE_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}


class Table:
    """`raw` as found at `place`. `planned` are further keys of this table that are not built yet."""

    def __init__(self, raw: Mapping[str, Any], place: Place, findings: Findings, planned: Collection[str] = ()) -> None:
        self.raw = raw
        self.place = place
        self.findings = findings
        self._planned = PLANNED_KEYS | set(planned)
        self._known: set[str] = set()

    def error(self, key: str, message: str) -> None:
        self.findings.error(self.place / key if key else self.place, message)

    def warn(self, key: str, message: str) -> None:
        self.findings.warn(self.place / key if key else self.place, message)

    def has(self, key: str) -> bool:
        return key in self.raw

    def value(self, key: str, kind: type[T], default: T) -> T:
        """The value when it has exactly that type (a whole number also counts as a float)."""
        self._known.add(key)
        found = self.raw.get(key, _MISSING)
        if found is _MISSING:
            return default
        if kind is float and type(found) is int:
            found = float(found)
        if type(found) is not kind:
            self.error(key, f"must be {_TYPE_WORDS.get(kind, kind.__name__)}, not {_word_for(found)}")
            return default
        return found

    def required(self, key: str) -> str:
        """A text that must be there and not be empty."""
        text = self.value(key, str, "")
        if key not in self.raw:
            self.error(key, "is missing")
        elif not text and isinstance(self.raw[key], str):
            self.error(key, "must not be empty")
        return text

    def parsed(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """A text turned into a value by `parse`, whose UsageError becomes the finding."""
        text = self.value(key, str, "")
        if key not in self.raw or not isinstance(self.raw[key], str):
            return default
        try:
            return parse(text)
        except UsageError as error:
            self.error(key, error.message)
            return default

    def duration_us(self, key: str, default: int, low: int = 0, high: int | None = None) -> int:
        """A duration text within [low, high] microseconds."""
        return self._bounded(key, self.parsed(key, parse_duration, default), low, high)

    def optional_duration_us(self, key: str, low: int) -> int | None:
        found = self.duration_us(key, -1, low)
        return None if found < 0 else found

    def optional_size(self, key: str, low: int) -> int | None:
        found = self.size(key, -1, low)
        return None if found < 0 else found

    def size(self, key: str, default: int, low: int = 0) -> int:
        return self._bounded(key, self.parsed(key, parse_size, default), low, None)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        """One of a few words; a word that is planned is refused as not built yet."""
        word = self.value(key, str, default)
        if word in allowed:
            return word
        self.error(key, wrong_choice(key, word, allowed))
        return default

    def absolute(self, key: str, default: Path) -> Path:
        """An absolute path, as written (symbolic links are not followed)."""
        text = self.value(key, str, str(default))
        if not text.startswith("/") or "\0" in text:
            self.error(key, f"must be an absolute path, not {text!r}")
            return default
        return Path(text)

    def identity(self) -> uuid.UUID | None:
        """The optional `id`."""

        def parse(text: str) -> uuid.UUID | None:
            try:
                return uuid.UUID(text)
            except ValueError:
                raise UsageError(f"not a UUID: {text!r}; leave it out to have one made") from None

        return self.parsed("id", parse, None)

    def tables(self, key: str) -> list[tuple[Place, Mapping[str, Any]]]:
        """The items of an array of tables ([[key]]) with their places."""
        self._known.add(key)
        found = self.raw.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self.error(key, f"must be an array of tables: write [[{(self.place / key).path}]]")
            return []
        return [(self.place.item(key, index), item) for index, item in enumerate(found)]

    def finish(self) -> None:
        """Report every key that nobody asked for."""
        for key in self.raw:
            if key in self._known:
                continue
            if key in self._planned:
                self.error(key, "is not built yet in this version: leave it out")
            else:
                self.error(key, f"unknown key{did_you_mean(key, self._known)}")

    def _bounded(self, key: str, number: int, low: int, high: int | None) -> int:
        if key in self.raw and isinstance(self.raw[key], str) and number >= 0:
            if number < low:
                self.error(key, f"{self.raw[key]!r} is too small")
            elif high is not None and number > high:
                self.error(key, f"{self.raw[key]!r} is too large")
        return number


def wrong_choice(key: str, word: str, allowed: Collection[str]) -> str:
    """The message for a word that is not (yet) among those allowed."""
    words = ", ".join(repr(one) for one in allowed)
    if word in PLANNED_VALUES.get(key, ()):
        return f"{word!r} is not built yet in this version: use {words}"
    return f"{word!r} is not one of {words}{did_you_mean(word, allowed)}"


def _word_for(found: object) -> str:
    for kind, word in _TYPE_WORDS.items():
        if type(found) is kind:
            return word
    return "an array" if isinstance(found, list) else "a date or time"
