"""Fakes for driver tests: a Host without an engine, a Sink that keeps everything, a clock that follows the loop.

Law: only tests import this, mostly through `recorderd.driverapi.testing`. The fakes keep what a driver did, so that
a test can look; they judge nothing themselves.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from recorderd.aio.supervisor import Supervisor
from recorderd.driverapi.base import Address, Dialer
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported
from recorderd.driverapi.tls import TlsCheck, open_checked
from recorderd.driverapi.udp import UdpPair, UdpRequest, open_pair
from recorderd.media.access_unit import AccessUnit, MediaKind

dialling: ContextVar[bool] = ContextVar("dialling", default=False)  # True inside Host.dial


class LoopClock:
    """A Clock that follows the running loop, so that it also follows virtual time. `step` sets the wall clock."""

    def __init__(self, utc_us: int = 1_700_000_000_000_000) -> None:
        self._utc_us = utc_us

    def utc_us(self) -> int:
        return self._utc_us + self.monotonic_us()

    def monotonic_us(self) -> int:
        return round(asyncio.get_running_loop().time() * 1_000_000)

    def step(self, us: int) -> None:
        self._utc_us += us


@dataclass
class FakeLog:
    """Takes structlog's calls and keeps them as (level, event, values)."""

    entries: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)

    def bind(self, **values: Any) -> FakeLog:
        return FakeLog(self.entries, {**self.bound, **values})

    def __getattr__(self, level: str) -> Callable[..., None]:
        def write(event: str, **values: Any) -> None:
            self.entries.append((level, event, {**self.bound, **values}))

        return write


class FakeHost:
    """Implements `driverapi.base.Host` for one test; `async with` it. Connections and tasks are kept for
    inspection."""

    def __init__(self, address: Address) -> None:
        self.clock = LoopClock()
        self.log: Any = FakeLog()
        self.dialled: list[tuple[str, int]] = []
        self.transports: list[asyncio.Transport] = []
        self.pairs: list[UdpPair] = []
        self.coalesce = 0
        self.tree = Supervisor("driver under test", report=self._failed)
        self.failures: list[BaseException] = []
        self._host = (urlsplit(address.url).hostname or "").lower()
        self._known: set[str] = set()

    @property
    def dial(self) -> Dialer:
        return self._dial

    def open_udp(self, request: UdpRequest) -> UdpPair:
        if request.host not in self._known:
            raise DeviceUnsupported(f"{request.host} is not the configured host", "foreign-host")
        pair = open_pair(request)
        self.pairs.append(pair)
        return pair

    async def _dial(
        self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol], tls: TlsCheck | None = None
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        if host.lower() != self._host:
            raise DeviceUnsupported(f"{host} is not the configured host", "foreign-host")
        self.dialled.append((host, port))
        mark = dialling.set(True)
        try:
            transport, protocol = await self._connect(host, port, factory, tls)
        except OSError as error:
            raise DeviceUnavailable(f"{host}:{port}: {error}", "refused") from error
        finally:
            dialling.reset(mark)
        self.transports.append(transport)
        self._known.add(transport.get_extra_info("peername")[0])
        return transport, protocol

    async def _connect(
        self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol], tls: TlsCheck | None
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        loop = asyncio.get_running_loop()
        if tls is None:
            return await loop.create_connection(factory, host, port)

        async def encrypted(context: ssl.SSLContext, name: str) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
            return await loop.create_connection(factory, host, port, ssl=context, server_hostname=name)

        return await open_checked(host, tls, encrypted)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self.tree.start(name, work)

    async def to_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(call, *args)

    def coalesce_us(self) -> int:
        return self.coalesce

    async def __aenter__(self) -> FakeHost:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tree.stop()

    def _failed(self, _name: str, error: BaseException) -> None:
        self.failures.append(error)


class RecordingSink:
    """Implements `driverapi.base.Sink`: keeps everything, and lets a test wait for it."""

    def __init__(self) -> None:
        self.units: list[tuple[MediaKind, AccessUnit]] = []
        self.losses: list[tuple[MediaKind, int]] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.is_watched = False
        self._arrived = asyncio.Event()

    def unit(self, kind: MediaKind, unit: AccessUnit) -> None:
        self.units.append((kind, unit))
        self._arrived.set()

    def loss(self, kind: MediaKind, packets: int) -> None:
        self.losses.append((kind, packets))

    def event(self, code: str, params: dict[str, object]) -> None:
        self.events.append((code, params))

    def watched(self) -> bool:
        return self.is_watched

    def of(self, kind: MediaKind) -> list[AccessUnit]:
        return [unit for sort, unit in self.units if sort is kind]

    async def reach(self, count: int, kind: MediaKind = MediaKind.VIDEO) -> list[AccessUnit]:
        """Wait until `count` units of a kind arrived."""
        while len(self.of(kind)) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.of(kind)
