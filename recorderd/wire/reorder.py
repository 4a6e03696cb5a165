"""Datagrams of one RTP source put back in order (RFC 3550 §6.4.1, appendix A.1), before anybody sees a gap.

Law: sans-IO; time comes in as an argument. Packets that come in order pass in one piece, without a copy and without
an object per packet; one that is ahead is copied and waits at most `WAIT_US`, or until `MAX_HELD` wait, then the gap
in front of it is given up: the track behind counts that loss. Repetitions and packets that come after their gap was
given up are counted here and dropped, so nothing is counted twice. Called by the driver shell.

A packet is framed as on a TCP connection (`$`, channel, 16-bit length), so that one loop, `interleaved`, reads both.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

WAIT_US = 200_000
MAX_HELD = 512
_MAX_AHEAD = 0x1000  # further ahead is a source that began anew
_MAX_BEHIND = 0x1000
_REMEMBERED = 1024  # numbers given up that are told from repetitions
_NUMBERED = struct.Struct(">2xH2xH")  # frame length, sequence
_PACKET = struct.Struct(">5xBH4xI")  # marker and type, sequence, source
_SHORTEST = 4 + 12
_RTCP_TYPES = range(200, 205)

Deliver = Callable[[memoryview, int, int], object]


class Reorder:
    """Order of one source. `deliver(buffer, pos, end)` takes framed packets in order."""

    def __init__(self, deliver: Deliver, lost: Callable[[int], None] = lambda packets: None) -> None:
        self.duplicates = 0
        self.late = 0  # came after they were given up
        self.malformed = 0
        self.reordered = 0  # waited and fitted in
        self._deliver = deliver
        self._lost = lost
        self._expected = -1  # nothing came yet
        self._ssrc = 0
        self._held: dict[int, tuple[int, bytes]] = {}  # sequence: arrival, framed packet
        self._given_up: dict[int, None] = {}

    @property
    def due_us(self) -> int | None:
        """When `release` must be called at the latest, or None while nothing waits."""
        return min(arrival for arrival, _ in self._held.values()) + WAIT_US if self._held else None

    def batch(self, buffer: memoryview, pos: int, end: int, now_us: int) -> None:
        """Take the framed packets in `buffer[pos:end]`, all whole, in the order they arrived."""
        start, expected = pos, self._expected
        unpack = _NUMBERED.unpack_from
        while end - pos >= _SHORTEST:
            size, sequence = unpack(buffer, pos)
            stop = pos + 4 + size
            if sequence != expected or self._held or size < 12:
                if start < pos:
                    self._expected = expected
                    self._deliver(buffer, start, pos)
                self._odd(buffer, pos, stop, now_us)
                start, expected = stop, self._expected
            else:
                expected = (expected + 1) & 0xFFFF
            pos = stop
        self._expected = expected
        if start < pos:
            self._deliver(buffer, start, pos)
        self.malformed += pos < end

    def release(self, now_us: int) -> None:
        """Give up every gap whose packets waited long enough."""
        while self._held:
            due_us = self.due_us
            if due_us is None or due_us > now_us:
                return
            self._give_up()

    def flush(self) -> None:
        """The end: give out everything that waits."""
        while self._held:
            self._give_up()

    def _odd(self, buffer: memoryview, pos: int, stop: int, now_us: int) -> None:
        """A packet that is not simply the next."""
        if stop - pos < _SHORTEST:
            self.malformed += 1
            return
        kind, sequence, ssrc = _PACKET.unpack_from(buffer, pos)
        if kind in _RTCP_TYPES:
            self._deliver(buffer, pos, stop)  # on the wrong port, and of no place in the order
            return
        if self._expected < 0 or ssrc != self._ssrc:
            self._restart(sequence, ssrc, (buffer, pos, stop))
            return
        ahead = (sequence - self._expected) & 0xFFFF
        if ahead == 0:
            self._next(buffer, pos, stop)
            self._drain()
        elif ahead < _MAX_AHEAD:
            self._hold(sequence, now_us, bytes(buffer[pos:stop]))
        elif ahead >= 0x10000 - _MAX_BEHIND:
            late = sequence in self._given_up
            self.late += late
            self.duplicates += not late
        else:
            self._restart(sequence, ssrc, (buffer, pos, stop))

    def _restart(self, sequence: int, ssrc: int, packet: tuple[memoryview, int, int]) -> None:
        """The first packet, or the first of a source that began anew."""
        self.flush()
        self._given_up.clear()
        self._expected, self._ssrc = (sequence + 1) & 0xFFFF, ssrc
        self._deliver(*packet)

    def _hold(self, sequence: int, now_us: int, framed: bytes) -> None:
        if sequence in self._held:
            self.duplicates += 1
            return
        self._held[sequence] = (now_us, framed)
        if len(self._held) > MAX_HELD:
            self._give_up()

    def _next(self, buffer: memoryview, pos: int, stop: int) -> None:
        self._expected = (self._expected + 1) & 0xFFFF
        self._deliver(buffer, pos, stop)

    def _drain(self) -> None:
        """Packets that waited for what is there now."""
        while self._expected in self._held:
            _, framed = self._held.pop(self._expected)
            self.reordered += 1
            self._next(memoryview(framed), 0, len(framed))

    def _give_up(self) -> None:
        """The gap in front of the nearest packet that waits is loss."""
        expected = self._expected
        gap = min((sequence - expected) & 0xFFFF for sequence in self._held)
        for number in range(expected, expected + min(gap, _REMEMBERED)):
            self._given_up[number & 0xFFFF] = None
        while len(self._given_up) > _REMEMBERED:
            del self._given_up[next(iter(self._given_up))]
        self._expected = (expected + gap) & 0xFFFF
        self._lost(gap)
        self._drain()
