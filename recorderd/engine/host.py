"""What the engine lends to drivers: the Host of one hardware's session, and the resources all of them share.

Law: a driver gets nothing else. Everything a Host started ends with its session. Shared resources (handshake
slots, load) are counted per process and know no hardware.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from recorderd.aio.supervisor import Supervisor
from recorderd.core.clock import Clock
from recorderd.driverapi.base import Dialer
from recorderd.driverapi.udp import UdpPair, UdpRequest
from recorderd.engine.dial import PinnedDialer
from recorderd.engine.ports import Load

HANDSHAKES = 8
HANDSHAKE_JITTER_S = 0.2
THREADS = 2
COALESCE_US = 40_000
# The loop's share of a core where gathering reads begins and ends. It about halves the load, so it ends below half of
# where it begins.
_BEGINS, _ENDS = 0.10, 0.04


class Handshakes:
    """At most `limit` connections are being opened at any time, each after a little random wait: a switch that
    comes back with 200 cameras behind it does not make one spike."""

    def __init__(self, jitter: random.Random, limit: int = HANDSHAKES) -> None:
        self._jitter = jitter
        self._slots = asyncio.Semaphore(limit)
        self.running = 0
        self.peak = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        await asyncio.sleep(self._jitter.uniform(0, HANDSHAKE_JITTER_S))
        async with self._slots:
            self.running += 1
            self.peak = max(self.peak, self.running)
            try:
                yield
            finally:
                self.running -= 1


class Pacing:
    """Says how long reads may be gathered: not at all while the loop is calm, else 40 ms, with hysteresis.

    The limit is low because it costs nobody anything: a stream with a viewer is never gathered.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._gathers = False

    def coalesce_us(self) -> int:
        self._gathers = self._load() > (_ENDS if self._gathers else _BEGINS)
        return COALESCE_US if self._gathers else 0


class EngineHost:
    """Implements `driverapi.base.Host` for one session."""

    def __init__(
        self, clock: Clock, log: Any, dial: PinnedDialer, tree: Supervisor, coalesce: Callable[[], int]
    ) -> None:
        self._clock = clock
        self._log = log
        self._dial = dial
        self._tree = tree
        self._coalesce = coalesce
        self._pool: ThreadPoolExecutor | None = None
        self._pairs: list[UdpPair] = []

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def log(self) -> Any:
        return self._log

    @property
    def dial(self) -> Dialer:
        return self._dial

    def open_udp(self, request: UdpRequest) -> UdpPair:
        pair = self._dial.open_udp(request)
        self._pairs = [one for one in self._pairs if not one.closed] + [pair]
        return pair

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tree.start(name, work)

    async def to_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="driver")
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    def coalesce_us(self) -> int:
        return self._coalesce()

    async def close(self) -> None:
        """End what the driver spawned; a call that still runs in a thread is left to end by itself."""
        await self._tree.stop()
        for pair in self._pairs:
            pair.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
