"""A media store as the engine wants it.

Law: passes calls on; the one thing added is that looking up known tracks runs on the volume's read pool.
"""

from __future__ import annotations

from collections.abc import Mapping

from mediadb.aio import AsyncStore
from mediadb.errors import StorageMissing
from mediadb.types import Names, TrackSpec
from recorderd.engine.ports import TrackWriter


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
        try:
            return [info.spec for info in await self._store.read(self._store.reader.tracks)]
        except StorageMissing:
            return []  # it is not there yet: another storage stands in

    def stats(self) -> Mapping[str, int]:
        return self._store.stats()
