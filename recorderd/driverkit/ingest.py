"""What all media connections of an event loop share: one read buffer and one ticker of gathered reads.

Law: a connection owns the buffer only while one of its callbacks runs; what it must keep it copies before it
returns. Called by `rtsp_connection`.

Gathering reads: under load, waking up for every small piece a camera sends costs more than parsing it. A
gathered connection's transport stops reading; every tick (up to 40 ms) one poll tells which sockets have data
and each is read until it is empty, straight into the shared buffer. Anything unusual (end of stream, error) is
given back to the transport, which then finds it by itself. Ticks vary in length: equal ones would beat against the
frame rate, and the slow wave in arrival times would look like a camera clock that drifts.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

READ_BUFFER_BYTES = 512 * 1024
_SPREAD = 0.25  # of a tick
_GOLDEN = 0.618_034  # its multiples spread most evenly between 0 and 1
_MAX_READS = 8  # per connection and tick, so that one flood does not starve the others


class Gathered(Protocol):
    """A connection that may be read past its transport."""

    def get_buffer(self, sizehint: int) -> memoryview: ...

    def buffer_updated(self, nbytes: int) -> None: ...

    def read_failed(self) -> None:
        """Nothing more can be read here: let the transport find out why."""
        ...


class Ingest:
    """One per event loop, made by `shared_ingest`."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BUFFER_BYTES))
        self._poll: select.epoll | None = None
        self._gathered: dict[int, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._phase = 0.0
        self.tick_us = 40_000  # how long reads are gathered, at most

    @property
    def gathered(self) -> int:
        """How many sockets the ticker reads."""
        return len(self._gathered)

    def gather(self, fd: int, read: Callable[[], None]) -> None:
        """Call `read` in ticks from now on while `fd` has data; nobody else may wait for it."""
        if self._poll is None:
            self._poll = select.epoll()
        self._gathered[fd] = read
        self._poll.register(fd, select.EPOLLIN)
        if self._timer is None:
            self._schedule()

    def release(self, fd: int) -> None:
        """Stop reading `fd`; always before its socket is closed."""
        if self._gathered.pop(fd, None) is not None and self._poll is not None:
            self._poll.unregister(fd)
        if not self._gathered and self._poll is not None:
            self._poll.close()
            self._poll = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def next_tick_us(self) -> float:
        """How long the tick that begins now takes: `tick_us` or up to a quarter less."""
        self._phase = (self._phase + _GOLDEN) % 1
        return self.tick_us * (1 - _SPREAD * self._phase)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.next_tick_us() / 1e6, self._tick)

    def _tick(self) -> None:
        if self._poll is None:
            return
        self._schedule()
        for fd, _ in self._poll.poll(0):
            read = self._gathered.get(fd)
            if read is not None:
                read()

    def read_stream(self, fd: int, connection: Gathered) -> None:
        """Read a connection's socket until it is empty, as its transport would."""
        for _ in range(_MAX_READS):
            view = connection.get_buffer(-1)
            try:
                size = os.readv(fd, [view])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                connection.read_failed()
                return
            if not size:
                connection.read_failed()
                return
            connection.buffer_updated(size)
            if size < len(view) or fd not in self._gathered:
                return


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, Ingest] = WeakKeyDictionary()


def shared_ingest() -> Ingest:
    """The running loop's own; state per loop, because a process may run several loops one after the other."""
    loop = asyncio.get_running_loop()
    ingest = _shared.get(loop)
    if ingest is None:
        ingest = _shared[loop] = Ingest()
    return ingest
