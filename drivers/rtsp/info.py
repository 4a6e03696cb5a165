"""The rtsp driver as the core knows it before it is loaded: id, schemes, settings.

Law: imports no protocol code.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recorderd.core.errors import UsageError
from recorderd.driverapi.info import Capability, DriverInfo

if TYPE_CHECKING:
    from recorderd.driverapi.base import Driver


class Transport(enum.StrEnum):
    """How media travels."""

    TCP = "tcp"
    UDP = "udp"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class RtspSettings:
    """Keys of a [[hardware]] with driver = "rtsp"."""

    transport: Transport = Transport.TCP

    def __post_init__(self) -> None:
        if self.transport != Transport.TCP:
            raise UsageError(f'transport = "{self.transport}" is not built yet: use "tcp"', key="transport")


def _load() -> Driver[Any]:
    from drivers.rtsp.driver import RtspDriver

    return RtspDriver()


INFO = DriverInfo(
    id="rtsp",
    name="Any camera that speaks RTSP",
    schemes=("rtsp",),
    settings=RtspSettings,
    load=_load,
    capabilities=frozenset((Capability.LIVE, Capability.AUDIO, Capability.SUB_STREAM)),
)
