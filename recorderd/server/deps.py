"""What the servers (HTTP, stream API, RTSP) are built from.

Law: references only, handed in by the composition root; nothing is made here.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mediadb.aio import AsyncStore
from mediadb.reclaim.limits import ReclaimOptions
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import DecodePool
from recorderd.core.clock import Clock
from recorderd.engine.engine import Engine
from recorderd.server.readiness import Subsystem
from recorderd.services.exports.service import ExportService
from recorderd.services.reports.audit import CoverageAudit
from recorderd.services.reports.service import CoverageReports
from recorderd.state.events import EventLog
from recorderd.state.jobs import Jobs


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who this server is."""

    id: uuid.UUID
    name: str
    version: str
    started_us: int


def _no_gauges() -> Mapping[str, float]:
    return {}


async def _no_limits() -> Mapping[str, ReclaimOptions]:
    return {}


async def _nobody_accepts(storage: str) -> None:
    raise KeyError(storage)


def _no_parts() -> list[Subsystem]:
    return []


@dataclass(frozen=True, slots=True)
class ServerDeps:
    """`reload` re-reads the configuration and tells what changed (JSON-able), or raises a RecorderdError with the
    code `config-rejected`; `subsystems` are the parts of the server and whether they can be relied on; `gauges` gives
    process-wide figures for /metrics (names of its catalogue). Without `exports` none are made; in `data_dir` lies the
    key of signed addresses. `limits_ahead`: the limits of the storages as the configuration file has them now.
    `accept_storage`: the disk in the place of a storage is to be used though it is an older copy."""

    clock: Clock
    supervisor: Supervisor
    engine: Engine
    stores: Mapping[str, AsyncStore]
    events: EventLog
    jobs: Jobs
    decoder: DecodePool
    info: ServerInfo
    reload: Callable[[], Awaitable[Mapping[str, Any]]]
    subsystems: Callable[[], list[Subsystem]] = field(default=_no_parts)
    gauges: Callable[[], Mapping[str, float]] = field(default=_no_gauges)
    exports: ExportService | None = None
    reports: CoverageReports | None = None
    audit: CoverageAudit | None = None
    data_dir: Path | None = None
    limits_ahead: Callable[[], Awaitable[Mapping[str, ReclaimOptions]]] = field(default=_no_limits)
    accept_storage: Callable[[str], Awaitable[None]] = field(default=_nobody_accepts)

    def not_ready(self) -> list[str]:
        """What is missing until recording can be relied on, in words; empty: nothing."""
        return [f"{part.name}: {part.reason}" for part in self.subsystems() if part.needed and not part.ready]
