"""Media as datagrams: a pair of sockets per track, to one receiver or to a group.

Law: reads batches into the shared buffer, framed as on a TCP connection, so that the same loop takes them; no object
per packet but the sender's address. Only datagrams of the camera's address count. Order and loss are `wire.reorder`'s
and the track's. Called by `rtsp_play` and `rtsp_stream`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from functools import partial
from socket import socket

from recorderd.driverapi.base import Host
from recorderd.driverapi.udp import UdpPair, UdpRequest
from recorderd.driverkit.ingest import READ_BUFFER_BYTES, shared_ingest
from recorderd.driverkit.rtsp_connection import RtspConnection
from recorderd.wire.interleaved import InterleavedReceiver
from recorderd.wire.multicast import find_group
from recorderd.wire.reorder import Reorder
from recorderd.wire.rtcp import build_receiver_report
from recorderd.wire.rtsp_client import PlannedTrack
from recorderd.wire.rtsp_message import DOLLAR
from recorderd.wire.sdp import SessionDescription
from recorderd.wire.track import Track

_LARGEST = 65_535
_ROOM = READ_BUFFER_BYTES - 4 - _LARGEST  # a datagram may begin here at the latest
_MAX_DATAGRAMS = 4096  # per socket and turn, so that one flood does not starve the others
_FRAME = struct.Struct(">HH")
_MEDIA = DOLLAR << 8  # channel 0
_PUNCH = struct.pack(">BBHII", 0x80, 0, 0, 0, 0)  # an RTP packet that says nothing
_CNAME = b"recorderd"


Event = Callable[[str, dict[str, object]], None]


class _Leg:
    """The sockets of one track, and what stands behind them."""

    def __init__(self, pair: UdpPair, event: Event) -> None:
        self.pair = pair
        self.receiver = InterleavedReceiver()
        self.order = Reorder(self.receiver.receive, self._lost)
        self.track: Track | None = None
        self.media_to: tuple[str, int] | None = None
        self.control_to: tuple[str, int] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.overflow = 0  # lost packets that the kernel dropped
        self._event = event
        self._dropped = 0  # the kernel's count that was accounted for

    def settle(self) -> None:
        """What the kernel dropped longer ago than packets wait was no part of this source."""
        if self.order.due_us is None:
            self._dropped = self.pair.overflowed()

    def _lost(self, packets: int) -> None:
        ours = min(packets, max(0, self.pair.overflowed() - self._dropped))
        self._dropped += ours
        self.overflow += ours
        if ours and self.track is not None:
            # Told before the unit that carries the loss, so that its hole gets this cause.
            self._event("receive-overflow", {"kind": self.track.kind.value, "packets": ours})


class UdpPath:
    """Implements `MediaPath`. `interface` is the user's choice for multicast, "" for none; `event` is the sink's."""

    def __init__(
        self, connection: RtspConnection, host: Host, description: SessionDescription, interface: str, event: Event
    ) -> None:
        self._peer, self._near = connection.peer, connection.own_address
        self._host = host
        self._description = description
        self._interface = interface
        self._legs: list[_Leg] = []
        self._ingest = shared_ingest()
        self._view = self._ingest.view
        self._loop = asyncio.get_running_loop()
        self._gathered = self._closed = False
        self._bytes = 0
        self._foreign = 0
        self._stranger = ""
        self._event = event

    def open_unicast(self) -> tuple[int, int]:
        """A pair of ports for the next track."""
        leg = _Leg(self._host.open_udp(UdpRequest(self._peer)), self._event)
        self._legs.append(leg)
        return leg.pair.ports

    def assign(self, index: int, track: Track, planned: PlannedTrack) -> None:
        if index >= len(self._legs) or self._legs[index].track is not None or planned.reply is None:
            return  # a group is joined when all of them are known
        leg = self._legs[index]
        if planned.reply.ports is not None:
            leg.media_to, leg.control_to = ((self._peer, port) for port in planned.reply.ports)
        self._start(leg, track)

    def before_play(self, tracks: list[Track], planned: list[PlannedTrack]) -> None:
        """Join the groups; or open the way back through firewalls and address translation."""
        if self._legs:
            self._punch()
            return
        for track, one in zip(tracks, planned, strict=True):
            assert one.reply is not None
            group = find_group(one.reply, one.media, self._description, self._peer)
            request = UdpRequest(
                self._peer, group.address, group.ports, group.source, self._interface, self._near, group.ttl
            )
            leg = _Leg(self._host.open_udp(request), self._event)
            leg.control_to = (group.address, group.ports[1])
            self._legs.append(leg)
            self._start(leg, track)

    def gather(self, tick_us: int) -> None:
        if tick_us:
            self._ingest.tick_us = tick_us
        if self._closed or self._gathered == bool(tick_us):
            return
        for leg in self._legs:
            self._unwatch(leg)
        self._gathered = bool(tick_us)
        for leg in self._legs:
            self._watch(leg)

    def send_report(self, index: int, packet: bytes) -> None:
        leg = self._legs[index]
        leg.settle()
        if leg.control_to is not None:
            _send(leg.pair.control, packet, leg.control_to)

    def stats(self) -> dict[str, int]:
        orders = [leg.order for leg in self._legs]
        return {
            "bytes": self._bytes,
            "foreign_packets": self._foreign,
            "duplicate_packets": sum(one.duplicates for one in orders),
            "late_packets": sum(one.late for one in orders),
            "reordered_packets": sum(one.reordered for one in orders),
            "malformed_packets": sum(one.malformed for one in orders),
            "kernel_drops": sum(leg.overflow for leg in self._legs),
            "receive_buffer_bytes": min((leg.pair.receive_bytes for leg in self._legs), default=0),
        }

    def silence(self) -> str:
        if self._bytes:
            return ""
        if self._stranger:
            return f"{self._foreign} UDP packets came from {self._stranger}, which is not the camera, and none from it"
        return "not one UDP packet came: a firewall or address translation may be in the way"

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for leg in self._legs:
            self._unwatch(leg)
            if leg.track is not None:
                self._read_media(leg)  # what came before the goodbye
            leg.order.flush()
            leg.pair.close()
            if leg.timer is not None:
                leg.timer.cancel()

    def _start(self, leg: _Leg, track: Track) -> None:
        leg.track = track
        leg.receiver.assign(track, 0, 1)
        self._watch(leg)

    def _punch(self) -> None:
        report = build_receiver_report(0, None, _CNAME)
        for leg in self._legs:
            if leg.media_to is not None and leg.control_to is not None:
                _send(leg.pair.media, _PUNCH, leg.media_to)
                _send(leg.pair.control, report, leg.control_to)

    def _readers(self, leg: _Leg) -> tuple[tuple[socket, Callable[[], None]], ...]:
        return (
            (leg.pair.media, partial(self._read_media, leg)),
            (leg.pair.control, partial(self._read_control, leg)),
        )

    def _watch(self, leg: _Leg) -> None:
        if leg.track is None:
            return
        for one, read in self._readers(leg):
            if self._gathered:
                self._ingest.gather(one.fileno(), read)
            else:
                self._loop.add_reader(one.fileno(), read)

    def _unwatch(self, leg: _Leg) -> None:
        for one in (leg.pair.media, leg.pair.control):
            if self._gathered:
                self._ingest.release(one.fileno())
            else:
                self._loop.remove_reader(one.fileno())

    def _read_media(self, leg: _Leg) -> None:
        """Everything the kernel has, in as few batches as fit into the buffer."""
        view, receive, senders = self._view, leg.pair.media.recvfrom_into, leg.pair.senders
        now_us, pos = self._host.clock.monotonic_us(), 0
        for _ in range(_MAX_DATAGRAMS):
            try:
                size, sender = receive(view[pos + 4 :])
            except OSError:  # nothing more, or an error that an earlier report of ours came back with
                break
            if sender[0] not in senders:
                self._foreign += 1
                self._stranger = sender[0]
                continue
            _FRAME.pack_into(view, pos, _MEDIA, size)
            pos += 4 + size
            if pos > _ROOM:
                self._take(leg, pos, now_us)
                pos = 0
        self._take(leg, pos, now_us)

    def _take(self, leg: _Leg, end: int, now_us: int) -> None:
        self._bytes += end
        leg.order.batch(self._view, 0, end, now_us)
        if leg.timer is None and not self._closed:
            self._arm(leg, now_us)

    def _arm(self, leg: _Leg, now_us: int) -> None:
        due_us = leg.order.due_us
        if due_us is not None:
            leg.timer = self._loop.call_later(max(0, due_us - now_us) / 1e6, self._due, leg)

    def _due(self, leg: _Leg) -> None:
        now_us, leg.timer = self._host.clock.monotonic_us(), None
        leg.order.release(now_us)
        self._arm(leg, now_us)

    def _read_control(self, leg: _Leg) -> None:
        for _ in range(_MAX_DATAGRAMS):
            try:
                size, sender = leg.pair.control.recvfrom_into(self._view)
            except OSError:
                return
            if sender[0] not in leg.pair.senders:
                self._foreign += 1
                continue
            self._bytes += size
            leg.control_to = leg.control_to or sender[:2]
            if leg.track is not None:
                leg.track.control(self._view, 0, size)


def _send(one: socket, packet: bytes, to: tuple[str, int]) -> None:
    try:
        one.sendto(packet, to)
    except OSError:
        pass  # a report is a courtesy; a full buffer or an unreachable port does no harm
