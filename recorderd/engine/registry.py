"""Which drivers there are: found by entry point, loaded when first needed.

Law: in-tree drivers use the same door as third-party ones. A broken entry point or another API version is
reported and left out; it never stops the daemon. Built by the composition root and by `check-config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import structlog

from recorderd.core.errors import RecorderdError
from recorderd.driverapi.base import Driver
from recorderd.driverapi.info import API_VERSION, DriverInfo

GROUP = "recorderd.drivers"

_log = structlog.get_logger("registry")


class DriverMissing(RecorderdError):
    """The configuration names a driver that is not installed, or that cannot be loaded."""

    code = "driver-missing"


@dataclass(frozen=True, slots=True)
class BrokenDriver:
    """An entry point that gave no usable DriverInfo, and why."""

    name: str
    origin: str  # 'module:attribute'
    problem: str


class Registry:
    """Driver infos by id; `driver()` loads the driver itself, once."""

    def __init__(self, infos: Iterable[DriverInfo], broken: Iterable[BrokenDriver] = ()) -> None:
        self.infos: Mapping[str, DriverInfo] = {info.id: info for info in infos}
        self.broken = tuple(broken)
        self._loaded: dict[str, Driver[Any]] = {}

    @classmethod
    def discover(cls, found: Iterable[EntryPoint] | None = None) -> Registry:
        """Read the entry points of this environment; broken ones are logged once and listed in `broken`."""
        infos: dict[str, DriverInfo] = {}
        broken: list[BrokenDriver] = []
        for entry in sorted(entry_points(group=GROUP) if found is None else found, key=lambda e: e.name):
            info = _info(entry)
            if isinstance(info, DriverInfo) and info.id in infos:
                info = BrokenDriver(entry.name, entry.value, f"a second driver calls itself {info.id!r}")
            if isinstance(info, DriverInfo):
                infos[info.id] = info
            else:
                broken.append(info)
                _log.error("driver-broken", driver=info.name, origin=info.origin, problem=info.problem)
        return cls(infos.values(), broken)

    def driver(self, id: str) -> Driver[Any]:
        """The driver object. Raises DriverMissing; whatever importing it raises is the driver's bug."""
        loaded = self._loaded.get(id)
        if loaded is None:
            info = self.infos.get(id)
            if info is None:
                known = ", ".join(sorted(self.infos)) or "none"
                raise DriverMissing(f"no driver {id!r} is installed; installed: {known}", driver=id)
            loaded = self._loaded[id] = info.load()
        return loaded


def _info(entry: EntryPoint) -> DriverInfo | BrokenDriver:
    """Load one entry point's DriverInfo, or say what is wrong with it."""
    try:
        info = entry.load()
    except Exception as error:  # whatever a foreign module raises on import
        return BrokenDriver(entry.name, entry.value, f"{type(error).__name__}: {error}")
    if not isinstance(info, DriverInfo):
        return BrokenDriver(entry.name, entry.value, f"is a {type(info).__name__}, not a DriverInfo")
    if info.api_version != API_VERSION:
        problem = f"is written for driver API {info.api_version}, this server has {API_VERSION}"
        return BrokenDriver(entry.name, entry.value, problem)
    return info
