"""The contract between the core and a driver.

Law: a driver turns one device's protocol into access units. It leaves within 5 s of cancellation, never logs per
frame, never writes to disk and makes no blocking call over 50 ms (the loop watchdog names the driver). It opens
connections through `Host.dial` only, to the host the user gave, and sends credentials nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from recorderd.core.clock import Clock
from recorderd.core.secret import Secret
from recorderd.driverapi.tls import TlsCheck
from recorderd.driverapi.udp import UdpPair, UdpRequest
from recorderd.media.access_unit import AccessUnit, MediaKind

S = TypeVar("S", contravariant=True)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a hardware is and how to log in. `url` carries no user info; the password never leaves `secret`.

    `refused`: this login was refused last time and never worked since; send it once, not twice, cameras lock out."""

    url: str
    username: str | None = None
    password: Secret | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that discovery found; nothing about it is verified."""

    url: str
    name: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One encoding of a device. `id` is the driver's own key, given back to `Session.start`."""

    id: str
    role: str  # "main", "sub" or the driver's word
    path: str = ""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One source or sink of a hardware: camera, microphone, speaker, input, output, metadata."""

    channel: int
    kind: str
    streams: tuple[StreamInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class HardwareDescription:
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""
    devices: tuple[DeviceInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What the core wants started: camera channel, role, and the path the user configured, if any."""

    channel: int = 0
    role: str = "main"
    path: str = ""
    audio: bool = True
    metadata: bool = True


class Sink(Protocol):
    """Where a driver pushes what it received. All calls are cheap, synchronous and made on the event loop."""

    def unit(self, kind: MediaKind, unit: AccessUnit) -> None:
        """Take one access unit of the stream's video, audio or metadata track. Bounded and counted by the core:
        live media cannot wait, so this never blocks and never raises."""
        ...

    def loss(self, kind: MediaKind, packets: int) -> None:
        """Packets were lost and no unit will carry the count (e.g. before the first unit)."""
        ...

    def event(self, code: str, params: dict[str, object]) -> None:
        """A typed event about this stream: 'config-changed', 'clock-step', 'clock-drift', ... Rare."""
        ...

    def watched(self) -> bool:
        """True while somebody looks at this stream live: the driver should then favour latency over CPU."""
        ...


class RunningStream(Protocol):
    """A started stream."""

    async def wait(self) -> None:
        """Return never while media flows; raise StreamLost or DeviceUnavailable when it ended."""
        ...

    async def stop(self) -> None:
        """Tear down politely within 1 s; idempotent."""
        ...

    def stats(self) -> dict[str, int]:
        """Counters since start: bytes, packets, lost_packets, units, damaged_units, reconnects."""
        ...


class Session(Protocol):
    """One live connection to one hardware."""

    async def describe(self) -> HardwareDescription: ...

    async def start(self, request: StreamRequest, sink: Sink) -> RunningStream:
        """Open the stream and begin pushing into `sink`; raises DriverError."""
        ...


class Dialer(Protocol):
    """Opens a TCP connection with the given protocol factory; refuses hosts the user did not give. With `tls` the
    other end is checked before the factory's protocol sends or receives anything (reasons 'tls-...')."""

    async def __call__(
        self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol], tls: TlsCheck | None = None
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]: ...


class Host(Protocol):
    """What the core lends to a driver."""

    @property
    def clock(self) -> Clock: ...

    @property
    def log(self) -> Any:
        """A structlog logger bound to the hardware."""
        ...

    @property
    def dial(self) -> Dialer: ...

    def open_udp(self, request: UdpRequest) -> UdpPair:
        """Two sockets to receive RTP and RTCP of the configured device, or of a multicast group it names. The driver
        closes them; what is left open is closed with the session. Raises DriverError."""
        ...

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a supervised task that ends with the session at the latest."""
        ...

    async def to_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking call on the hardware's own small pool."""
        ...

    def coalesce_us(self) -> int:
        """How long reads may be gathered: 0 while the loop is calm, up to 40,000 under load."""
        ...


class Driver(Protocol[S]):
    """Stateless; one object per plug-in. `settings` is an instance of its DriverInfo.settings."""

    def discover(self, host: Host) -> AsyncIterator[Candidate]: ...

    async def probe(self, address: Address, settings: S, host: Host) -> HardwareDescription:
        """Ask the device what it is, without starting media; raises DriverError."""
        ...

    def connect(self, address: Address, settings: S, host: Host) -> AbstractAsyncContextManager[Session]:
        """Log in. Raises DriverError on entering; leaving closes everything within 5 s."""
        ...
