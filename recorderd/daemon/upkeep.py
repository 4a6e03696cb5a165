"""The daemon's small regular duties: feeding the service manager's watchdog, forgetting old events and jobs.

Law: a stalled disk or a dead camera is a state with an event, never a reason to die; only a loop or a task tree that
makes no progress lets the watchdog starve. Purging goes in small steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from recorderd.aio import sd_notify
from recorderd.aio.loop_watchdog import LoopWatchdog
from recorderd.core.clock import Clock
from recorderd.core.timerange import DAY_US
from recorderd.state.events import EventLog
from recorderd.state.jobs import Jobs

PURGE_S = 3600.0
JOBS_US = 30 * DAY_US

_log = structlog.get_logger("upkeep")


async def feed_watchdog(watchdog: LoopWatchdog, tree_moves: Callable[[], bool], status: Callable[[], str]) -> None:
    """Tell systemd that loop and supervisor move, twice per watchdog interval; returns when none is asked for."""
    interval_us = sd_notify.watchdog_interval_us()
    if interval_us is None:
        return
    seen = -1
    while True:
        beats = watchdog.beats()
        if beats != seen and tree_moves():
            seen = beats
            sd_notify.watchdog()
            sd_notify.status(status())
        await asyncio.sleep(interval_us / 1e6)


async def purge_forever(events: EventLog, jobs: Jobs, clock: Clock, keep_us: Callable[[], int]) -> None:
    """Every hour: events older than `keep_us()`, finished jobs older than 30 days."""
    while True:
        now_us = clock.utc_us()
        gone = await events.purge(now_us - keep_us())
        done = await jobs.purge(now_us - JOBS_US)
        if gone or done:
            _log.info("purged", events=gone, jobs=done)
        await asyncio.sleep(PURGE_S)
