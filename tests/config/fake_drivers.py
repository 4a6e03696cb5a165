"""Two drivers that are never loaded, for the tests of this folder."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from recorderd.core.errors import UsageError
from recorderd.driverapi.info import DriverInfo


class Transport(enum.StrEnum):
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True)
class RtspSettings:
    transport: Transport = Transport.TCP
    timeout_s: float = 10.0
    nickname: str | None = None

    def __post_init__(self) -> None:
        if self.transport is Transport.UDP:
            raise UsageError("'udp' is not built yet", key="transport")
        if self.timeout_s < 0:
            raise ValueError("timeout_s must not be negative")

    def check_address(self, url: str) -> None:
        if self.nickname is not None and "stream2" in url:
            raise UsageError("does not go with /stream2", key="nickname")


@dataclass(frozen=True)
class NoSettings:
    pass


def _never() -> Any:
    raise AssertionError("loading a configuration loads no driver")


DRIVERS = {
    "rtsp": DriverInfo("rtsp", "RTSP", ("rtsp", "rtsps"), RtspSettings, _never),
    "synthetic": DriverInfo("synthetic", "Synthetic", ("synthetic",), NoSettings, _never),
}
