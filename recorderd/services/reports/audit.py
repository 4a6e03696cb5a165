"""The audit: what the ledger says of each camera, added up minute by minute as the server runs.

Law: folds the recent past of every camera a few minutes after it happened and counts seconds per state; time that
nobody explains is an event at once. Looks for lost files every hour. Reads only; a storage that is away is counted as
such. What becomes footage later (it waited in memory for its disk) stays counted as it was said.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from mediadb.account import account
from mediadb.errors import StorageError
from mediadb.types import Interval, State
from recorderd.core.clock import Clock
from recorderd.services.reports.asking import Stores, coverage_of
from recorderd.services.reports.service import Asked

EVERY_S: Final = 120.0
DELAY_US: Final = 60_000_000  # what is later than that was not said in time
LONGEST_US: Final = 3_600_000_000  # after a step of the clock no year is gone through
PATROL_US: Final = 3_600_000_000
EVENTS: Final = 20  # unexplained stretches told one by one in a round

_log = structlog.get_logger("audit")


class Emit(Protocol):
    def __call__(
        self, code: str, *, camera: uuid.UUID | None = ..., params: Mapping[str, object] | None = ...
    ) -> None: ...


@dataclass(slots=True)
class CameraSums:
    """Microseconds per state since the server started; `done_us`: up to where."""

    name: str
    done_us: int
    states: Counter[str] = field(default_factory=Counter)


class CoverageAudit:
    """`cameras` names those to be audited now."""

    def __init__(self, stores: Stores, clock: Clock, cameras: Callable[[], Sequence[Asked]], emit: Emit) -> None:
        self._stores, self._clock, self._cameras, self._emit = stores, clock, cameras, emit
        self._sums: dict[uuid.UUID, CameraSums] = {}
        self._began_us = clock.utc_us()
        self._patrol_us = clock.monotonic_us() + int(EVERY_S * 1e6) - PATROL_US  # the first one soon after the start

    def seconds(self) -> dict[str, dict[str, float]]:
        """Seconds per state, by name of camera."""
        return {one.name: {state: us / 1e6 for state, us in one.states.items()} for one in self._sums.values()}

    async def run_forever(self) -> None:
        """A round every two minutes."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.round()

    async def round(self) -> None:
        """Go on with every camera up to a minute ago; patrol when that is due."""
        cameras = list(self._cameras())
        for gone in self._sums.keys() - {one.id for one in cameras}:
            del self._sums[gone]
        told = 0
        for one in cameras:
            told += await self._go_on(one, EVENTS - told)
        if self._clock.monotonic_us() - self._patrol_us >= PATROL_US:
            self._patrol_us = self._clock.monotonic_us()
            await self._patrol()

    async def _go_on(self, one: Asked, may_tell: int) -> int:
        """Returns how many unexplained stretches were told."""
        now_us = self._clock.utc_us()
        sums = self._sums.setdefault(one.id, CameraSums(one.name, self._began_us))
        sums.name = one.name
        end_us = now_us - DELAY_US
        start_us = max(min(sums.done_us, now_us), end_us - LONGEST_US)
        if start_us >= end_us:
            return 0
        try:
            found = await coverage_of(self._stores, one.storage, [one.track], (start_us, end_us), now_us)
        except (StorageError, OSError) as error:
            _log.warning("not-audited", camera=one.name, error=str(error))
            return 0  # asked again in the next round
        sums.done_us = end_us
        for share in account(found[one.track], start_us, end_us).shares:
            sums.states[share.state] += share.us
        wrong = [interval for interval in found[one.track] if interval.cause.state is State.UNEXPLAINED][:may_tell]
        for interval in wrong:
            self._emit("coverage-unexplained", camera=one.id, params=_where(interval))
        return len(wrong)

    async def _patrol(self) -> None:
        for name, store in list(self._stores.items()):
            try:
                lost = await store.read(store.reader.patrol)
            except (StorageError, OSError) as error:
                _log.warning("no-patrol", storage=name, error=str(error))
            else:
                store.tidy()
                if lost:
                    _log.warning("files-lost", storage=name, number=lost)


def _where(interval: Interval) -> dict[str, Any]:
    return {"start_us": interval.start_us, "end_us": interval.end_us}
