"""When an open log is let go and when opening is tried again: the life of a store, as words for the one that does it.

Law: pure; times are monotonic microseconds given as arguments. No files, no threads, no events. Asked by
`mediadb.aio` at each slot.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

NEVER_US = 1 << 62


class Phase(enum.Enum):
    """Where a store is. LEAVING and OPENING take as long as the disk takes."""

    OPEN = "open"
    LEAVING = "leaving"
    AWAY = "away"
    OPENING = "opening"


class Deed(enum.Enum):
    """What is due now."""

    NOTHING = "nothing"
    LET_GO = "let-go"
    OPEN = "open"


@dataclass(slots=True)
class StoreLife:
    """`let_go_us`: how long a log may fail before its volume is let go, so that somebody can unmount, check and mount
    it; `retry_us` lie between two attempts to open it again."""

    let_go_us: int
    retry_us: int
    phase: Phase = Phase.OPEN
    _failing_since_us: int | None = None
    _next_us: int = 0

    @property
    def away(self) -> bool:
        """Nothing of the volume may be asked."""
        return self.phase is not Phase.OPEN

    @property
    def failing_since_us(self) -> int | None:
        """Since when nothing becomes durable; None while it does."""
        return self._failing_since_us

    def fails_for(self, now_us: int) -> int:
        """How long nothing has become durable; -1 while it does."""
        return -1 if self._failing_since_us is None else now_us - self._failing_since_us

    def fails(self, now_us: int, *, stay: bool) -> None:
        """Nothing becomes durable. `stay`: what cures it happens on the volume (a full disk: room is made there)."""
        if self._failing_since_us is None:
            self._failing_since_us = now_us
        if self.phase is Phase.OPEN:
            self._next_us = NEVER_US if stay else self._failing_since_us + self.let_go_us

    def works(self) -> None:
        """A commit is durable."""
        self._failing_since_us = None

    def retry_now(self) -> None:
        """Do not wait any longer before the next attempt to open it."""
        self._next_us = 0

    def due(self, now_us: int) -> Deed:
        """What is to be begun now; said once."""
        if self.phase is Phase.OPEN and self._failing_since_us is not None and now_us >= self._next_us:
            self.phase = Phase.LEAVING
            return Deed.LET_GO
        if self.phase is Phase.AWAY and now_us >= self._next_us:
            self.phase = Phase.OPENING
            return Deed.OPEN
        return Deed.NOTHING

    def gone(self, now_us: int) -> None:
        """Nothing of the volume is held any more, or opening it failed."""
        self.phase, self._next_us = Phase.AWAY, now_us + self.retry_us

    def opened(self, now_us: int) -> None:
        """The log is open again; it still has to take a commit."""
        self.phase, self._failing_since_us, self._next_us = Phase.OPEN, now_us, now_us + self.let_go_us
