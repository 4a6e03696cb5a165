"""The clock of playback: media time that runs, stands, jumps; shared by all players that must stay in step.

Law: pure; reads only the monotonic count of the Clock it is given. Members tell when they hold it (they load, or their
viewer does not take), and when they have nothing to show until some time (a hole): once all rest, the clock jumps to
the first of them that goes on. Called by `player` and by whoever plays several cameras on one clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from recorderd.core.clock import Clock


class MasterClock:
    """Media time in recorder UTC microseconds."""

    def __init__(self, clock: Clock, media_us: int = 0, speed: float = 1.0) -> None:
        self._clock = clock
        self._speed = speed
        self._media_us = media_us
        self._mono_us = clock.monotonic_us()
        self._held: set[object] = set()
        self._asked = False
        self._wakes: dict[object, Callable[[], None]] = {}
        self._resting: dict[object, int | None] = {}

    @property
    def speed(self) -> float:
        return self._speed

    @property
    def running(self) -> bool:
        """Does media time move now? Who learns that it is held is woken once it is not."""
        self._asked = self._asked or bool(self._held)
        return self._moves()

    def _moves(self) -> bool:
        return self._speed != 0 and not self._held and not math.isinf(self._speed)

    def media_us(self) -> int:
        """Media time now."""
        if not self._moves():
            return self._media_us
        return self._media_us + round((self._clock.monotonic_us() - self._mono_us) * self._speed)

    def set_speed(self, speed: float) -> None:
        """Media time goes on from where it is."""
        self._anchor()
        if (speed < 0) != (self._speed < 0):
            self._resting.clear()
        self._speed = speed
        self._wake()

    def jump(self, media_us: int) -> None:
        """Media time is `media_us` now; nobody rests any more."""
        self._anchor()
        self._media_us = media_us
        self._resting.clear()
        self._wake()

    def wait_us(self, media_us: int) -> int | None:
        """Wall time until a running clock reaches `media_us`, not positive when it has; None while paused."""
        if math.isinf(self._speed):
            return 0
        if self._speed == 0:
            return None
        return math.ceil((media_us - self.media_us()) / self._speed)

    def join(self, member: object, wake: Callable[[], None]) -> None:
        """`wake` is called after every change."""
        self._wakes[member] = wake

    def leave(self, member: object) -> None:
        self._wakes.pop(member, None)
        self._resting.pop(member, None)
        self.release(member)
        self._pass_rest()

    def hold(self, member: object) -> None:
        """The clock stands until every member that held it has released it."""
        self._anchor()
        self._held.add(member)

    def release(self, member: object) -> None:
        if member in self._held:
            self._anchor()
            self._held.discard(member)
            if self._asked and not self._held:
                self._asked = False
                self._wake()

    def rest(self, member: object, until_us: int | None) -> None:
        """`member` shows nothing before `until_us` (None: nothing at all). When all rest, the clock jumps."""
        self._resting[member] = until_us
        self._pass_rest()

    def work(self, member: object) -> None:
        """`member` has something to show again."""
        self._resting.pop(member, None)

    def _pass_rest(self) -> None:
        if self._speed == 0 or any(member not in self._resting for member in self._wakes):
            return
        goals = [until for until in self._resting.values() if until is not None]
        if goals:
            self.jump(max(goals) if self._speed < 0 else min(goals))

    def _anchor(self) -> None:
        self._media_us = self.media_us()
        self._mono_us = self._clock.monotonic_us()

    def _wake(self) -> None:
        for wake in list(self._wakes.values()):
            wake()
