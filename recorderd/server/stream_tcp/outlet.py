"""What goes out on one socket.

Law: never waits, never copies: what the kernel does not take at once is kept by reference and goes out when the socket
is writable again. Whoever sends much asks `clear` first, so that at most one media message waits here. Loop thread
only. Called by `connection`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from collections.abc import Callable

_PIECES = 64  # given to the kernel in one call

Piece = bytes | memoryview


class Outlet:
    """Writes to a non-blocking socket. `ready` is called when all went out; `lost` once when the peer has gone."""

    def __init__(self, sock: socket.socket, ready: Callable[[], None], lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._ready, self._lost = ready, lost
        self._waiting: deque[Piece] = deque()
        self._closed = False
        self._sendmsg = sock.sendmsg
        self.clear = True  # nothing waits
        self.sent_bytes = 0

    def send(self, *pieces: Piece) -> None:
        """One message, head first. After the peer has gone it is dropped."""
        if self._closed:
            return
        if not self.clear:
            self._waiting.extend(pieces)
            return
        try:
            sent = self._sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._fail()
            return
        self.sent_bytes += sent
        if sent != sum(map(len, pieces)):
            self._keep(pieces, sent)

    def send_pair(self, front: bytes, payload: bytes, size: int) -> None:
        """The same for a live unit, while `clear`: `size` is the length of both."""
        try:
            sent = self._sendmsg((front, payload))
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._fail()
            return
        self.sent_bytes += sent
        if sent != size:
            self._keep((front, payload), sent)

    def _keep(self, pieces: tuple[Piece, ...], sent: int) -> None:
        self._waiting.extend(pieces)
        self._drop_sent(sent)
        self.clear = False
        self._loop.add_writer(self._sock, self._write)

    def close(self) -> None:
        """Forget what waits; idempotent."""
        if not self.clear:
            self._loop.remove_writer(self._sock)
        self._closed = True
        self._waiting.clear()

    def _write(self) -> None:
        try:
            sent = self._sendmsg(list(itertools.islice(self._waiting, _PIECES)))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._fail()
            return
        self.sent_bytes += sent
        self._drop_sent(sent)
        if not self._waiting:
            self.clear = True
            self._loop.remove_writer(self._sock)
            self._ready()

    def _drop_sent(self, count: int) -> None:
        waiting = self._waiting
        while waiting and count >= len(waiting[0]):
            count -= len(waiting.popleft())
        if count:
            waiting[0] = memoryview(waiting[0])[count:]

    def _fail(self) -> None:
        self.close()
        self.clear = True
        self._loop.call_soon(self._lost)
