"""Times in queries and answers: RFC 3339, `now`, `-10m` in; RFC 3339 UTC with fraction out.

Law: pure; the moment `now` is an argument, so one request has one now. Called by the handlers.
"""

from __future__ import annotations

import re

from recorderd.core.timerange import DAY_US, SECOND_US, TimeRange, format_time, parse_duration, parse_time
from recorderd.server.problems import Refusal

MAX_MEDIA_US = 31 * DAY_US
MAX_COVERAGE_US = 400 * DAY_US

_LOST_PLUS = re.compile(r"(.*[0-9]) (\d\d:\d\d)", re.ASCII)
_EARLIEST_US = 0
_LATEST_US = 253_402_300_799 * SECOND_US  # the end of year 9999, RFC 3339's last


def read_time(text: str, now_us: int, name: str = "time") -> int:
    """One time in UTC microseconds. Raises Refusal (bad-request) or UsageError.

    A '+' that was not percent-encoded arrives as a space; before an offset it is put back."""
    lost_plus = _LOST_PLUS.fullmatch(text.strip())
    time_us = parse_time(f"{lost_plus[1]}+{lost_plus[2]}" if lost_plus else text, now_us)
    if not _EARLIEST_US <= time_us <= _LATEST_US:
        raise Refusal("bad-request", f"{name!r} must lie between 1970 and 9999", name=name)
    return time_us


def read_range(start: str, end: str, now_us: int, longest_us: int) -> TimeRange:
    """[start, end); refuses empty, inverted and overlong ranges."""
    start_us, end_us = read_time(start, now_us, "start"), read_time(end, now_us, "end")
    if start_us >= end_us:
        raise Refusal("bad-request", "the range is empty: `end` must lie after `start`",
                          start=format_time(start_us), end=format_time(end_us))  # fmt: skip
    if end_us - start_us > longest_us:
        raise Refusal(
            "range-too-long",
            f"the range is {(end_us - start_us) / SECOND_US:.0f} s; this path takes {longest_us // SECOND_US} s",
            longest_s=longest_us // SECOND_US,
        )
    return TimeRange(start_us, end_us)


def read_resolution(text: str) -> int:
    """A duration in microseconds, or 0 for '' and '0': exact."""
    resolution_us = 0 if text in ("", "0") else parse_duration(text)
    if resolution_us > MAX_COVERAGE_US:
        raise Refusal("bad-request", f"'resolution' is at most {MAX_COVERAGE_US // DAY_US} days", name="resolution")
    return resolution_us


def is_absolute(text: str) -> bool:
    """Whether a time means the same moment whenever it is asked."""
    return text.strip() != "now" and text.strip()[:1] not in ("+", "-")


def show_time(time_us: int | None) -> str | None:
    """RFC 3339 UTC with six digits, or None. What lies beyond year 9999 is shown as its last microsecond."""
    return None if time_us is None else format_time(min(time_us, _LATEST_US + SECOND_US - 1))
