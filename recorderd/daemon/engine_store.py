"""A media store as the engine wants it.

Law: passes calls on; the one thing added is that looking up known tracks runs on the volume's read pool, and waits for
a disk that does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from mediadb.aio import AsyncStore
from mediadb.errors import StorageMissing, StorageStalled
from mediadb.types import Names, TrackSpec
from recorderd.engine.ports import TrackWriter

AGAIN_S: Final = 5.0  # a disk that does not answer is asked again


class EngineStore:
    """Implements `engine.ports.MediaStore` over an AsyncStore."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store

    @property
    def away(self) -> bool:
        return self._store.away

    def track(self, spec: TrackSpec, names: Names) -> TrackWriter:
        return self._store.track(spec, names)

    async def known_tracks(self) -> list[TrackSpec]:
        while True:
            try:
                return [info.spec for info in await self._store.read(self._store.reader.tracks)]
            except StorageMissing:
                return []  # it is not there yet: another storage stands in
            except StorageStalled:
                await asyncio.sleep(AGAIN_S)

    def stats(self) -> Mapping[str, int]:
        return self._store.stats()
