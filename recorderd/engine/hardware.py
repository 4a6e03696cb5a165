"""One hardware: connect, keep its streams running, back off, never give up.

Law: one supervised task tree per hardware, without a reference to any other. A driver's error names the next
move (`driverapi.errors`); anything else is a driver bug: its traceback is logged once, counted, and the hardware
backs off like an unreachable one. Recording is told what happened, never how. Owned by the engine.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from recorderd.aio.supervisor import Supervisor
from recorderd.config.schema import HardwareConfig
from recorderd.core.clock import Clock
from recorderd.driverapi.backoff import Backoff
from recorderd.driverapi.base import Address, Driver, HardwareDescription, RunningStream, Session
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnsupported, DriverError
from recorderd.engine.bugs import BugLog, DriverBug
from recorderd.engine.dial import PinnedDialer, Resolve, resolve
from recorderd.engine.host import EngineHost, Handshakes
from recorderd.engine.keeper import STOP_STREAM_S, SessionStreams, handshake_limit
from recorderd.engine.ports import Emit
from recorderd.engine.registry import DriverMissing, Registry
from recorderd.engine.stream import StreamRecorder

LEAVE_S = 5.0  # a driver leaves within this

_log = structlog.get_logger("hardware")


@dataclass(frozen=True, slots=True)
class Shared:
    """What every hardware of this process uses."""

    clock: Clock
    registry: Registry
    handshakes: Handshakes
    jitter: random.Random
    coalesce: Callable[[], int]
    resolver: Resolve = resolve


@dataclass(slots=True)
class HardwareStatus:
    """Where the connection stands; see views.HardwareView for the words."""

    state: str = "connecting"
    reason: str = ""
    message: str = ""
    since_us: int = 0
    retry_us: int | None = None
    attempts: int = 0
    description: HardwareDescription = field(default_factory=HardwareDescription)


class HardwareRunner:
    """Runs one hardware until stopped. `streams` are its cameras' streams; `emit` is bound to the hardware."""

    def __init__(
        self,
        shared: Shared,
        id: uuid.UUID,
        config: HardwareConfig,
        streams: list[StreamRecorder],
        tree: Supervisor,
        emit: Emit,
    ) -> None:
        self.id = id
        self.config = config
        self.status = HardwareStatus(since_us=shared.clock.utc_us())
        self._shared = shared
        self._streams = streams
        self._tree = tree
        self._emit = emit
        self._backoff = Backoff(shared.jitter)
        self._wake = asyncio.Event()
        self._kept: SessionStreams | None = None
        self._refused = False  # the login, since a stream last ran
        self._running: dict[tuple[int, str], RunningStream] = {}
        self._log = _log.bind(hardware=config.name, driver=config.driver)
        self._bugs = BugLog(config.driver, self._log, emit)

    def start(self) -> None:
        self._tree.start("run", self._run())

    async def stop(self, patience_s: float) -> None:
        """Leave the device politely; what does not end in time is named in the log and left behind."""
        await self._tree.stop(patience_s)

    def retry_now(self) -> None:
        """A reload: forget the back-off, try at once if waiting."""
        self._backoff.reset()
        if self.status.state != "online":
            self._wake.set()
        if self._kept is not None:
            self._kept.retry_now()

    @property
    def driver_bugs(self) -> int:
        return self._bugs.count

    def stats(self) -> dict[str, int]:
        """Sums over the running streams, by the driver's own names."""
        total: dict[str, int] = {}
        for running in self._running.values():
            for name, value in running.stats().items():
                total[name] = total.get(name, 0) + value
        return total

    # -- the hardware ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self.status.attempts += 1
            self.status.retry_us = None
            try:
                error = await self._session(self._shared.registry.driver(self.config.driver))
            except DriverError as failure:
                error = failure
            except DriverMissing as failure:
                error = DeviceUnsupported(failure.message, "driver-missing")
            except asyncio.CancelledError as failure:
                error = self._bugs.cancelled(failure)
            except Exception as failure:
                error = self._bugs.caught(failure)
            media_us = self._media_us()
            self._set(error)
            for stream in self._streams:
                stream.closed(error.reason, {})
            delay_us = self._backoff.after(error, media_us)
            await self._pause(delay_us)

    async def _pause(self, delay_us: int | None) -> None:
        """Wait for the next attempt, or (None) for a reload. A reload while we were busy counts as well."""
        if delay_us is not None:
            self.status.retry_us = self._shared.clock.utc_us() + delay_us
        try:
            async with asyncio.timeout(None if delay_us is None else delay_us / 1e6):
                await self._wake.wait()
        except TimeoutError:
            pass  # the ordinary end of a back-off
        self._wake.clear()

    async def _session(self, driver: Driver[Any]) -> DriverError:
        """One session from login to its end; returns or raises why it ended."""
        config = self.config
        address = Address(config.address, config.username, config.password, self._refused)
        tree = self._tree.child("session")
        dial = PinnedDialer(config.address, self._shared.resolver)
        host = EngineHost(self._shared.clock, self._log, dial, tree.child("driver"), self._shared.coalesce)
        try:
            async with self._connected(driver, address, host) as session:
                clock, jitter = self._shared.clock, self._shared.jitter
                kept = SessionStreams(session, self._streams, self._shared.handshakes, self._bugs, self._stream_changed)
                keepers = tree.child("streams", together=True)
                for stream in self._streams:
                    name = f"stream {stream.request.channel}/{stream.request.role}"
                    keepers.start(name, kept.keep(stream, clock, jitter))
                try:
                    return await kept.over
                finally:
                    await keepers.stop(STOP_STREAM_S)
        finally:
            self._kept = None
            await host.close()
            await tree.stop()

    @asynccontextmanager
    async def _connected(self, driver: Driver[Any], address: Address, host: EngineHost) -> AsyncIterator[Session]:
        """The driver's session, entered inside a handshake slot and left within LEAVE_S."""
        context = driver.connect(address, self.config.settings, host)
        async with self._shared.handshakes.slot(), handshake_limit():
            session = await context.__aenter__()
        try:
            if self.status.description == HardwareDescription():
                async with handshake_limit():
                    self.status.description = await session.describe()
            yield session
        finally:
            try:
                async with asyncio.timeout(LEAVE_S):
                    await context.__aexit__(None, None, None)
            except DriverError as error:
                self._log.debug("leaving-failed", reason=error.reason)
            except Exception as error:
                self._bugs.caught(error)

    # -- inside ----------------------------------------------------------------------------------------------

    def _stream_changed(self, stream: StreamRecorder, running: RunningStream | None) -> None:
        """A stream runs now, or (None) ended."""
        key = (stream.request.channel, stream.request.role)
        if running is None:
            self._running.pop(key, None)
            return
        self._running[key] = running
        self._refused = False
        stream.opened()
        if self.status.state != "online":
            self._set(None)

    def _media_us(self) -> int:
        now_us = self._shared.clock.monotonic_us()
        return max((stream.media_us(now_us) for stream in self._streams if stream.connected), default=0)

    def _set(self, error: DriverError | None) -> None:
        """Keep the status, and say once what needs a person."""
        status, before = self.status, self.status.state
        status.state, status.reason, status.message = "online", "", ""
        if error is not None:
            status.state, status.reason, status.message = _word(error), error.reason, error.message
        if status.state != before:
            status.since_us = self._shared.clock.utc_us()
        if isinstance(error, DeviceAuthFailed):
            self._refused = True
            self._emit("auth-failed", {"reason": error.reason})
            self._log.warning("auth-failed", message=error.message)
        elif error is not None and status.state != before:
            self._log.warning("hardware-offline", reason=error.reason, message=error.message)


def _word(error: DriverError) -> str:
    if isinstance(error, DeviceAuthFailed):
        return "auth-failed"
    if isinstance(error, DeviceUnsupported):
        return "unsupported"
    return "driver-bug" if isinstance(error, DriverBug) else "offline"
