"""What the rtsp driver's tests lend to the driver: a host on the real loop and a sink that keeps everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import Any

from drivers.rtsp.driver import RtspDriver
from drivers.rtsp.info import RtspSettings
from recorderd.core.secret import Secret
from recorderd.driverapi.base import Address, StreamRequest
from recorderd.driverapi.testing_fakes import FakeLog
from recorderd.driverapi.tls import TlsCheck
from recorderd.driverapi.udp import UdpPair, UdpRequest, open_pair
from recorderd.engine.dial import PinnedDialer
from recorderd.media.access_unit import AccessUnit, MediaKind


class RealClock:
    def utc_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


class RigHost:
    def __init__(self, coalesce_us: int = 0) -> None:
        self.clock = RealClock()
        self.log: Any = FakeLog()
        self.dialled: list[tuple[str, int]] = []
        self.pairs: list[UdpPair] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.gather_us = coalesce_us

    async def dial(self, host: str, port: int, factory: Any, tls: TlsCheck | None = None) -> Any:
        self.dialled.append((host, port))
        return await PinnedDialer(f"rtsp://{host}/")(host, port, factory, tls)

    def open_udp(self, request: UdpRequest) -> UdpPair:
        pair = open_pair(request)
        self.pairs.append(pair)
        return pair

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.append(task)
        return task

    async def to_thread(self, call: Any, *args: Any) -> Any:
        return await asyncio.to_thread(call, *args)

    def coalesce_us(self) -> int:
        return self.gather_us


class RigSink:
    def __init__(self) -> None:
        self.units: dict[MediaKind, list[AccessUnit]] = {kind: [] for kind in MediaKind}
        self.events: list[tuple[str, dict[str, object]]] = []
        self.losses: list[tuple[MediaKind, int]] = []
        self.viewers = False
        self._news = asyncio.Event()

    def unit(self, kind: MediaKind, unit: AccessUnit) -> None:
        self.units[kind].append(unit)
        self._news.set()

    def loss(self, kind: MediaKind, packets: int) -> None:
        self.losses.append((kind, packets))

    def event(self, code: str, params: dict[str, object]) -> None:
        self.events.append((code, params))

    def watched(self) -> bool:
        return self.viewers

    @property
    def video(self) -> list[AccessUnit]:
        return self.units[MediaKind.VIDEO]

    async def until_video(self, count: int) -> None:
        while len(self.video) < count:
            self._news.clear()
            await self._news.wait()


def address(port: int, path: str = "/cam", login: tuple[str, str] | None = None, scheme: str = "rtsp") -> Address:
    url = f"{scheme}://127.0.0.1:{port}{path}"
    return Address(url, login[0], Secret(login[1])) if login else Address(url)


@asynccontextmanager
async def playing(
    where: Address,
    sink: RigSink,
    host: RigHost | None = None,
    request: StreamRequest | None = None,
    settings: RtspSettings | None = None,
):
    """(session, running stream) of the rtsp driver on `where`."""
    host = host or RigHost()
    async with RtspDriver().connect(where, settings or RtspSettings(), host) as session:
        stream = await session.start(request or StreamRequest(), sink)
        try:
            yield session, stream
        finally:
            await stream.stop()
    await asyncio.gather(*host.tasks)
    assert all(pair.closed for pair in host.pairs), "UDP sockets were left open"
