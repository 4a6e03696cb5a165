"""A set of whole numbers as ranges: a file that verifies may still name every number there is.

Law: pure; memory follows the number of ranges added, never what they span. Used by `mediadb.write.recover`.
"""

from __future__ import annotations


class NumberSet:
    """Numbers in half-open ranges [low, high)."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._whole = True  # sorted, none touches another

    def add(self, low: int, high: int) -> None:
        """All of [low, high); nothing when that is empty."""
        if low < high:
            self._ranges.append((low, high))
            self._whole = False

    def ranges(self) -> list[tuple[int, int]]:
        """In order, apart from each other."""
        if not self._whole:
            joined: list[tuple[int, int]] = []
            for low, high in sorted(self._ranges):
                if joined and low <= joined[-1][1]:
                    joined[-1] = joined[-1][0], max(joined[-1][1], high)
                else:
                    joined.append((low, high))
            self._ranges, self._whole = joined, True
        return self._ranges

    def behind(self, number: int) -> int | None:
        """The least one above `number`."""
        return next((max(low, number + 1) for low, high in self.ranges() if high > number + 1), None)

    def missing(self, end: int) -> list[tuple[int, int]]:
        """What lacks between the least one and `end` (not included)."""
        known = [one for one in self.ranges() if one[0] < end]
        ends = [low for low, _ in known[1:]] + [end]
        return [(high, until) for (_, high), until in zip(known, ends, strict=True) if high < until] if known else []
