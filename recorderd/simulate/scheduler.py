"""One timer for all feeds of a farm: a heap of due times.

Law: knows when, never what. Feeds that are due within one tick are served in one wake-up, so 200 cameras cost 500
wake-ups a second instead of 5,000.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from recorderd.core.clock import Clock
from recorderd.simulate.feed import Feed

_MAX_BURST = 512  # then let the loop read sockets before going on


class Scheduler:
    """`tick_us`: how finely due times are kept."""

    def __init__(self, clock: Clock, tick_us: int) -> None:
        self._clock = clock
        self._tick_us = tick_us
        self._heap: list[tuple[int, int, Feed]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self.latest_us = 0  # the worst delay of a due time so far

    def add(self, feed: Feed) -> None:
        """Serve `feed` from its due time on, until it ends."""
        heapq.heappush(self._heap, (feed.due_us, next(self._order), feed))
        if self._heap[0][2] is feed:
            self._arm(self._clock.monotonic_us())

    def stop(self) -> None:
        """Serve nobody any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def run_due(self, now_us: int) -> None:
        """Serve every feed whose time has come, at most a burst of them."""
        heap = self._heap
        for _ in range(_MAX_BURST):
            if not heap or heap[0][0] > now_us:
                break
            due_us, order, feed = heap[0]
            if now_us - due_us > self.latest_us:
                self.latest_us = now_us - due_us
            following = feed.fire()
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following, order, feed))

    def _arm(self, now_us: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            wait_us = max(0, self._heap[0][0] - now_us)
            wait_us += -(now_us + wait_us) % self._tick_us
            self._timer = asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._on_timer)

    def _on_timer(self) -> None:
        self.run_due(self._clock.monotonic_us())
        self._arm(self._clock.monotonic_us())
