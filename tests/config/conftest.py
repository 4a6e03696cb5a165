from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recorderd.config.load import LoadResult, StorageInspector, load, look_nowhere
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


@dataclass(frozen=True)
class NoSettings:
    pass


def _never() -> Any:
    raise AssertionError("loading a configuration loads no driver")


DRIVERS = {
    "rtsp": DriverInfo("rtsp", "RTSP", ("rtsp", "rtsps"), RtspSettings, _never),
    "synthetic": DriverInfo("synthetic", "Synthetic", ("synthetic",), NoSettings, _never),
}

Loader = Callable[..., LoadResult]


@pytest.fixture
def load_text(tmp_path: Path) -> Loader:
    """Write a main file (and conf.d files) and load them."""

    def loader(
        text: str,
        inspect: StorageInspector = look_nowhere,
        environ: dict[str, str] | None = None,
        checking: bool = False,
        **extra: str,
    ) -> LoadResult:
        path = tmp_path / "recorderd.toml"
        path.write_text(text)
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, more in extra.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(more)
        return load(path, DRIVERS, inspect, environ or {}, checking)

    return loader
