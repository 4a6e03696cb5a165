"""How long to wait before trying again.

Law: pure; the caller sleeps. Full jitter, so that a hundred clients of a restarted server do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Waits between 0 and `first_s` x 2^n, never above `most_s`; after `tries` in a row it gives up (None: never)."""

    first_s: float = 0.25
    most_s: float = 15.0
    tries: int | None = None

    def waits(self, rng: random.Random) -> Iterator[float]:
        """One wait in seconds before each try."""
        number = 0
        while self.tries is None or number < self.tries:
            yield rng.uniform(0, min(self.most_s, self.first_s * 2 ** min(number, 30)))
            number += 1


@dataclass(frozen=True, slots=True)
class Reconnect:
    """A connection was made again: after how many tries, and why the one before was lost."""

    tries: int
    reason: str
