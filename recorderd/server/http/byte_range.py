"""Range and conditional requests (RFC 9110 §13 and §14) over a representation with one strong ETag.

Law: pure; header texts in, a decision out. Called by the media handler before any byte of footage is read.
A request for several ranges is answered with the whole representation, as §14.2 allows: no player asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"\s*bytes\s*=\s*(.*)\s*", re.ASCII | re.IGNORECASE)
_SPEC = re.compile(r"(\d{0,100})\s*-\s*(\d{0,100})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Whole:
    """Answer 200 with everything."""


@dataclass(frozen=True, slots=True)
class Part:
    """Answer 206 with bytes [start, end)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Answer 416 with the length."""


@dataclass(frozen=True, slots=True)
class NotModified:
    """Answer 304."""


@dataclass(frozen=True, slots=True)
class PreconditionFailed:
    """Answer 412."""


Decision = Whole | Part | Unsatisfiable | NotModified | PreconditionFailed


def decide(headers: Mapping[str, str], etag: str, length: int) -> Decision:
    """The order of §13.2.2. `headers` must be case-insensitive; `etag` is quoted and strong; `length` in bytes.

    Dates are never sent as validators, so If-Unmodified-Since is not known to hold and If-Range with a date never
    matches (the whole representation is the safe answer)."""
    if (wanted := headers.get("If-Match")) is not None and not _listed(wanted, etag, weak=False):
        return PreconditionFailed()
    if (known := headers.get("If-None-Match")) is not None and _listed(known, etag, weak=True):
        return NotModified()
    text = headers.get("Range")
    if text is None:
        return Whole()
    condition = headers.get("If-Range")
    if condition is not None and condition.strip() != etag:
        return Whole()
    return parse_range(text, length)


def parse_range(text: str, length: int) -> Whole | Part | Unsatisfiable:
    """One Range header against `length` bytes; malformed or several ranges mean Whole (§14.2: may be ignored)."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return Whole()
    spec = _SPEC.fullmatch(found[1].strip())
    if spec is None or not (spec[1] or spec[2]):
        return Whole()
    if not spec[1]:
        suffix = int(spec[2])
        if suffix == 0 or length == 0:
            return Unsatisfiable()
        return Part(max(0, length - suffix), length)
    start = int(spec[1])
    last = int(spec[2]) if spec[2] else length - 1
    if spec[2] and last < start:
        return Whole()
    if start >= length:
        return Unsatisfiable()
    return Part(start, min(last + 1, length))


def _listed(header: str, etag: str, *, weak: bool) -> bool:
    """Whether `*` or an entry of the list equals the tag; strong comparison refuses W/ entries (§8.8.3.2)."""
    if header.strip() == "*":
        return True
    for entry in header.split(","):
        tag = entry.strip()
        if weak:
            tag = tag.removeprefix("W/")
        if tag == etag:
            return True
    return False
