"""The one clock object, passed in wherever time matters.

Law: nothing outside `recorderd.aio.system_clock` reads the machine's clocks. Wall time is for showing and
asking; order never depends on it. All values are integer microseconds (`_us`), wall time is UTC.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two readings: UTC that may step, and a monotonic count that never does."""

    def utc_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z; may step either way."""
        ...

    def monotonic_us(self) -> int:
        """Microseconds from an arbitrary start; never goes back."""
        ...


class FakeClock:
    """A clock that tests move by hand."""

    def __init__(self, utc_us: int = 1_700_000_000_000_000, monotonic_us: int = 0) -> None:
        self._utc_us = utc_us
        self._monotonic_us = monotonic_us

    def utc_us(self) -> int:
        return self._utc_us

    def monotonic_us(self) -> int:
        return self._monotonic_us

    def advance(self, us: int) -> None:
        """Let `us` microseconds pass on both readings."""
        self._utc_us += us
        self._monotonic_us += us

    def step(self, us: int) -> None:
        """Step the wall clock only, as an administrator or NTP would."""
        self._utc_us += us
