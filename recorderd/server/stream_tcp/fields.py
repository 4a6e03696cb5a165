"""Members of a client's head, checked one by one.

Law: pure. Whatever a client sends there gives a value of the right kind and size, or UsageError with the member's name.
Called by the handlers of `requests`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recorderd.core.errors import UsageError
from recorderd.server.problems import Refusal
from recorderd.server.timespan import MAX_COVERAGE_US

Head = Mapping[str, Any]
LATEST_US = 253_402_300_799_999_999  # the end of year 9999


def _refuse(name: str, what: str) -> UsageError:
    return UsageError(f"`{name}` must be {what}", name=name)


def text(head: Head, name: str, default: str | None = None) -> str:
    value = head.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise _refuse(name, "a text of 1 to 256 characters")
    return value


def flag(head: Head, name: str) -> bool:
    value = head.get(name, False)
    if not isinstance(value, bool):
        raise _refuse(name, "true or false")
    return value


def count(head: Head, name: str, low: int, high: int, default: int | None = None) -> int:
    value = head.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _refuse(name, f"a whole number from {low} to {high}")
    return value


def optional(head: Head, name: str, low: int, high: int) -> int | None:
    return None if head.get(name) is None else count(head, name, low, high)


def time_us(head: Head, name: str, default: int | None = None) -> int:
    """A moment between 1970 and 9999."""
    return count(head, name, 0, LATEST_US, default)


def optional_time_us(head: Head, name: str) -> int | None:
    return None if head.get(name) is None else time_us(head, name)


def speed(head: Head, default: float | None = None) -> float:
    """-16 to 16 or infinity; the player knows what they mean."""
    value = head.get("speed", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise _refuse("speed", "a number from -16 to 16, or infinity")
    return float(value)


def choice(head: Head, name: str, known: tuple[str, ...], default: str | None = None) -> str:
    value = head.get(name, default)
    if not isinstance(value, str) or value not in known:
        raise _refuse(name, f"one of {', '.join(known)}")
    return value


def texts(head: Head, name: str, highest: int, default: tuple[str, ...] = ()) -> list[str]:
    """A list of texts without repeats."""
    value = head.get(name, list(default))
    if not isinstance(value, list) or len(value) > highest or not all(isinstance(one, str) for one in value):
        raise _refuse(name, f"a list of at most {highest} texts")
    return list(dict.fromkeys(value))


def mapping(head: Head, name: str) -> dict[str, Any]:
    value = head.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refuse(name, "a map")
    return value


def span(head: Head) -> tuple[int, int]:
    """[start_us, end_us): not empty, at most 400 days. Raises Refusal (range-too-long) and UsageError."""
    start_us, end_us = time_us(head, "start_us"), time_us(head, "end_us")
    if start_us >= end_us:
        raise UsageError("the range is empty: `end_us` must lie after `start_us`", start_us=start_us, end_us=end_us)
    if end_us - start_us > MAX_COVERAGE_US:
        longest_s = MAX_COVERAGE_US // 1_000_000
        raise Refusal("range-too-long", f"a range is at most {longest_s} s", longest_s=longest_s)
    return start_us, end_us
