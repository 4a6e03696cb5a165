"""Stretches that begin with what refers to a chunk before them: is that chunk there?

Law: values over `MediaSpan`, no I/O of its own; who calls says how a chunk is looked for by its number. Numbers tell,
not times: a camera that stood still inside its group goes on without a key. Used by `mediadb.read.index`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from mediadb.ledger_facts import NO_ENTRY, PAST_US, MediaSpan

MOST_PARTS: Final = 64  # segments that one group may go on through before its begin is taken as there
Before = Callable[[MediaSpan], Sequence[MediaSpan]]


def with_heads(spans: list[MediaSpan], low_us: int, before: Before) -> list[MediaSpan]:
    """The spans, `entry_us` PAST_US where the chunk that their begin refers to is there. What cannot be shown and ends
    before `low_us` is not looked at. Earlier stretches of the same group are added when they cannot be shown either.
    `spans` itself when nothing is in doubt. `before` gives the stretches up to the chunk that a span refers to."""
    if not any(_in_doubt(span, low_us) for span in spans):
        return spans
    known, asked = list(spans), set[tuple[int, str, int]]()
    for _ in range(MOST_PARTS):
        heads = [span for span in _heads(known, low_us) if _place(span) not in asked]
        if not heads:
            break
        asked.update(map(_place, heads))
        known += [span for head in heads for span in before(head)]
    else:
        asked = set()
    there = set(map(id, spans))
    return [
        replace(span, entry_us=PAST_US) if shown else span
        for span, shown in _judged(known, low_us, asked)
        if id(span) in there or not shown
    ]


def _in_doubt(span: MediaSpan, low_us: int) -> bool:
    return span.entry_us > span.start_us and span.entry_us > low_us


def _place(span: MediaSpan) -> tuple[int, str, int]:
    return span.run, span.lane, span.after_seq


def _chained(spans: Sequence[MediaSpan]) -> Iterator[tuple[MediaSpan, MediaSpan | None]]:
    """Spans by number, each with the one that has the chunk before it."""
    last: MediaSpan | None = None
    for span in sorted(spans, key=lambda s: (s.run, s.lane, s.first_seq, -s.end_seq)):
        chained = last is not None and (last.run, last.lane) == (span.run, span.lane)
        yield span, last if last is not None and chained and last.end_seq >= span.after_seq else None
        if last is None or not chained or span.end_seq >= last.end_seq:
            last = span


def _heads(spans: Sequence[MediaSpan], low_us: int) -> list[MediaSpan]:
    """In doubt, and the chunk before is in none of the spans. The first number of a run has none before it."""
    return [span for span, last in _chained(spans) if last is None and span.after_seq > 0 and _in_doubt(span, low_us)]


def _judged(
    spans: Sequence[MediaSpan], low_us: int, gone: set[tuple[int, str, int]]
) -> Iterator[tuple[MediaSpan, bool]]:
    """Each span, and whether all of it can be shown; `gone` are places in front of which nothing is."""
    ends: dict[int, bool] = {}  # can the end of a span be shown?
    for span, last in _chained(spans):
        shown = not _in_doubt(span, low_us)
        if not shown:
            shown = ends[id(last)] if last is not None else _place(span) not in gone
        ends[id(span)] = shown or span.entry_us != NO_ENTRY
        yield span, shown
