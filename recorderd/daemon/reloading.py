"""Going over to a changed configuration without touching what did not change.

Law: read, compare, apply, in this order and one at a time; a file with errors changes nothing, and says so. What only
a restart can change keeps its old value and is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from recorderd.config.diff import ReloadPlan, diff, in_force
from recorderd.config.findings import ConfigRejected
from recorderd.config.load import LoadResult
from recorderd.config.schema import Config
from recorderd.state.events import EventLog

_log = structlog.get_logger("reload")

Load = Callable[[], LoadResult]
Apply = Callable[[ReloadPlan, Config], Awaitable[None]]
Deletes = Callable[[Config], Awaitable[dict[str, int]]]


@dataclass(slots=True)
class Reloader:
    """`config` is what is in force; `load` reads the files (blocking), `apply` brings a plan about, `deletes` tells how
    many bytes of each storage other limits would delete."""

    path: Path
    config: Config
    load: Load
    apply: Apply
    events: EventLog
    deletes: Deletes

    async def reload(self, lock: asyncio.Lock) -> dict[str, Any]:
        """What changed, JSON-able. Raises ConfigRejected; then the old configuration is in force."""
        async with lock:
            found = await asyncio.to_thread(self.load)
            for warning in found.warnings:
                _log.warning("config-warning", finding=str(warning))
            if found.config is None:
                rejected = ConfigRejected(self.path, found.errors)
                self.events.emit("config-rejected", params={"errors": [str(error) for error in found.errors]})
                raise rejected
            plan = diff(self.config, found.config)
            config = in_force(self.config, found.config)
            report = _report(plan, found) | {"would_delete": await self.deletes(config)}  # told before it goes
            await self.apply(plan, config)
            self.config = config
            self.events.emit("config-reloaded", params=report)
            return report


def _report(plan: ReloadPlan, found: LoadResult) -> dict[str, Any]:
    return {
        "added": [device.name for device in plan.added_hardware],
        "removed": [device.name for device in plan.removed_hardware],
        "changed": [device.name for device in plan.changed_hardware],
        "storages_added": [storage.name for storage in plan.added_storages],
        "storages_removed": [storage.name for storage in plan.removed_storages],
        "storages_changed": [storage.name for storage in plan.changed_storages],
        "restart_needed": list(plan.restart_needed),
        "warnings": [str(warning) for warning in found.warnings],
    }
