"""The time of a slot: both clocks read together, and the clock run they belong to.

Law: pure but for the clock it is given; no files, no threads. A step of the wall clock begins a new clock run and is
told; slow corrections are followed. Used by `mediadb.aio` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mediadb.write.items import Now
from mediadb.write.writer_thread import Ticking

CLOCK_STEP_US: Final = 500_000


class SlotClock:
    """`stepped(delta_us, clock_run)` hears of each step."""

    def __init__(self, clock: Ticking, stepped: Callable[[int, int], object]) -> None:
        self._clock, self._stepped = clock, stepped
        self._offset_us = clock.utc_us() - clock.monotonic_us()
        self._clock_run = 0

    def now(self) -> Now:
        utc_us, mono_us = self._clock.utc_us(), self._clock.monotonic_us()
        step_us = utc_us - mono_us - self._offset_us
        self._offset_us += step_us  # slow corrections are followed, only a jump counts
        if abs(step_us) > CLOCK_STEP_US:
            self._clock_run += 1
            self._stepped(step_us, self._clock_run)
        return Now(utc_us, mono_us, self._clock_run)
