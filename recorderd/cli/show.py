"""Text for people: tables, times, sizes, a progress bar.

Law: only shapes strings; what came from elsewhere never reaches a terminal with control characters in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_BAR_WIDTH = 30


def printable(value: object) -> str:
    """One line without control characters; None is a dash."""
    if value is None or value == "":
        return "-"
    return "".join(char if char.isprintable() else "?" for char in str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns padded to their widest cell."""
    lines = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def size(number: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in _UNITS:
        if abs(number) < 1024 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError("the last unit always returns")


def cause(stretch: dict[str, Any]) -> str:
    """State, reason and parameters of a stretch of coverage."""
    words = [str(stretch["state"])]
    if stretch.get("reason"):
        words.append(f"({stretch['reason']})")
    words += [f"{key}={value}" for key, value in (stretch.get("params") or {}).items()]
    if damaged := stretch.get("damaged"):
        words.append(f"[damaged: {damaged['packets']} packets, {damaged['frames']} frames]")
    return " ".join(words)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


class Progress:
    """A bar on a terminal, nothing elsewhere. `total` may be unknown (0)."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self._label = printable(label)
        self._total = total
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._percent = -1
        self._done = 0

    def add(self, number: int) -> None:
        self._done += number
        percent = 100 * self._done // self._total if self._total else self._done >> 20
        if self._shown and percent != self._percent:
            self._percent = percent
            self._draw("\r")

    def finish(self) -> None:
        if self._shown:
            self._draw("\r")
            self._stream.write("\n")

    def _draw(self, start: str) -> None:
        share = min(1.0, self._done / self._total) if self._total else 1.0
        bar = ("#" * int(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, ".")
        self._stream.write(f"{start}{self._label} [{bar}] {share:4.0%} {size(self._done)}")
        self._stream.flush()
