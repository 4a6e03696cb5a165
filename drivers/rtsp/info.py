"""The rtsp driver as the core knows it before it is loaded: id, schemes, settings.

Law: imports no protocol code.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recorderd.core.errors import UsageError
from recorderd.driverapi.info import Capability, DriverInfo
from recorderd.driverapi.tls import read_fingerprint

if TYPE_CHECKING:
    from recorderd.driverapi.base import Driver


class Transport(enum.StrEnum):
    """How media travels. AUTO: TCP, and UDP where the camera refuses TCP."""

    TCP = "tcp"
    UDP = "udp"
    MULTICAST = "multicast"
    HTTP = "http"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class RtspSettings:
    """Keys of a [[hardware]] with driver = "rtsp". `check_address` refuses what does not fit the address."""

    transport: Transport = Transport.TCP
    tls_fingerprint: str = ""  # rtsps: this very certificate, whoever signed it
    tls_ca: str = ""  # rtsps: PEM file of authorities in place of the system's
    multicast_interface: str = ""  # name or own address; "": the one that reaches the camera

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "tls_fingerprint", read_fingerprint(self.tls_fingerprint))
        except UsageError as error:
            raise UsageError(error.message, key="tls_fingerprint") from None
        if self.tls_fingerprint and self.tls_ca:
            raise UsageError("is not looked at beside tls_fingerprint: leave one of them out", key="tls_ca")
        if self.tls_ca and not self.tls_ca.startswith("/"):
            raise UsageError("must be an absolute path", key="tls_ca")
        if self.multicast_interface and self.transport is not Transport.MULTICAST:
            raise UsageError('needs transport = "multicast"', key="multicast_interface")

    def check_address(self, url: str) -> None:
        """Raises UsageError for keys that contradict the address's scheme."""
        secure = url.lower().startswith("rtsps:")
        if not secure and (self.tls_fingerprint or self.tls_ca):
            raise UsageError("needs an address with rtsps://", key="tls_ca" if self.tls_ca else "tls_fingerprint")
        if secure and self.transport in (Transport.UDP, Transport.MULTICAST):
            raise UsageError(
                f'"{self.transport}" beside rtsps:// would leave the media unencrypted: set "tcp"', key="transport"
            )


def _load() -> Driver[Any]:
    from drivers.rtsp.driver import RtspDriver

    return RtspDriver()


INFO = DriverInfo(
    id="rtsp",
    name="Any camera that speaks RTSP",
    schemes=("rtsp", "rtsps"),
    settings=RtspSettings,
    load=_load,
    capabilities=frozenset((Capability.LIVE, Capability.AUDIO, Capability.SUB_STREAM)),
)
