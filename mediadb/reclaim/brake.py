"""What holds deletion by age back when the reason to delete is in doubt: a clock that jumped, limits cut short.

Law: pure; both clocks come in. A clock that jumped forward by more than a day stops deletion by age for a day. After
that, and when shorter limits would delete more than half of what is there, footage goes at a pace (five hundredths of
it an hour) until nothing is overdue or somebody confirms. Lack of room is never held back: recording goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mediadb.reclaim.limits import DAY_US

HOUR_US: Final = 3_600_000_000
PACE_DIVISOR: Final = 20  # of what was there, per hour
FREE: Final = "free"
HELD: Final = "held"
PACED: Final = "paced"
JUMPED: Final = "clock-jump"
SHORTENED: Final = "limits-shortened"


class ForwardJump:
    """Did the wall clock jump forward by more than a day?

    A jump is UTC running ahead of the monotonic clock, or, at the start, ahead of the newest thing on the volume.
    Doubted until a day has passed on the monotonic clock, or the clock was set back.
    """

    def __init__(self, newest_us: int | None) -> None:
        self._newest_us = newest_us
        self._offset_us: int | None = None
        self._held_until_us: int | None = None
        self._believed_us = 0

    def held(self, now_us: int, monotonic_us: int) -> bool:
        """Tell both clocks; True while age deletion must wait."""
        offset = now_us - monotonic_us
        if self._offset_us is None:
            self._offset_us = offset
            if self._newest_us is not None and now_us - self._newest_us > DAY_US:
                self._held_until_us = monotonic_us + DAY_US
                self._believed_us = self._newest_us - monotonic_us
            else:
                self._believed_us = offset
        elif self._held_until_us is None:
            if offset - self._offset_us > DAY_US:
                self._held_until_us = monotonic_us + DAY_US
                self._believed_us = self._offset_us
            self._offset_us = offset
        elif monotonic_us >= self._held_until_us or offset - self._believed_us <= DAY_US:
            self._held_until_us = None
            self._offset_us = offset
        return self._held_until_us is not None

    def believed_us(self, now_us: int, monotonic_us: int) -> int:
        """The time to judge ages by: not the clock's while that is in doubt."""
        return now_us if self._held_until_us is None else min(now_us, monotonic_us + self._believed_us)

    def confirm(self, now_us: int, monotonic_us: int) -> None:
        """Somebody says that the clock is right."""
        self._held_until_us = None
        self._offset_us = now_us - monotonic_us

    def resume(self, gap_us: int, now_us: int, monotonic_us: int) -> None:
        """It was in doubt when the last run ended, and ran ahead by `gap_us` then: a day more."""
        self._offset_us = now_us - monotonic_us
        self._held_until_us = monotonic_us + DAY_US
        self._believed_us = self._offset_us - gap_us


@dataclass(frozen=True, slots=True)
class Doubt:
    """What of a brake outlives the run: `state` held (at `at_us` the clock was ahead by `gap_us`) or paced (of
    `of_bytes`)."""

    state: str = FREE
    reason: str = ""
    of_bytes: int = 0
    gap_us: int = 0
    at_us: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` free | held | paced and why; `age_bytes` may go by age now (None: all that is due); ages are judged by
    `now_us`. A smaller size limit comes down no further than `quota_floor` for now."""

    state: str
    reason: str
    now_us: int
    age_bytes: int | None = None
    quota_floor: int = 0


class ClockBrake:
    """What holds deletion by age back in one storage. `newest_us`: end of the newest footage on the volume."""

    def __init__(self, newest_us: int | None) -> None:
        self._clock = ForwardJump(newest_us)
        self._was_held = False
        self._paced_since_us: int | None = None
        self._reason = ""
        self._of_bytes = self._spent_bytes = 0

    def judge(self, now_us: int, monotonic_us: int, used_bytes: int) -> Verdict:
        """May footage go by age now?"""
        held = self._clock.held(now_us, monotonic_us)
        if held:
            self._was_held, self._paced_since_us = True, None
            return Verdict(HELD, JUMPED, self._clock.believed_us(now_us, monotonic_us), 0)
        if self._was_held:
            self._was_held = False
            self.pace(JUMPED, monotonic_us, used_bytes)
        if self._paced_since_us is None:
            return Verdict(FREE, "", now_us)
        hours = (monotonic_us - self._paced_since_us) / HOUR_US
        allowed = int(self._of_bytes * hours / PACE_DIVISOR)
        floor = max(0, self._of_bytes - allowed) if self._reason == SHORTENED else 0
        return Verdict(PACED, self._reason, now_us, max(0, allowed - self._spent_bytes), floor)

    def pace(self, reason: str, monotonic_us: int, used_bytes: int) -> None:
        """From now on only a share of `used_bytes` goes by age in an hour."""
        self._paced_since_us, self._reason = monotonic_us, reason
        self._of_bytes, self._spent_bytes = used_bytes, 0

    def doubt(self, verdict: Verdict, now_us: int) -> Doubt:
        """What the next run is to know, behind a verdict."""
        if verdict.state == HELD:
            return Doubt(HELD, verdict.reason, 0, now_us - verdict.now_us, now_us)
        return Doubt(PACED, self._reason, self._of_bytes) if self._paced_since_us is not None else Doubt()

    def resume(self, doubt: Doubt, now_us: int, monotonic_us: int) -> None:
        """At a start: go on as the last run left off; a clock that is earlier now than it was then was set back."""
        if doubt.state == HELD and now_us >= doubt.at_us:
            self._clock.resume(doubt.gap_us, now_us, monotonic_us)
        elif doubt.state == PACED:
            self.pace(doubt.reason, monotonic_us, doubt.of_bytes)

    def spent(self, age_bytes: int, *, overdue: bool) -> None:
        """So much went by age; when nothing is `overdue` any more the pace ends."""
        self._spent_bytes += age_bytes
        if not overdue:
            self._paced_since_us = None

    def confirm(self, now_us: int, monotonic_us: int) -> None:
        """Somebody says that the clock and the limits are right: what is overdue goes now."""
        self._clock.confirm(now_us, monotonic_us)
        self._was_held, self._paced_since_us = False, None
