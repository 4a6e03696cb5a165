"""Measures how late the event loop is and names whoever made it late.

Law: knows no domain word. A beat on the loop measures lag and the loop thread's CPU share; a thread of its
own looks at the loop's stack when a beat is overdue: a blocked loop cannot report itself. Started once by
the composition root.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from recorderd.core.clock import Clock

BEAT_US = 50_000
LOG_AGAIN_US = 60_000_000  # the same place is named once a minute at most
_LOAD_SHARE = 0.1  # weight of the newest beat in the running CPU share: about half a second of memory

# Upper bounds of the lag histogram: 64 us .. 67 s in half octaves.
_BOUNDS_US = tuple(int(64 * 2 ** (step / 2)) for step in range(41))

_log = structlog.get_logger("loop")


@dataclass(frozen=True, slots=True)
class Lag:
    """How late beats were since the start; percentiles are upper bounds of half-octave buckets."""

    beats: int
    p50_us: int
    p99_us: int
    max_us: int
    blocks: int  # beats later than the threshold


@dataclass(frozen=True, slots=True)
class Block:
    """One overdue beat: for how long, in which task, at which line ('file:line function'), the stack."""

    lag_us: int
    task: str
    place: str
    stack: tuple[str, ...]


class LoopWatchdog:
    """`start()` and `stop()` on the loop's thread. `on_block` is called on the loop after it moved again."""

    def __init__(
        self, clock: Clock, threshold_us: int = 100_000, on_block: Callable[[Block], None] | None = None
    ) -> None:
        self._clock = clock
        self._threshold_us = threshold_us
        self._on_block = on_block
        self._counts = [0] * (len(_BOUNDS_US) + 1)
        self._beats = 0
        self._max_us = 0
        self._blocks = 0
        self._load = 0.0
        self._due_us = 0
        self._cpu_ns = 0
        self._seen: tuple[str, str, tuple[str, ...]] | None = None  # what the thread saw: task, place, stack
        self._logged_us: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._cpu_ns = time.thread_time_ns()
        self._over.clear()
        self._arm(self._loop)
        self._thread = threading.Thread(
            target=self._watch, args=(self._loop, threading.get_ident()), name="loop-watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def lag(self) -> Lag:
        return Lag(self._beats, self._percentile(0.5), self._percentile(0.99), self._max_us, self._blocks)

    def load(self) -> float:
        """The loop thread's share of one core, 0.0 to 1.0, over about the last half second."""
        return self._load

    def beats(self) -> int:
        """Grows while the loop moves: progress for the service manager's watchdog."""
        return self._beats

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_us = self._clock.monotonic_us() + BEAT_US
        self._timer = loop.call_later(BEAT_US / 1e6, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        lag_us = max(0, self._clock.monotonic_us() - self._due_us)
        cpu_ns = time.thread_time_ns()
        share = min(1.0, (cpu_ns - self._cpu_ns) / 1000 / (BEAT_US + lag_us))
        self._cpu_ns = cpu_ns
        self._load += _LOAD_SHARE * (share - self._load)
        self._beats += 1
        self._counts[bisect_left(_BOUNDS_US, lag_us)] += 1
        self._max_us = max(self._max_us, lag_us)
        seen, self._seen = self._seen, None
        self._arm(loop)
        if lag_us > self._threshold_us:
            self._blocks += 1
            task, place, stack = seen or ("", "unknown", ())
            self._tell(Block(lag_us, task, place, stack))

    def _tell(self, block: Block) -> None:
        now_us = self._clock.monotonic_us()
        if now_us - self._logged_us.get(block.place, -LOG_AGAIN_US) >= LOG_AGAIN_US:
            self._logged_us[block.place] = now_us
            _log.warning("loop-blocked", lag_us=block.lag_us, task=block.task, place=block.place)
        if self._on_block is not None:
            self._on_block(block)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        """The thread: sample the loop's stack once per overdue beat."""
        while not self._over.wait(self._threshold_us / 4e6):
            due_us = self._due_us
            if self._seen is not None or self._clock.monotonic_us() - due_us <= self._threshold_us:
                continue
            frame = sys._current_frames().get(thread_id)
            if frame is None or self._due_us != due_us:  # it moved on while we looked
                continue
            frames = traceback.extract_stack(frame)
            task = asyncio.current_task(loop)
            stack = tuple(f"{line.filename}:{line.lineno} {line.name}" for line in frames[-12:])
            self._seen = (task.get_name() if task is not None else "", stack[-1] if stack else "", stack)

    def _percentile(self, share: float) -> int:
        """The upper bound of the bucket in which `share` of all beats is reached; 0 before any beat."""
        wanted, total = share * self._beats, 0
        for index, count in enumerate(self._counts):
            total += count
            if total >= wanted and total:
                return min(_BOUNDS_US[min(index, len(_BOUNDS_US) - 1)], self._max_us)
        return 0
