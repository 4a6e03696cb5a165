"""Stretches that begin with what refers to a chunk before them: is that chunk there?

Law: values over `MediaSpan`, no I/O of its own; who calls says how a chunk is looked for by its number. Numbers tell,
not times: a camera that stood still inside its group goes on without a key. Used by `mediadb.read.index`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mediadb.ledger_facts import NO_ENTRY, MediaSpan

MOST_PARTS: Final = 64  # segments that one group may go on through before its begin is taken as there
Before = Callable[[MediaSpan], Sequence[MediaSpan]]


def with_heads(spans: list[MediaSpan], low_us: int, before: Before) -> list[MediaSpan]:
    """The spans, `headless` where the chunk that their begin refers to is gone, with earlier stretches of the same
    group that can be shown as little. `spans` itself when there are none. What ends to be hidden before `low_us` is not
    looked at. `before` gives the stretches up to the chunk that a span refers to."""
    if not any(_in_doubt(span, low_us) for span in spans):
        return spans
    known, asked = spans, set[tuple[int, str, int]]()
    chain = _chained(known)
    for _ in range(MOST_PARTS):
        heads = [span for span, last in chain if last is None and _in_doubt(span, low_us) and _place(span) not in asked]
        heads = [span for span in heads if span.after_seq > 0]  # before the first number of a run there is none
        if not heads:
            break
        asked.update(map(_place, heads))
        known = known + [span for head in heads for span in before(head)]
        chain = _chained(known)
    else:
        asked = set()
    hidden = _hidden(chain, low_us, asked) if asked else {}
    if not hidden:
        return spans
    return [span for span in spans if id(span) not in hidden] + [replace(s, headless=True) for s in hidden.values()]


def _in_doubt(span: MediaSpan, low_us: int) -> bool:
    return span.entry_us > span.start_us and span.entry_us > low_us


def _place(span: MediaSpan) -> tuple[int, str, int]:
    return span.run, span.lane, span.after_seq


def _chained(spans: Sequence[MediaSpan]) -> list[tuple[MediaSpan, MediaSpan | None]]:
    """Spans by number, each with the one that has the chunk before it."""
    chain: list[tuple[MediaSpan, MediaSpan | None]] = []
    last: MediaSpan | None = None
    for span in sorted(spans, key=_number):
        if last is not None and (last.run, last.lane) != (span.run, span.lane):
            last = None
        chain.append((span, last if last is not None and last.end_seq >= span.after_seq else None))
        if last is None or span.end_seq >= last.end_seq:
            last = span
    return chain


def _number(span: MediaSpan) -> tuple[int, str, int, int]:
    return span.run, span.lane, span.first_seq, -span.end_seq


def _hidden(
    chain: Sequence[tuple[MediaSpan, MediaSpan | None]], low_us: int, gone: set[tuple[int, str, int]]
) -> dict[int, MediaSpan]:
    """The spans whose begin cannot be shown, by id. In front of the places `gone` nothing was found."""
    hidden: dict[int, MediaSpan] = {}
    for span, last in chain:
        if _in_doubt(span, low_us):
            without = _place(span) in gone if last is None else id(last) in hidden and last.entry_us == NO_ENTRY
            if without:
                hidden[id(span)] = span
    return hidden
