"""A workbench for RTP tests: packets by hand, a receiver with one track, what it gave out."""

from __future__ import annotations

import struct
from functools import partial

from recorderd.core.clock import FakeClock
from recorderd.media.access_unit import AccessUnit, CodecConfig, MediaKind
from recorderd.wire import depay_h264, depay_h265
from recorderd.wire.depay_audio import AacDepacketiser, G711Depacketiser
from recorderd.wire.interleaved import InterleavedReceiver
from recorderd.wire.track import Track, TrackListener, TrackPlan

SSRC = 0x1234


def rtp(
    payload: bytes, seq: int, ts: int = 0, marker: bool = False, pt: int = 96, ssrc: int = SSRC, first: int = 0x80
) -> bytes:
    return struct.pack(">BBHII", first, pt | marker << 7, seq & 0xFFFF, ts & 0xFFFFFFFF, ssrc) + payload


def frame(packet: bytes, channel: int = 0) -> bytes:
    return b"$" + bytes((channel,)) + struct.pack(">H", len(packet)) + packet


def sender_report(ntp_s: int, fraction: int, rtp_ts: int, ssrc: int = SSRC) -> bytes:
    return struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, ntp_s, fraction, rtp_ts & 0xFFFFFFFF, 0, 0)


class Bench:
    """One track behind an InterleavedReceiver, fed through a buffer that is overwritten after every read."""

    def __init__(self, codec: str = "h264", sets: list[bytes] | None = None, config: CodecConfig | None = None) -> None:
        makers = {
            "h264": partial(depay_h264.H264Depacketiser, sets=sets or []),
            "h265": partial(depay_h265.H265Depacketiser, sets=sets or []),
            "g711": partial(G711Depacketiser, config=config),  # type: ignore[arg-type]
            "aac": partial(AacDepacketiser, config=config),  # type: ignore[arg-type]
        }
        head = depay_h265.HEAD if codec == "h265" else depay_h264.HEAD
        kind = MediaKind.VIDEO if codec in ("h264", "h265") else MediaKind.AUDIO
        hz = config.timebase_hz if config else 90_000
        self.clock = FakeClock()
        self.units: list[AccessUnit] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.receiver = InterleavedReceiver()
        listener = TrackListener(lambda _, unit: self.units.append(unit), lambda *event: self.events.append(event))
        self.track = Track(TrackPlan(kind, hz, frozenset((96,)), makers[codec], head), self.clock, listener)
        self.receiver.assign(self.track, 0, 1)
        self._view = memoryview(bytearray(1 << 20))
        self._tail = b""

    def read(self, data: bytes) -> None:
        """One read from the connection."""
        data = self._tail + data
        self._view[: len(data)] = data
        pos = self.receiver.receive(self._view, 0, len(data))
        self._tail = bytes(self._view[pos : len(data)])
        self._view[: len(data)] = b"\xaa" * len(data)

    def feed(self, packets: list[bytes], step: int = 1 << 20) -> Bench:
        """Packets on channel 0, in reads of `step` bytes."""
        data = b"".join(map(frame, packets))
        for at in range(0, len(data), step):
            self.read(data[at : at + step])
        return self

    @property
    def pending(self) -> bytes:
        return self._tail

    @property
    def data(self) -> list[bytes]:
        return [unit.data for unit in self.units]
