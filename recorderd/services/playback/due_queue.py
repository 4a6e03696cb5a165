"""Entries that wait for their time on the playback clock.

Law: pure over the clock it is given; decides when the head is due, and where the clock may jump. Called by `player`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from recorderd.services.playback.feeds import Entry
from recorderd.services.playback.pacing import MasterClock
from recorderd.services.playback.types import Gaps

NEAR_US = 200_000  # the clock stands where another recording of the same time begins


class DueQueue:
    """One player's entries in order. `member` is how the clock knows the player."""

    def __init__(self, master: MasterClock, member: object, gaps: Gaps, lead_us: int) -> None:
        self._master, self._member = master, member
        self._skip, self._lead_us = gaps == "skip", lead_us
        self._entries: deque[Entry] = deque()
        self._edge_us = 0  # media time of what was given last

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, media_us: int) -> None:
        """Empty, at another place."""
        self._entries.clear()
        self._edge_us = media_us

    def extend(self, entries: Iterable[Entry]) -> None:
        self._entries.extend(entries)

    def take(self) -> Entry:
        """The head, due or not."""
        entry = self._entries.popleft()
        self._edge_us = self._edge_us if entry.due_us is None else entry.due_us
        return entry

    def wait_us(self) -> int | None:
        """Until the head is due, not positive when it is; None: not before something changes."""
        if not self._entries:
            return None
        head = self._entries[0]
        if head.due_us is None:
            return 0
        wait_us = self._master.wait_us(head.due_us)
        if wait_us is None or math.isinf(self._master.speed):
            return wait_us
        left_us = wait_us - self._lead_us
        if head.back or (head.barrier and self._skip and left_us > 0):
            return self._rest(head, head.due_us)
        return left_us if left_us <= 0 or self._master.running else None

    def _rest(self, head: Entry, due_us: int) -> int | None:
        """Behind a hole, or where recorder time steps back: once what came before was shown, the clock jumps there."""
        shown_us = self._master.wait_us(self._edge_us)
        if shown_us is not None and shown_us > 0:
            return shown_us if self._master.running else None
        self._master.rest(self._member, due_us)  # the clock jumps here when nobody else has anything to show
        if abs(self._master.media_us() - due_us) > NEAR_US:
            wait_us = self._master.wait_us(due_us)
            return wait_us if wait_us is not None and wait_us > 0 and self._master.running else None
        self._entries[0] = replace(head, barrier=False, back=False)
        return 0
