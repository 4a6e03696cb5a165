"""One track on its way to one viewer: units to interleaved packets with sequence numbers, and sender reports.

Law: bytes in, bytes out; no clock, no socket. A key picture without parameter sets gets those of its configuration in
front, so that a viewer who joins, or lost a packet, can decode from any key on. Called by the visits.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from recorderd.media.access_unit import Codec, CodecConfig
from recorderd.media.nal import join_units
from recorderd.rtspserver.mount import Track
from recorderd.wire.onvif_replay import EXTENSION_BYTES
from recorderd.wire.pay import has_parameter_sets, unit_payloads
from recorderd.wire.rtp_send import (
    DEFAULT_MAX_PAYLOAD_BYTES,
    RtpTrack,
    SenderCounts,
    goodbye,
    interleaved,
    interleaved_extended,
    interleaved_packet,
    sender_report,
)


@dataclass(slots=True)
class Traffic:
    """What all viewers were sent, for /metrics."""

    bytes: int = 0


_NAL_CODECS = (Codec.H264, Codec.H265)


class TrackSender:
    """`number` is the track's place in the presentation. `refused`: units that their payload format cannot carry."""

    def __init__(self, number: int, track: Track, cname: str) -> None:
        self.config = track.config
        self.seq = secrets.randbits(16)
        self.refused = 0
        self._rtp = RtpTrack(2 * number, track.payload_type, track.ssrc)
        self._cname = cname
        self._packets = self._bytes = 0
        self._report_us: int | None = None

    def fits(self, config: CodecConfig) -> bool:
        """Can units of `config` go out under the description that the viewer has?"""
        return config.codec is self.config.codec and config.timebase_hz == self.config.timebase_hz

    def unit(
        self, config: CodecConfig, data: bytes, timestamp: int, *, key: bool = False, extension: bytes = b""
    ) -> bytes:
        """All packets of one unit, joined; `extension` goes on each of them."""
        if key and config.codec in _NAL_CODECS and not has_parameter_sets(config.codec, data):
            data = join_units(list(config.parameter_sets)) + data
        room = DEFAULT_MAX_PAYLOAD_BYTES - (EXTENSION_BYTES if extension else 0)
        try:
            payloads = unit_payloads(config, data, room)
        except ValueError:
            self.refused += 1
            return b""
        last, first_seq, rtp = len(payloads) - 1, self.seq, self._rtp
        self.seq += len(payloads)
        self._packets += len(payloads)
        self._bytes += sum(len(payload) for payload, _ in payloads)
        if extension:
            return b"".join(
                interleaved_extended(rtp, payload, (first_seq + n, timestamp + ticks), n == last, extension)
                for n, (payload, ticks) in enumerate(payloads)
            )
        return b"".join(
            interleaved_packet(rtp, payload, first_seq + n, timestamp + ticks, n == last)
            for n, (payload, ticks) in enumerate(payloads)
        )

    def report(self, wall_us: int, timestamp: int, every_us: int) -> bytes:
        """A sender report when one is due: at first and every `every_us`; else nothing."""
        if self._report_us is not None and 0 <= wall_us - self._report_us < every_us:
            return b""
        self._report_us = wall_us
        counts = SenderCounts(self._packets, self._bytes)
        return interleaved(
            self._rtp.channel + 1, sender_report(self._rtp.ssrc, wall_us, timestamp, counts, self._cname)
        )

    def report_anew(self) -> None:
        """Wall and RTP time are about to be related anew: the next unit has a report."""
        self._report_us = None

    def bye(self) -> bytes:
        """Nothing more comes."""
        return interleaved(self._rtp.channel + 1, goodbye(self._rtp.ssrc))
