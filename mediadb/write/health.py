"""Is the disk fast enough, and does it answer at all: words out of the times of file calls and commits.

Law: pure; times are monotonic microseconds given as arguments. It decides when a word is said, once, and when its end
is; what follows from it is the matter of others. Asked by `mediadb.aio` at each slot, on the event loop: a thread in a
hung call could not say so itself.
"""

from __future__ import annotations

from mediadb.watched_fs import UnderWay

STALL_US = 5_000_000  # a file call that has not returned for so long
CALM_US = 10_000_000  # without such a call, and without a commit that proves more: it is over
SLOW_TIMES = 3  # commits in a row that took longer than what they hold
STALLED = "storage-stalled"
SLOW = "storage-slow"
OVER = "storage-recovered"

Word = tuple[str, dict[str, object]]


class Health:
    """`stalled` and `slow` hold from the word that says so to the one that ends it."""

    def __init__(self, commit_us: int) -> None:
        self._commit_us = commit_us
        self.stalled = self.slow = False
        self._began_us = self._seen_us = self._slow_since_us = 0
        self._proved = False
        self._slow_count = self._quick_count = 0

    def look(self, now_us: int, oldest: UnderWay | None) -> list[Word]:
        """At each slot: the call that has not returned for longest, None when there is none."""
        hangs = oldest is not None and now_us - oldest.began_us >= STALL_US
        if hangs and oldest is not None:
            self._seen_us, self._proved = now_us, False
            if not self.stalled:
                self.stalled, self._began_us = True, oldest.began_us
                return [(STALLED, {"waiting_us": now_us - oldest.began_us, "step": oldest.call})]
        elif self.stalled and (self._proved or now_us - self._seen_us >= CALM_US):
            self.stalled = False
            return [(OVER, {"of": STALLED, "lasted_us": self._seen_us - self._began_us})]
        return []

    def wrote(self, now_us: int, took_us: int) -> list[Word]:
        """A commit, or all that waited together, was written (or failed) in `took_us`."""
        self._proved = took_us < STALL_US
        late = took_us > self._commit_us
        self._slow_count = self._slow_count + 1 if late else 0
        self._quick_count = 0 if late else self._quick_count + 1
        if not self.slow and self._slow_count >= SLOW_TIMES:
            self.slow, self._slow_since_us = True, now_us
            return [(SLOW, {"took_us": took_us, "interval_us": self._commit_us})]
        if self.slow and self._quick_count >= SLOW_TIMES:
            self.slow = False
            return [(OVER, {"of": SLOW, "lasted_us": now_us - self._slow_since_us})]
        return []
