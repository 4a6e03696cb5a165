"""What is wrong with a configuration: errors and warnings with their places.

Law: a finding names the file, the path inside it (`hardware[2].address`) and the next move; it never quotes a
value that may hold a secret. Nothing stops at the first finding. Used by every reader in this package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recorderd.core.errors import RecorderdError


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One finding. `path` is empty when the whole file is meant."""

    path: str
    message: str
    file: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.path) if part)
        return f"{place}: {self.message}" if place else self.message


@dataclass(slots=True)
class Findings:
    """The collector that all readers write to."""

    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)

    def error(self, place: Place, message: str) -> None:
        self.errors.append(ConfigError(place.path, message, place.file))

    def warn(self, place: Place, message: str) -> None:
        self.warnings.append(ConfigError(place.path, message, place.file))


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file: `Place("recorderd.toml", "hardware[2]") / "address"`."""

    file: str
    path: str = ""

    def __truediv__(self, key: str) -> Place:
        return Place(self.file, f"{self.path}.{key}" if self.path else key)

    def item(self, key: str, index: int) -> Place:
        return self / f"{key}[{index}]"


class ConfigRejected(RecorderdError):
    """The configuration cannot be used; every finding is in `errors` (exit code 2)."""

    code = "config-rejected"

    def __init__(self, path: Path, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        lines = "".join(f"\n  {error}" for error in self.errors)
        super().__init__(
            f"{path} cannot be used, {len(self.errors)} error(s):{lines}", errors=[str(error) for error in self.errors]
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' when something close is known, else ''."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
