"""How the server fares, part by part: what /readyz, /metrics and `systemctl status` are told.

Law: reads, never decides; cheap enough for a probe every second, touches no disk. The composition root hands in the
parts as they come up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mediadb.write.budget import Budget
from recorderd.aio.loop_watchdog import LoopWatchdog
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import DecodePool
from recorderd.engine.engine import Engine
from recorderd.server.readiness import Subsystem
from recorderd.state.events import EventLog

OVERLOADED = 0.97  # of a core on the loop's thread: what comes later waits
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Listening(Protocol):
    """A server of ours."""

    @property
    def addresses(self) -> list[tuple[str, int]]: ...

    def gauges(self) -> Mapping[str, float]: ...


@dataclass(slots=True)
class Vitals:
    """`servers`: name -> one that listens; `lost_tasks` counts restarts of parts that ended by a bug."""

    watchdog: LoopWatchdog
    tree: Supervisor
    events: EventLog | None = None
    engine: Engine | None = None
    decoder: DecodePool | None = None
    budget: Budget | None = None
    servers: dict[str, Listening] = field(default_factory=dict)

    def subsystems(self) -> list[Subsystem]:
        """Every part; recording depends on all but the servers and the decode workers."""
        return [*self._core(), *self._storages(), *self._servers(), *self._workers()]

    def gauges(self) -> Mapping[str, float]:
        """Figures of the process for /metrics."""
        lag = self.watchdog.lag()
        figures = {
            "loop_lag_p50_seconds": lag.p50_us / 1e6,
            "loop_lag_p99_seconds": lag.p99_us / 1e6,
            "loop_lag_max_seconds": lag.max_us / 1e6,
            "loop_blocked_total": float(lag.blocks),
            "loop_load": self.watchdog.load(),
            "waiting_bytes": float(self.budget.held if self.budget is not None else 0),
            "waiting_limit_bytes": float(self.budget.limit if self.budget is not None else 0),
            "tasks": float(self.tree.census()),
            "events_lost_total": float(self.events.lost if self.events is not None else 0),
            "process_cpu_seconds_total": time.process_time(),
            "process_resident_memory_bytes": float(_resident_bytes()),
            "process_open_fds": float(len(os.listdir("/proc/self/fd"))),
        }
        for server in self.servers.values():
            figures |= server.gauges()
        return figures

    def status(self) -> str:
        """One line for `systemctl status`."""
        if self.engine is None:
            return "starting"
        views = self.engine.cameras()
        recording = sum(view.state == "recorded" for view in views)
        troubled = [view.name for view in self.engine.storages() if view.state != "ok"]
        text = f"{recording} of {len(views)} cameras recording"
        return f"{text}; storage trouble: {', '.join(troubled)}" if troubled else text

    def _core(self) -> list[Subsystem]:
        busy = self.watchdog.load() >= OVERLOADED
        load = f"takes {self.watchdog.load():.0%} of a core: frames wait. Fewer cameras, or a faster machine"
        waiting = self.events is not None and self.events.stuck
        return [
            Subsystem("event loop", not busy, load if busy else ""),
            Subsystem("state database", not waiting, "does not take events: see the log" if waiting else ""),
        ]

    def _storages(self) -> list[Subsystem]:
        views = self.engine.storages() if self.engine is not None else []
        return [Subsystem(f"storage {view.name}", view.state == "ok", view.code) for view in views]

    def _servers(self) -> list[Subsystem]:
        return [
            Subsystem(name, bool(server.addresses), "" if server.addresses else "is not listening", needed=False)
            for name, server in self.servers.items()
        ]

    def _workers(self) -> list[Subsystem]:
        stats = self.decoder.stats if self.decoder is not None else None
        dying = stats is not None and stats.children_lost > 2 * max(1, stats.served)
        reason = "die at once: run `python -m recorderd.workers.decode` and see why" if dying else ""
        return [Subsystem("decode workers", not dying, reason, needed=False)]


def _resident_bytes(read: Callable[[], str] = Path("/proc/self/statm").read_text) -> int:
    return int(read().split()[1]) * _PAGE_BYTES
