"""What the engine needs from others, as protocols: the store, the event log, identities.

Law: shapes only. The engine is written against these, the composition root hands in what implements them
(`mediadb.aio`, `recorderd.state`), tests hand in fakes. Everything here is called on the event loop's thread.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

from mediadb.types import Cause, Names, Sample, TrackConfig, TrackSpec


class TrackWriter(Protocol):
    """One track of a store. Every call is cheap, never blocks, never raises for storage trouble."""

    @property
    def durable_us(self) -> int | None: ...

    def config(self, config: TrackConfig) -> None: ...

    def append(self, sample: Sample) -> None: ...

    def cover(self, time_us: int, cause: Cause) -> None: ...

    def gap(self, start_us: int, end_us: int, cause: Cause) -> None: ...

    def mark(self, time_us: int, code: str, params: dict[str, object]) -> None: ...


class MediaStore(Protocol):
    """One storage. `track` may be called again with other names: the newest are kept."""

    @property
    def away(self) -> bool:
        """Its volume is not there now: what comes waits, or another storage stands in."""
        ...

    def track(self, spec: TrackSpec, names: Names) -> TrackWriter: ...

    async def known_tracks(self) -> list[TrackSpec]:
        """Every track with media in this storage."""
        ...

    def stats(self) -> Mapping[str, int]: ...


class TrackCommit(Protocol):
    """What one commit made durable of one track."""

    @property
    def samples(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def last_recv_us(self) -> int | None: ...

    @property
    def next_seq(self) -> int:
        """Chunks of the run below this number are durable."""
        ...


class EventLog(Protocol):
    """Takes typed events; never blocks. The implementation stamps the time and stores them."""

    def emit(
        self,
        code: str,
        *,
        camera: uuid.UUID | None = None,
        hardware: uuid.UUID | None = None,
        params: Mapping[str, object] | None = ...,
    ) -> None: ...


class Identities(Protocol):
    """Keeps who is who across restarts and renames: an id is bound to (driver, address, channel)."""

    async def hardware(self, driver: str, address: str, given: uuid.UUID | None) -> uuid.UUID: ...

    async def camera(self, hardware_id: uuid.UUID, channel: int, given: uuid.UUID | None) -> uuid.UUID: ...


Emit = Callable[[str, dict[str, object]], None]
Load = Callable[[], float]
