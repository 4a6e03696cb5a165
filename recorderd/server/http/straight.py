"""Bytes of a long answer from the disk to the socket on one thread, without a copy on the way.

Law: begins when the library has sent the head and holds nothing back. A thread of the read pool reads, and writes what
the kernel takes; the loop only waits until it takes more. Knows no range and no file. Only for connections in the
clear: what is encrypted goes through the library. Called by `byte_answer`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore

TURN_BYTES = 4 << 20  # written before others get their turn on the thread
LOOK_S = 30.0  # how often a peer that takes nothing is looked after
LOOKS = 10  # so often in vain, then it is cut: a player that pauses asks again by range
_PIECES = 64  # given to the kernel in one call

Piece = bytes | memoryview
Read = Callable[[int, int], Iterator[Piece]]


class Straight:
    """A second handle on the socket of `transport`, for one answer: bytes [at, end) of `read` follow `waiting`.

    `close` it before the library writes again."""

    def __init__(self, transport: asyncio.WriteTransport, sock: socket.socket, read: Read, piece_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._sock = sock
        self._read = read
        self._piece_bytes = piece_bytes
        self._busy: asyncio.Future[int] | None = None  # a thread uses the socket
        self._closed = False

    async def send(self, store: AsyncStore, waiting: deque[Piece], at: int, end: int) -> None:
        """Everything. Raises ConnectionResetError when the connection is gone or takes nothing for LOOKS * LOOK_S, and
        as `read`."""
        idle = 0
        while waiting or at < end:
            if self._transport.is_closing():
                raise ConnectionResetError("the connection is closing")
            self._busy = store.read_ahead(self._turn, waiting, at, end)
            at = await asyncio.shield(self._busy)
            self._busy = None
            if waiting:
                idle = 0 if await self._writable() else idle + 1
                if idle >= LOOKS:
                    self._transport.abort()
                    raise ConnectionResetError("the peer takes nothing")

    def _turn(self, waiting: deque[Piece], at: int, end: int) -> int:
        """On the read pool: `at` afterwards. When the kernel takes no more, up to a piece is read ahead."""
        stop = min(end, at + TURN_BYTES)
        while not self._closed:
            full = not self._put(waiting)
            if at >= stop or (full and sum(map(len, waiting)) >= self._piece_bytes):
                break
            upto = min(stop, at + self._piece_bytes)
            waiting.extend(self._read(at, upto))
            at = upto
            if full:
                break
        return at

    def _put(self, waiting: deque[Piece]) -> bool:
        """Whether the kernel took everything."""
        while waiting:
            try:
                sent = self._sock.sendmsg(list(islice(waiting, _PIECES)))
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                raise ConnectionResetError(str(error)) from error
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.popleft())
            if sent:
                waiting[0] = memoryview(waiting[0])[sent:]
        return True

    async def _writable(self) -> bool:
        """False when the peer took nothing for LOOK_S."""
        future = self._loop.create_future()
        self._loop.add_writer(self._sock, _wake, future)
        try:
            await asyncio.wait_for(future, LOOK_S)
        except TimeoutError:
            return False  # the library may have given the connection up meanwhile
        finally:
            self._loop.remove_writer(self._sock)
        return True

    def close(self) -> None:
        """Let go, as soon as no thread uses the socket: its number must not become another connection's before."""
        self._closed = True
        if self._busy is None or self._busy.done():
            self._sock.close()
        else:
            self._busy.add_done_callback(lambda _: self._sock.close())


def straight(transport: asyncio.Transport | None, read: Read, piece_bytes: int) -> Straight | None:
    """None when bytes must go through the library: it still holds some, or they have to be encrypted."""
    if transport is None or transport.is_closing():
        return None
    own = transport.get_extra_info("socket")
    if own is None or transport.get_extra_info("sslcontext") is not None or transport.get_write_buffer_size():
        return None
    sock = socket.socket(own.family, own.type, own.proto, os.dup(own.fileno()))
    sock.setblocking(False)
    return Straight(transport, sock, read, piece_bytes)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
