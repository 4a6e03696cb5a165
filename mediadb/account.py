"""How much of a range is footage and where the rest went: sums of coverage, exact to the microsecond.

Law: pure; adds up intervals that touch and cover the whole range, and refuses others: the shares of a range always sum
up to its length. Used by `mediadb.report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mediadb.types import Interval, State

HELD: Final = frozenset({State.RECORDED, State.RETRIEVED})
LONGEST: Final = 5


@dataclass(frozen=True, slots=True)
class Share:
    """Time with one state and reason, in so many stretches."""

    state: str
    reason: str
    us: int
    stretches: int


@dataclass(frozen=True, slots=True)
class Account:
    """A range of one track. `shares`: longest first, they sum up to the range; `gaps`: the longest stretches that were
    wanted and are no footage; `wanted_us`: the range without what nobody asked for and what has not happened yet."""

    start_us: int
    end_us: int
    shares: tuple[Share, ...]
    gaps: tuple[Interval, ...]
    damaged_us: int
    damaged_packets: int
    damaged_samples: int

    @property
    def held_us(self) -> int:
        return sum(one.us for one in self.shares if one.state in HELD)

    @property
    def wanted_us(self) -> int:
        return sum(one.us for one in self.shares if one.state != State.NOT_SCHEDULED)

    def of(self, state: State) -> int:
        """Time with a state, whatever the reason."""
        return sum(one.us for one in self.shares if one.state == state)

    def stretches(self, state: State) -> int:
        return sum(one.stretches for one in self.shares if one.state == state)


def account(intervals: Sequence[Interval], start_us: int, end_us: int) -> Account:
    """Add up the coverage of [start_us, end_us). ValueError when it does not cover the range exactly."""
    at, damaged_us, packets, samples = start_us, 0, 0, 0
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for one in intervals:
        if one.start_us != at or one.end_us <= at:
            raise ValueError(f"coverage does not go on at {at}")
        at, length = one.end_us, one.end_us - one.start_us
        key = str(one.cause.state), one.cause.reason
        us, stretches = sums.get(key, (0, 0))
        sums[key] = us + length, stretches + 1
        if one.damaged_packets or one.damaged_samples:
            damaged_us += length
            packets += one.damaged_packets
            samples += one.damaged_samples
    if at != end_us:
        raise ValueError(f"coverage ends at {at}, not at {end_us}")
    shares = [Share(state, reason, us, stretches) for (state, reason), (us, stretches) in sums.items()]
    shares.sort(key=lambda one: (-one.us, one.state, one.reason))
    gaps = [one for one in intervals if one.cause.state not in HELD and one.cause.state is not State.NOT_SCHEDULED]
    gaps.sort(key=lambda one: (one.start_us - one.end_us, one.start_us))
    return Account(start_us, end_us, tuple(shares), tuple(gaps[:LONGEST]), damaged_us, packets, samples)


def together(accounts: Sequence[Account]) -> list[Share]:
    """The shares of several accounts as one list."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for share in (share for one in accounts for share in one.shares):
        us, stretches = sums.get((share.state, share.reason), (0, 0))
        sums[share.state, share.reason] = us + share.us, stretches + share.stretches
    shares = [Share(state, reason, us, stretches) for (state, reason), (us, stretches) in sums.items()]
    return sorted(shares, key=lambda one: (-one.us, one.state, one.reason))
