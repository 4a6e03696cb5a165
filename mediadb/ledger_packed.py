"""Statements of a ledger held small: columns of numbers instead of objects, each cause once.

Law: values in, the same values out, in the order they were entered; no I/O. A year of a hundred cameras must fit beside
a recording server. Used by `mediadb.ledger_book` and `mediadb.coverage`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from typing import Final

from mediadb.ledger_facts import FUTURE_US, Statement, Transition
from mediadb.types import Cause

TOUCHING_US: Final = 200_000  # removals this near to each other, by one rule, are one


class Causes:
    """Causes by number, each kept once."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._causes: list[Cause] = []

    def number(self, cause: Cause) -> int:
        key = str(cause.state), cause.reason, json.dumps(cause.params, sort_keys=True) if cause.params else ""
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self._causes)
            self._causes.append(cause)
        return found

    def __getitem__(self, number: int) -> Cause:
        return self._causes[number]


class Words:
    """Transitions of one track."""

    __slots__ = ("_causes", "_clocks", "_numbers", "_orders", "_runs", "_times", "first_us")

    def __init__(self, causes: Causes) -> None:
        self._causes = causes
        self._times, self._numbers, self._orders = array("q"), array("I"), array("I")
        self._runs, self._clocks = array("Q"), array("H")
        self.first_us = FUTURE_US

    def __len__(self) -> int:
        return len(self._times)

    def add(self, word: Transition) -> None:
        self._times.append(word.time_us)
        self._numbers.append(self._causes.number(word.cause))
        self._orders.append(word.order)
        self._runs.append(word.run)
        self._clocks.append(min(word.clock, 65_535))
        self.first_us = min(self.first_us, word.time_us)

    def first_of_runs(self) -> dict[int, int]:
        """When each run first spoke."""
        first: dict[int, int] = {}
        for run, time_us in zip(self._runs, self._times, strict=True):
            first[run] = min(first.get(run, time_us), time_us)
        return first

    def near(self, low_us: int, high_us: int) -> list[Transition]:
        """What decides [low_us, high_us): the words inside, and of each run its first one, the last before and the
        first behind. Runs whose clock was set are given whole."""
        times, runs, clocks = self._times, self._runs, self._clocks
        stepped = {runs[at] for at, clock in enumerate(clocks) if clock}
        chosen: set[int] = set()
        first: dict[int, int] = {}
        before: dict[int, int] = {}
        behind: dict[int, int] = {}
        for at, time_us in enumerate(times):
            run = runs[at]
            if run in stepped or low_us <= time_us < high_us:
                chosen.add(at)
            elif time_us < low_us:
                if run not in before or times[before[run]] <= time_us:
                    before[run] = at
            elif run not in behind or time_us < times[behind[run]]:
                behind[run] = at
            if run not in first or time_us < times[first[run]]:
                first[run] = at
        chosen.update(first.values(), before.values(), behind.values())
        return [self._word(at) for at in sorted(chosen)]

    def _word(self, at: int) -> Transition:
        return Transition(
            self._times[at], self._causes[self._numbers[at]], self._runs[at], self._orders[at], self._clocks[at]
        )


class Closed:
    """Closed statements of one track. With `join`, one that goes on where the last one ended, for the same cause, is
    part of it."""

    __slots__ = ("_causes", "_clocks", "_ends", "_join", "_numbers", "_orders", "_runs", "_starts", "first_us")

    def __init__(self, causes: Causes, *, join: bool = False) -> None:
        self._causes, self._join = causes, join
        self._starts, self._ends = array("q"), array("q")
        self._numbers, self._orders = array("I"), array("I")
        self._runs, self._clocks = array("Q"), array("H")
        self.first_us = FUTURE_US

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, one: Statement) -> None:
        number = self._causes.number(one.cause)
        self.first_us = min(self.first_us, one.start_us)
        if self._join and len(self) and self._numbers[-1] == number:
            low_us, high_us = self._starts[-1], self._ends[-1]
            if low_us <= one.start_us <= high_us + TOUCHING_US:
                self._ends[-1] = max(high_us, one.end_us)
                return
        self._starts.append(one.start_us)
        self._ends.append(one.end_us)
        self._numbers.append(number)
        self._orders.append(one.order)
        self._runs.append(one.run)
        self._clocks.append(min(one.clock, 65_535))

    def near(self, low_us: int, high_us: int) -> list[Statement]:
        """Those that reach into [low_us, high_us)."""
        pairs = enumerate(zip(self._starts, self._ends, strict=True))
        return [self._statement(at) for at, (start, end) in pairs if start < high_us and end > low_us]

    def _statement(self, at: int) -> Statement:
        return Statement(
            self._starts[at], self._ends[at], self._causes[self._numbers[at]], self._orders[at], self._runs[at],
            self._clocks[at],
        )  # fmt: skip


class Extents:
    """From when to when each sealed segment, by its number, has a track."""

    __slots__ = ("_ends", "_segments", "_starts", "first_us")

    def __init__(self) -> None:
        self._segments, self._starts, self._ends = array("I"), array("q"), array("q")
        self.first_us = FUTURE_US

    def __len__(self) -> int:
        return len(self._segments)

    def add(self, segment: int, start_us: int, end_us: int) -> None:
        self._segments.append(segment)
        self._starts.append(start_us)
        self._ends.append(end_us)
        self.first_us = min(self.first_us, start_us)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self._segments, self._starts, self._ends, strict=True)

    def any_from(self, low_us: int, high_us: int) -> bool:
        """Does one begin in [low_us, high_us)?"""
        return any(low_us <= start < high_us for start in self._starts)

    def take(self, gone: set[int]) -> list[tuple[int, int, int]]:
        """Leave out the extents of these segments, and return them."""
        rows = list(self)
        self._segments, self._starts, self._ends = array("I"), array("q"), array("q")
        for row in rows:
            if row[0] not in gone:
                self.add(*row)
        return [row for row in rows if row[0] in gone]
