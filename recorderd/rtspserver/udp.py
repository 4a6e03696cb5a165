"""Media by UDP: port pairs from a bounded range, and one connection's datagrams on their way.

Law: sockets are connected to the peer that asked, so nothing can be sent elsewhere and nothing is heard from elsewhere.
Datagrams leave in short bursts: a large picture sent at once would overrun the receiver's socket. RTP over UDP: RFC
2326 §12.39, RFC 3550 §11 (even port RTP, the next RTCP). Called by the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recorderd.rtspserver.statuses import Refused

BURST_DATAGRAMS = 8
BURST_GAP_S = 0.002  # 45 Mbit/s with full packets: receivers read that, and keep what comes in a burst
_LOW_BYTES = 64 * 1024
_SEND_BUFFER_BYTES = 512 * 1024
_MAX_REPORT_BYTES = 2048
_REPORTS_AT_ONCE = 16
_EPHEMERAL_TRIES = 32


@dataclass(frozen=True, slots=True)
class UdpPair:
    """The two sockets of one track."""

    rtp: socket.socket
    rtcp: socket.socket

    @property
    def ports(self) -> tuple[int, int]:
        return self.rtp.getsockname()[1], self.rtcp.getsockname()[1]

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


class UdpPorts:
    """The range that pairs are taken from, [first, last]; (0, 0): whatever the system gives, at most `pairs`."""

    def __init__(self, first: int = 0, last: int = 0, pairs: int = 1000) -> None:
        self._range = (first + first % 2, last)
        self._left = pairs
        self._next = self._range[0]

    def open(self, local: str, peer: tuple[str, int], client_ports: tuple[int, int]) -> UdpPair:
        """A pair bound to `local`, connected to the peer's ports. Raises Refused (503) when none is free."""
        if self._left <= 0:
            raise Refused(503)
        for port in self._candidates():
            pair = _bind(local, port)
            if pair is None:
                continue
            try:
                pair.rtp.connect((peer[0], client_ports[0]))
                pair.rtcp.connect((peer[0], client_ports[1]))
            except OSError:
                pair.close()
                raise Refused(461) from None
            self._left -= 1
            return pair
        raise Refused(503)

    def close(self, pair: UdpPair) -> None:
        """Give a pair back."""
        pair.close()
        self._left += 1

    def _candidates(self) -> list[int]:
        first, last = self._range
        if not first:
            return [0] * _EPHEMERAL_TRIES
        ports = [port for port in range(first, last, 2)]
        at = (self._next - first) // 2 % max(1, len(ports))
        self._next = ports[(at + 1) % len(ports)] if ports else first  # a port just given back rests longest
        return ports[at:] + ports[:at]


def _bind(local: str, port: int) -> UdpPair | None:
    """None when the pair is not free."""
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    rtp, rtcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    try:
        rtp.bind((local, port))
        taken = rtp.getsockname()[1]
        if taken % 2:
            raise OSError("an odd port")
        rtcp.bind((local, taken + 1))
    except (OSError, OverflowError):
        rtp.close()
        rtcp.close()
        return None
    rtp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    for one in (rtp, rtcp):
        one.setblocking(False)
    return UdpPair(rtp, rtcp)


class UdpMedia:
    """The datagrams of one connection, all tracks in order. `report` takes (channel, data) of what comes back."""

    def __init__(self, ports: UdpPorts, report: Callable[[int, bytes], None]) -> None:
        self._ports = ports
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._pairs: list[UdpPair] = []
        self._sockets: dict[int, socket.socket] = {}
        self._queue: deque[tuple[socket.socket, memoryview]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._drained: list[asyncio.Future[None]] = []
        self.backlog_bytes = 0
        self.unreachable = 0  # datagrams that the peer's host refused or the network could not take

    def add(self, track: int, pair: UdpPair) -> None:
        """Carry channels 2 * track and 2 * track + 1 over this pair."""
        self._pairs.append(pair)
        self._sockets[2 * track], self._sockets[2 * track + 1] = pair.rtp, pair.rtcp
        self._loop.add_reader(pair.rtcp, self._read, pair.rtcp, 2 * track + 1)

    def send(self, parts: Sequence[bytes]) -> None:
        """Whole interleaved packets, as `Outlet.send` takes them; each becomes a datagram."""
        for part in parts:
            view, pos = memoryview(part), 0
            while pos < len(part):
                end = pos + 4 + (part[pos + 2] << 8 | part[pos + 3])
                one = self._sockets.get(part[pos + 1])
                if one is not None:
                    self._queue.append((one, view[pos + 4 : end]))
                    self.backlog_bytes += end - pos - 4
                pos = end
        if self._timer is None:
            self._pump()

    async def drain(self) -> None:
        if self.backlog_bytes > _LOW_BYTES:
            waiting: asyncio.Future[None] = self._loop.create_future()
            self._drained.append(waiting)
            await waiting

    def close(self) -> None:
        """Send what fits at once and let go of the ports."""
        self._pump()
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self.backlog_bytes = 0
        self._wake()
        for pair in self._pairs:
            self._loop.remove_reader(pair.rtcp)
            self._ports.close(pair)
        self._pairs.clear()
        self._sockets.clear()

    def _pump(self) -> None:
        self._timer = None
        for _ in range(min(BURST_DATAGRAMS, len(self._queue))):
            one, data = self._queue[0]
            try:
                one.send(data)
            except BlockingIOError:
                break
            except OSError:  # told by ICMP about an earlier datagram: the viewer is gone, its connection will say so
                self.unreachable += 1
            self._queue.popleft()
            self.backlog_bytes -= len(data)
        if self._queue:
            self._timer = self._loop.call_later(BURST_GAP_S, self._pump)
        if self.backlog_bytes <= _LOW_BYTES:
            self._wake()

    def _wake(self) -> None:
        waiting, self._drained = self._drained, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def _read(self, one: socket.socket, channel: int) -> None:
        for _ in range(_REPORTS_AT_ONCE):
            try:
                data = one.recv(_MAX_REPORT_BYTES)
            except OSError:  # nothing more, or an ICMP error about what we sent
                return
            self._report(channel, data)
