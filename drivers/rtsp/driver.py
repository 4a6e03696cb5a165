"""The rtsp driver: any camera by its RTSP address, main and sub stream by path.

Law: only joins the driver contract to `recorderd.driverkit`; protocol lives in `recorderd.wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.core.errors import UsageError
from recorderd.driverapi.base import (
    Address,
    Candidate,
    DeviceInfo,
    HardwareDescription,
    Host,
    RunningStream,
    Sink,
    StreamInfo,
    StreamRequest,
)
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnsupported, DriverError
from recorderd.driverapi.tls import TlsCheck
from recorderd.driverkit.rtsp_handshake import Approach, OpenSession, describe, greet
from recorderd.driverkit.rtsp_play import Wanted
from recorderd.driverkit.rtsp_stream import RtspStream, start_stream
from recorderd.wire.auth import MAX_REFUSED, Credentials
from recorderd.wire.errors import ProtocolError
from recorderd.wire.media_plan import plan_media
from recorderd.wire.rtsp_reply import Lower
from recorderd.wire.rtsp_url import RtspUrl, parse_url, with_path

_LOWERS = {
    Transport.TCP: (Lower.TCP,),
    Transport.UDP: (Lower.UDP,),
    Transport.MULTICAST: (Lower.MULTICAST,),
    Transport.HTTP: (Lower.TCP,),
    Transport.AUTO: (Lower.TCP, Lower.UDP),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how: what `_read` made of address and settings."""

    url: RtspUrl
    credentials: Credentials | None
    approach: Approach
    lowers: tuple[Lower, ...]
    interface: str


class RtspDriver:
    """Implements `driverapi.base.Driver` for RtspSettings."""

    async def discover(self, host: Host) -> AsyncIterator[Candidate]:
        """RTSP has no discovery: nothing is found."""
        return
        yield

    async def probe(self, address: Address, settings: RtspSettings, host: Host) -> HardwareDescription:
        """Ask for the description of the address; starts no media."""
        target = _read(address, settings)
        opened = await greet(target.url, target.credentials, target.approach, host)
        opened = await describe(opened, host)
        await opened.close()
        description = opened.session.description
        kinds = [one.plan.kind.value for one in plan_media(description, audio=True)] if description else []
        names = {"video": "camera", "audio": "microphone", "metadata": "metadata"}
        main = StreamInfo("main", "main", target.url.url[len(target.url.origin) :])
        devices = tuple(DeviceInfo(0, names[kind], (main,)) for kind in kinds)
        return HardwareDescription(model=opened.session.facts.server, devices=devices)

    def connect(self, address: Address, settings: RtspSettings, host: Host) -> AbstractAsyncContextManager[RtspSession]:
        """Connect and greet. The first stream started uses this very connection."""
        return _connected(address, settings, host)


@asynccontextmanager
async def _connected(address: Address, settings: RtspSettings, host: Host) -> AsyncIterator[RtspSession]:
    target = _read(address, settings)
    greeted = await greet(target.url, target.credentials, target.approach, host)
    session = RtspSession(target, host, greeted)
    try:
        yield session
    finally:
        await session.close()


class RtspSession:
    """Implements `driverapi.base.Session`: one camera, a connection per stream."""

    def __init__(self, target: Target, host: Host, greeted: OpenSession) -> None:
        self._target = target
        self._url = target.url
        self._host = host
        self._greeted: OpenSession | None = greeted
        self._server = greeted.session.facts.server
        self._streams: list[RtspStream] = []
        self._one_login = asyncio.Lock()
        self._refused: DeviceAuthFailed | None = None
        self._lowers = target.lowers

    async def describe(self) -> HardwareDescription:
        """What the greeting told; a stream's tracks are known only when it starts."""
        main = StreamInfo("main", "main", self._url.url[len(self._url.origin) :])
        return HardwareDescription(model=self._server, devices=(DeviceInfo(0, "camera", (main,)),))

    async def start(self, request: StreamRequest, sink: Sink) -> RunningStream:
        """Open the stream of `request.path`, or of the address itself when that is empty."""
        if not request.path and request.role != "main":
            message = f"no path is configured for the {request.role} stream: set its path"
            raise DeviceUnsupported(message, "no-path", role=request.role)
        url = with_path(self._url, request.path) if request.path else self._url
        for last, lower in zip([False] * (len(self._lowers) - 1) + [True], self._lowers, strict=True):
            opened = await self._described(url)
            wanted = Wanted(request.audio, lower, self._target.interface, request.metadata)
            try:
                stream = await start_stream(opened, wanted, sink, self._host)
            except DriverError as error:
                if last or not _blames_transport(error):
                    raise
                self._host.log.info("transport-refused", asked=lower.value, message=error.message)
                continue
            self._lowers = (lower,)  # what works is kept for this session
            self._streams = [one for one in self._streams if one.running] + [stream]
            return stream
        raise AssertionError("the last transport returns or raises")

    async def close(self) -> None:
        """End everything this session opened."""
        if self._greeted is not None:
            await self._greeted.close()
            self._greeted = None
        await asyncio.gather(*(stream.stop() for stream in self._streams))

    async def _described(self, url: RtspUrl) -> OpenSession:
        """One login at a time, and none after a refusal: several streams must not add up to a lock-out."""
        async with self._one_login:
            if self._refused is not None:
                raise DeviceAuthFailed(self._refused.message)
            try:
                return await describe(await self._opened(url), self._host)
            except DeviceAuthFailed as error:
                self._refused = error
                raise

    async def _opened(self, url: RtspUrl) -> OpenSession:
        greeted, self._greeted = self._greeted, None
        if greeted is not None and greeted.alive:
            greeted.session.retarget(url)
            return greeted
        return await greet(url, self._target.credentials, self._target.approach, self._host)


def _blames_transport(error: DriverError) -> bool:
    """Refused as such, or by a SETUP answered with any other failure: not every camera knows 461."""
    return error.reason == "transport" or (error.reason == "status" and error.params.get("method") == "SETUP")


def _read(address: Address, settings: RtspSettings) -> Target:
    try:
        url = parse_url(address.url)
    except ProtocolError as error:
        raise DeviceUnsupported(error.message, "address") from error
    transport = settings.transport
    try:
        settings.check_address(address.url)
    except UsageError as error:
        key = str(error.params["key"])
        raise DeviceUnsupported(f"{key}: {error.message}", "transport" if key == "transport" else "address") from error
    lowers = (Lower.TCP,) if url.tls else _LOWERS[transport]
    approach = Approach(TlsCheck(settings.tls_fingerprint, settings.tls_ca), transport is Transport.HTTP)
    credentials = None
    if address.username is not None and address.password is not None:
        credentials = Credentials(address.username, address.password, 1 if address.refused else MAX_REFUSED)
    return Target(url, credentials, approach, lowers, settings.multicast_interface)
