"""Reports: what was recorded in a range, per camera, and where the rest went.

Law: gathers facts from every storage and hands them to `mediadb.report`; one camera at a time on the read pool, so that
playback gets its turn between two of them. At most one report at a time is made; others wait.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mediadb.account import account
from mediadb.errors import StorageMissing
from mediadb.report import CameraFacts, Range, StorageFacts, document, storage_facts
from recorderd.core.clock import Clock
from recorderd.services.reports.asking import Stores, coverage_of


@dataclass(frozen=True, slots=True)
class Asked:
    """A camera of a report: `track` is its main video; `retention_us`: how long to keep it, None without a limit."""

    id: uuid.UUID
    name: str
    storage: str
    track: uuid.UUID
    retention_us: int | None = None


class CoverageReports:
    """Makes reports over the stores that are open when they are asked for."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores, self._clock = stores, clock
        self._turn = asyncio.Lock()

    async def make(self, span: Range, cameras: Sequence[Asked]) -> dict[str, Any]:
        """The document of `mediadb.report` for these cameras and the storages they are on."""
        async with self._turn:
            now_us = self._clock.utc_us()
            storages = {name: await self._storage(name, span) for name in sorted({one.storage for one in cameras})}
            oldest = {name: await self._oldest(name) for name, facts in storages.items() if not facts.missing}
            facts = []
            for one in cameras:
                range_us = span.start_us, span.end_us
                found = await coverage_of(self._stores, one.storage, [one.track], range_us, now_us)
                facts.append(
                    CameraFacts(
                        str(one.id),
                        one.name,
                        one.storage,
                        account(found[one.track], *range_us),
                        oldest.get(one.storage, {}).get(one.track),
                        one.retention_us,
                    )
                )
            return document(span, now_us, facts, list(storages.values()))

    async def _storage(self, name: str, span: Range) -> StorageFacts:
        store = self._stores.get(name)
        if store is not None:
            try:
                return await store.read(storage_facts, store.reader, span, store.stats())
            except StorageMissing:
                pass
        return StorageFacts(name, missing=True)

    async def _oldest(self, name: str) -> dict[uuid.UUID, int]:
        """When the oldest footage of each track begins."""
        store = self._stores[name]
        try:
            return {info.spec.track: info.first_us for info in await store.read(store.reader.tracks)}
        except StorageMissing:
            return {}
