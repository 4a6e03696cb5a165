"""Times on the command line: RFC 3339, `now`, `-10m`; and back to text.

Law: text to integer microseconds UTC and back, `now_us` comes in as an argument. Used by the tools only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS_US: Final = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_RELATIVE: Final = re.compile(r"(?:now)?([+-])(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class TimeTextError(ValueError):
    """The text is no time; the message says what would be."""


def shield(argument: str) -> str:
    """`-10m` as `now-10m`: an argument parser takes a leading dash for an option."""
    return f"now{argument}" if argument.startswith("-") and _RELATIVE.fullmatch(argument) else argument


def parse_time(text: str, now_us: int) -> int:
    """RFC 3339 with zone (`2026-01-31T12:00:00Z`), `now`, or a distance from now (`-10m`, `+1.5h`)."""
    word = text.strip()
    if word == "now":
        return now_us
    if relative := _RELATIVE.fullmatch(word):
        sign, number, unit = relative.groups()
        distance = round(float(number) * UNITS_US[unit])
        return now_us + (distance if sign == "+" else -distance)
    if absolute := _RFC3339.fullmatch(word):
        return _absolute(word, absolute)
    raise TimeTextError(f"{text!r} is no time; write 2026-01-31T12:00:00Z, now, or -10m (ms s m h d)")


def _absolute(word: str, match: re.Match[str]) -> int:
    *numbers, fraction, zone = match.groups()
    try:
        year, month, day, hour, minute, second = (int(n) for n in numbers)
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError as error:
        raise TimeTextError(f"{word!r} is no time: {error}") from None
    offset = timedelta()
    if zone not in "Zz":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        offset = -offset if zone[0] == "-" else offset
    whole = (moment - offset - EPOCH) // timedelta(microseconds=1)
    leap = 1_000_000 if second == 60 else 0  # a leap second reads as the second after it
    if second > 60:
        raise TimeTextError(f"{word!r} is no time: second must be in 0..60")
    return whole + leap + int((fraction or "0").ljust(9, "0")[:6])


def show_time(time_us: int) -> str:
    """RFC 3339 UTC with microseconds, e.g. 2026-01-31T12:00:00.000000Z; out of range as a plain number."""
    try:
        moment = EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return str(time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def show_duration(duration_us: int) -> str:
    """A length for people: 0.040 s, 12.3 s, 4 min 05 s, 3 h 02 min, 2 d 03 h."""
    seconds = duration_us / 1_000_000
    if seconds < 60:
        return f"{seconds:.3f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"


def show_bytes(size: int) -> str:
    """A size for people in binary units."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} TiB"
