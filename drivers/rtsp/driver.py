"""The rtsp driver: any camera by its RTSP address, main and sub stream by path.

Law: only joins the driver contract to `recorderd.driverkit`; protocol lives in `recorderd.wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from drivers.rtsp.info import RtspSettings
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
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnsupported
from recorderd.driverkit.rtsp_handshake import OpenSession, describe, greet
from recorderd.driverkit.rtsp_stream import RtspStream, start_stream
from recorderd.wire.auth import MAX_REFUSED, Credentials
from recorderd.wire.errors import ProtocolError
from recorderd.wire.media_plan import plan_media
from recorderd.wire.rtsp_url import RtspUrl, parse_url, with_path


class RtspDriver:
    """Implements `driverapi.base.Driver` for RtspSettings."""

    async def discover(self, host: Host) -> AsyncIterator[Candidate]:
        """RTSP has no discovery: nothing is found."""
        return
        yield

    async def probe(self, address: Address, settings: RtspSettings, host: Host) -> HardwareDescription:
        """Ask for the description of the address; starts no media."""
        url, credentials = _read(address)
        opened = await greet(url, credentials, host)
        opened = await describe(opened, host)
        await opened.close()
        description = opened.session.description
        kinds = [one.plan.kind.value for one in plan_media(description, audio=True)] if description else []
        names = {"video": "camera", "audio": "microphone"}
        main = StreamInfo("main", "main", url.url[len(url.origin) :])
        devices = tuple(DeviceInfo(0, names[kind], (main,)) for kind in kinds)
        return HardwareDescription(model=opened.session.facts.server, devices=devices)

    def connect(self, address: Address, settings: RtspSettings, host: Host) -> AbstractAsyncContextManager[RtspSession]:
        """Connect and greet. The first stream started uses this very connection."""
        return _connected(address, host)


@asynccontextmanager
async def _connected(address: Address, host: Host) -> AsyncIterator[RtspSession]:
    url, credentials = _read(address)
    session = RtspSession(url, credentials, host, await greet(url, credentials, host))
    try:
        yield session
    finally:
        await session.close()


class RtspSession:
    """Implements `driverapi.base.Session`: one camera, a connection per stream."""

    def __init__(self, url: RtspUrl, credentials: Credentials | None, host: Host, greeted: OpenSession) -> None:
        self._url = url
        self._credentials = credentials
        self._host = host
        self._greeted: OpenSession | None = greeted
        self._server = greeted.session.facts.server
        self._streams: list[RtspStream] = []
        self._one_login = asyncio.Lock()
        self._refused: DeviceAuthFailed | None = None

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
        async with self._one_login:
            # One login at a time, and none after a refusal: several streams must not add up to a lock-out.
            if self._refused is not None:
                raise DeviceAuthFailed(self._refused.message)
            try:
                opened = await self._opened(url)
                opened = await describe(opened, self._host)
            except DeviceAuthFailed as error:
                self._refused = error
                raise
        stream = await start_stream(opened, request.audio, sink, self._host)
        self._streams = [one for one in self._streams if one.running] + [stream]
        return stream

    async def close(self) -> None:
        """End everything this session opened."""
        if self._greeted is not None:
            await self._greeted.close()
            self._greeted = None
        await asyncio.gather(*(stream.stop() for stream in self._streams))

    async def _opened(self, url: RtspUrl) -> OpenSession:
        greeted, self._greeted = self._greeted, None
        if greeted is not None and greeted.alive:
            greeted.session.retarget(url)
            return greeted
        return await greet(url, self._credentials, self._host)


def _read(address: Address) -> tuple[RtspUrl, Credentials | None]:
    try:
        url = parse_url(address.url)
    except ProtocolError as error:
        raise DeviceUnsupported(error.message, "address") from error
    if address.username is None or address.password is None:
        return url, None
    return url, Credentials(address.username, address.password, 1 if address.refused else MAX_REFUSED)
