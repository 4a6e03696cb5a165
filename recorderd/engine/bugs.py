"""Driver bugs: what a driver raised although the contract does not allow it.

Law: a bug costs its own hardware only. Its traceback is logged once per place, it is counted, it is an event, and
the hardware backs off as if it were unreachable. One BugLog per hardware.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from recorderd.driverapi.errors import DriverError
from recorderd.engine.ports import Emit


class DriverBug(DriverError):
    """Stands for the foreign exception from here on; the back-off treats it like an unreachable device."""

    code = "driver-bug"


class BugLog:
    def __init__(self, driver: str, log: Any, emit: Emit) -> None:
        self._driver = driver
        self._log = log
        self._emit = emit
        self._seen: set[str] = set()
        self.count = 0

    def caught(self, error: BaseException) -> DriverBug:
        """Count it; the first time at this place also log it whole and emit `driver-bug`."""
        self.count += 1
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        kind = type(error).__name__
        if place + kind not in self._seen:
            self._seen.add(place + kind)
            self._log.error("driver-bug", kind=kind, place=place, exc_info=error)
            self._emit("driver-bug", {"driver": self._driver, "kind": kind, "place": place})
        return DriverBug(f"the driver failed with {kind} at {place}: report it to its author", "driver-bug")

    def cancelled(self, error: asyncio.CancelledError) -> DriverBug:
        """A cancellation that nobody asked for came out of the driver: a bug. An asked-for one goes on up."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        return self.caught(error)
