"""What the servers (HTTP, stream API, RTSP) are built from.

Law: references only, handed in by the composition root; nothing is made here.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mediadb.aio import AsyncStore
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import DecodePool
from recorderd.core.clock import Clock
from recorderd.engine.engine import Engine
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


def _always_ready() -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class ServerDeps:
    """`reload` re-reads the configuration and tells what changed (JSON-able), or raises a RecorderdError with the
    code `config-rejected`; `not_ready` names what is missing until recording can be relied on; `gauges` gives further
    process-wide figures for /metrics (names without the prefix `recorderd_`)."""

    clock: Clock
    supervisor: Supervisor
    engine: Engine
    stores: Mapping[str, AsyncStore]
    events: EventLog
    jobs: Jobs
    decoder: DecodePool
    info: ServerInfo
    reload: Callable[[], Awaitable[Mapping[str, Any]]]
    not_ready: Callable[[], list[str]] = field(default=_always_ready)
    gauges: Callable[[], Mapping[str, float]] = field(default=_no_gauges)
