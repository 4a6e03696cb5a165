"""Keeps the streams of one session running.

Law: a stream that ends is opened again on the same session after its own back-off; when no stream of the session
is left, the session is over and the hardware connects anew. Refused credentials end the session at once: never
a second attempt with them, cameras lock out. Used by `hardware` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from recorderd.core.clock import Clock
from recorderd.driverapi.backoff import Backoff
from recorderd.driverapi.base import RunningStream, Session
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DriverError
from recorderd.engine.bugs import BugLog
from recorderd.engine.host import Handshakes
from recorderd.engine.stream import StreamRecorder

HANDSHAKE_S = 30.0  # connecting or starting a stream takes no longer, whatever the driver waits for
STOP_STREAM_S = 1.5


class SessionStreams:
    """The streams of one session. `over` is set to the reason when the session is of no more use.

    `changed(stream, running)` is told when a stream runs, and with None when it ended.
    """

    def __init__(
        self,
        session: Session,
        streams: list[StreamRecorder],
        handshakes: Handshakes,
        bugs: BugLog,
        changed: Callable[[StreamRecorder, RunningStream | None], None],
    ) -> None:
        self.over: asyncio.Future[DriverError] = asyncio.get_running_loop().create_future()
        self._session = session
        self._handshakes = handshakes
        self._bugs = bugs
        self._changed = changed
        self._alive = set(streams)  # running or being started
        self._kept = set(streams)  # not given up until a reload
        self._reloaded = asyncio.Event()

    def retry_now(self) -> None:
        """A reload: streams that wait, even those given up, try again at once."""
        self._reloaded.set()
        self._reloaded = asyncio.Event()

    async def keep(self, stream: StreamRecorder, clock: Clock, jitter: Random) -> None:
        """Run one stream until the session is over."""
        backoff = Backoff(jitter)
        while True:
            error = await self._attempt(stream)
            media_us = stream.media_us(clock.monotonic_us()) if stream.connected else 0
            delay_us = backoff.after(error, media_us)
            self._alive.discard(stream)
            if delay_us is None:
                self._kept.discard(stream)
            if not self._kept or isinstance(error, DeviceAuthFailed) or (delay_us and not self._alive):
                if not self.over.done():
                    self.over.set_result(error)
                return
            stream.closed(error.reason, {})
            await self._pause(delay_us)
            self._alive.add(stream)
            self._kept.add(stream)

    async def _pause(self, delay_us: int | None) -> None:
        """Wait for the back-off or a reload; None: for a reload only."""
        try:
            async with asyncio.timeout(None if delay_us is None else delay_us / 1e6):
                await self._reloaded.wait()
        except TimeoutError:
            pass  # the ordinary end of a back-off

    async def _attempt(self, stream: StreamRecorder) -> DriverError:
        """Start the stream and stay until it ends; returns why."""
        running: RunningStream | None = None
        try:
            async with self._handshakes.slot(), handshake_limit():
                running = await self._session.start(stream.request, stream)
            self._changed(stream, running)
            await running.wait()
            return DeviceUnavailable("the driver's stream ended without a reason", "closed")
        except DriverError as error:
            return error
        except asyncio.CancelledError as error:
            return self._bugs.cancelled(error)
        except Exception as error:
            return self._bugs.caught(error)
        finally:
            if running is not None:
                self._changed(stream, None)
                await self._leave(running)

    async def _leave(self, running: RunningStream) -> None:
        try:
            async with asyncio.timeout(STOP_STREAM_S):
                await running.stop()
        except (DriverError, TimeoutError):
            pass  # the stream is gone either way; the session's end closes the connection
        except Exception as error:
            self._bugs.caught(error)


@asynccontextmanager
async def handshake_limit() -> AsyncIterator[None]:
    """A handshake that takes too long is an unreachable device. Raises DeviceUnavailable."""
    limit = asyncio.timeout(HANDSHAKE_S)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeviceUnavailable(f"no answer within {HANDSHAKE_S:.0f} s", "timeout") from None
