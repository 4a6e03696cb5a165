"""What is known about a driver without loading it: id, version, capabilities, settings.

Law: importing a driver's DriverInfo loads no protocol code and no heavy package; `load` does, when first needed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recorderd.driverapi.base import Driver

API_VERSION = 1


class Capability(enum.StrEnum):
    LIVE = "live"
    AUDIO = "audio"
    SUB_STREAM = "sub-stream"
    DISCOVERY = "discovery"
    EDGE_STORAGE = "edge-storage"
    PTZ = "ptz"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """One driver. `settings` is a frozen dataclass type whose fields are the driver's own configuration keys
    under [[hardware]] (str, int, float, bool, or an enum; every field has a default); a method
    `check_address(url)` of it may refuse, with UsageError (param `key`), what does not fit the address. `schemes` are
    the address schemes it accepts; `load` imports and returns the driver."""

    id: str
    name: str
    schemes: tuple[str, ...]
    settings: type[Any]
    load: Callable[[], Driver[Any]]
    vendors: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = field(default_factory=frozenset)
    api_version: int = API_VERSION
