"""RTP reception of one track: sequence numbers, sources, times; packets in, access units out.

Law: sans-IO; the clock is asked when the first byte of a unit is met. Never raises on bytes: what cannot be
used is counted. Loss is counted exactly once, on the next unit of the track. Called by `interleaved`. RFC
3550
§5.1, §6, appendix A.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from recorderd.core.clock import Clock
from recorderd.media.access_unit import AccessUnit, MediaKind, TimeQuality, UnitType
from recorderd.media.timeline import (
    CameraClock,
    DecodeClock,
    DriftEstimator,
    JumpDetector,
    Unwrapper,
    ntp_to_utc_us,
)
from recorderd.wire.depay import Depacketiser, Emit, ReadsExtensions
from recorderd.wire.rtcp import Bye, ReportBlock, SenderReport, is_rtcp, parse_rtcp
from recorderd.wire.rtsp_message import Buffer

RTP_HEADER = struct.Struct(">HHII")
MAX_GAP = 0x4000  # a larger jump of sequence numbers is a restarted source, not loss
LATE_WINDOW = 0x200  # packets this far back are repetitions
_MARKER = 0x0080
_PLAIN = 0x8000  # version 2, no padding, extension, sources
_PLAY_RANGE_SANE_S = 30
# Looked up once: a member costs an enum's own lookup, and each is met for every picture of every camera.
_NO_CLAIM, _DELTA, _SOUND = TimeQuality.NONE, UnitType.DELTA, UnitType.AUDIO


@dataclass(slots=True)
class TrackCounters:
    """`foreign`: packets of unknown payload types; `restarts`: sources that began anew."""

    packets: int = 0
    lost_packets: int = 0
    duplicates: int = 0
    malformed: int = 0
    foreign: int = 0
    restarts: int = 0
    units: int = 0
    damaged_units: int = 0
    byes: int = 0


@dataclass(frozen=True, slots=True)
class TrackListener:
    """Who hears of a track: `unit(kind, unit)` per access unit, `event(code, params)` rarely."""

    unit: Callable[[MediaKind, AccessUnit], None]
    event: Callable[[str, dict[str, object]], None]


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """How to receive a track. `head`: structure of `$` frame, RTP header and payload header of a fragment as
    four values. `leads`: the track whose clock speaks for the stream in events."""

    kind: MediaKind
    clock_hz: int
    payload_types: frozenset[int]
    make_depacketiser: Callable[[Emit], Depacketiser]
    head: str
    leads: bool = True


class Track:
    """State of one track; a camera's tracks share nothing but the clock."""

    def __init__(self, plan: TrackPlan, clock: Clock, listener: TrackListener) -> None:
        self.plan = plan
        self.kind = plan.kind
        self.counters = TrackCounters()
        self.depay = plan.make_depacketiser(self._emit)
        self.flags = _PLAIN | min(plan.payload_types)  # of an ordinary packet without marker
        self.sequence: int | None = None  # expected next
        self.ssrc = 0
        self.timestamp = -1
        self.run_size = 0  # of the last run of middle fragments, and how to read them: `interleaved`'s
        self.run_struct = RTP_HEADER
        self.last_unit_mono_us = 0
        self.last_key_mono_us = 0
        self.gop_us = 0
        self._clock = clock
        self._listener = listener
        self._first_utc_us = self._first_mono_us = 0
        self._lost = 0
        self._discontinuity = False
        self._config = self.depay.config
        self._unwrapper = Unwrapper()
        self._camera = CameraClock(plan.clock_hz)
        self._jumps = JumpDetector()
        self._drift = DriftEstimator() if plan.leads else None
        self._decode = DecodeClock(self._config.reorder, self._config.frame_ticks)
        self._report = _ReportState()
        self._play_range: tuple[int, int] | None = None
        self._reads_extensions = isinstance(self.depay, ReadsExtensions)

    def packet(self, buffer: memoryview, pos: int, end: int) -> None:
        """One RTP packet (or RTCP sent on this channel)."""
        if end - pos < 12:
            self.counters.malformed += 1
            return
        flags, sequence, timestamp, ssrc = RTP_HEADER.unpack_from(buffer, pos)
        pos += 12
        if flags & ~_MARKER != self.flags:
            pos, end = self._uncommon(buffer, pos, end, flags)
            if end < 0:
                return
        if (sequence != self.sequence or ssrc != self.ssrc) and not self._resequence(sequence, ssrc, timestamp):
            return
        self.sequence = (sequence + 1) & 0xFFFF
        self.counters.packets += 1
        depay = self.depay
        if timestamp != self.timestamp:
            depay.flush()
            self.timestamp = timestamp
        if not depay.parts:
            self._first_utc_us, self._first_mono_us = self._clock.utc_us(), self._clock.monotonic_us()
        depay.feed(buffer, pos, end)
        if flags & _MARKER:
            depay.marker()

    def control(self, buffer: Buffer, pos: int, end: int) -> None:
        """One RTCP packet."""
        for item in parse_rtcp(buffer, pos, end):
            if isinstance(item, SenderReport):
                self._sender_report(item)
            elif isinstance(item, Bye):
                self.counters.byes += 1

    def play_range(self, rtptime: int, utc_us: int) -> None:
        """PLAY answered that media time `rtptime` is UTC `utc_us`; believed when the first packet agrees."""
        self._play_range = (rtptime, utc_us)

    def gap_unknown(self) -> None:
        """Bytes of the connection were skipped to find the next packet."""
        self.depay.gap(0)

    def report_block(self) -> ReportBlock | None:
        """What to tell the sender, or None before its first packet."""
        if self.sequence is None:
            return None
        return self._report.block(self.ssrc, self.sequence, self.counters, self._clock.monotonic_us())

    def take_loss(self) -> int:
        """Lost packets that no unit carried; for the end of a stream."""
        lost, self._lost = self._lost, 0
        return lost

    def _uncommon(self, buffer: memoryview, pos: int, end: int, flags: int) -> tuple[int, int]:
        """Payload bounds of a packet with padding, sources or extension; end -1: not for this track."""
        if flags >> 14 != 2:
            self.counters.malformed += 1
            return pos, -1
        if flags & 0x7F not in self.plan.payload_types:
            if is_rtcp(buffer, pos - 12, end):
                self.control(buffer, pos - 12, end)
            else:
                self.counters.foreign += 1
            return pos, -1
        pos += 4 * (flags >> 8 & 0x0F)
        if flags & 0x1000:
            if end - pos < 4:
                self.counters.malformed += 1
                return pos, -1
            start = pos
            pos += 4 + 4 * (buffer[pos + 2] << 8 | buffer[pos + 3])
            if self._reads_extensions and pos <= end:
                self._extension(buffer[start:pos], pos)
        if flags & 0x2000 and end > pos:
            end -= buffer[end - 1]
        if end < pos:
            self.counters.malformed += 1
            return pos, -1
        return pos, end

    def _extension(self, data: memoryview, payload_at: int) -> None:
        depay = self.depay
        if isinstance(depay, ReadsExtensions):
            depay.extension(data[0] << 8 | data[1], bytes(data[4:]), payload_at)

    def _resequence(self, sequence: int, ssrc: int, timestamp: int) -> bool:
        """Sequence number or source is not the expected one. False: a repetition, drop the packet."""
        if self.sequence is None:
            self.ssrc = ssrc
            return True
        ahead = (sequence - self.sequence) & 0xFFFF
        if ssrc != self.ssrc or MAX_GAP <= ahead < 0x10000 - LATE_WINDOW:
            self.counters.restarts += 1
            self.depay.gap(0)
            self.depay.flush()
            self.ssrc, self._discontinuity = ssrc, True
            self._jumps = JumpDetector()
            self._new_run()
            return True
        if ahead >= MAX_GAP:
            self.counters.duplicates += 1
            return False
        self.counters.lost_packets += ahead
        self.depay.gap(ahead)
        if timestamp != self.timestamp:
            # The loss reaches past the open unit: that one goes out damaged, the count belongs to the next, which
            # knows by its time whether whole units are missing in front of it.
            self.depay.flush()
        self._lost += ahead
        return True

    def _emit(self, data: bytes, kind: UnitType, damaged: bool, ticks_after: int) -> None:
        mono_us = self._first_mono_us
        pts = self._unwrapper.unwrap((self.timestamp + ticks_after) & 0xFFFFFFFF)
        if self._play_range is not None:
            self._check_play_range(pts)
        clock_hz = self.plan.clock_hz
        if not ticks_after:
            self._report.arrived(mono_us * clock_hz // 1_000_000 - pts)
        media_us = pts * 1_000_000 // clock_hz
        step_us = self._jumps.observe(media_us, mono_us)
        if step_us is not None:
            self._stepped(step_us)
        elif self._drift is not None:
            ppm = self._drift.observe(media_us, mono_us)
            if ppm is not None:
                self._listener.event("clock-drift", {"ppm": ppm})
        config = self.depay.config
        if config is not self._config:
            self._changed_config()
        cam_us, quality, pair = None, _NO_CLAIM, self._camera.pair
        if pair is not None:
            cam_us, quality = pair.utc_us + (pts - pair.pts) * 1_000_000 // clock_hz, pair.quality
        unit = AccessUnit(
            data, pts, self._decode.decode_time(pts), kind, self._first_utc_us, mono_us, config,
            cam_us, quality, self._lost, damaged, self._discontinuity,
        )  # fmt: skip
        self._lost, self._discontinuity = 0, False
        counters = self.counters
        counters.units += 1
        counters.damaged_units += damaged
        self.last_unit_mono_us = mono_us
        if kind is not _DELTA and kind is not _SOUND:
            if self.last_key_mono_us:
                self.gop_us = mono_us - self.last_key_mono_us
            self.last_key_mono_us = mono_us
        self._listener.unit(self.kind, unit)

    def _stepped(self, step_us: int) -> None:
        self._discontinuity = True
        self._camera.media_jumped()
        self._new_run()
        if self.plan.leads:
            self._listener.event("clock-step", {"delta_us": step_us})

    def _new_run(self) -> None:
        self._report.restart()
        config = self.depay.config
        self._decode = DecodeClock(config.reorder, config.frame_ticks)
        if self._drift is not None:
            self._drift.restart()

    def _changed_config(self) -> None:
        old, config = self._config, self.depay.config
        self._config = config
        if (old.reorder, old.frame_ticks) != (config.reorder, config.frame_ticks):
            self._decode = DecodeClock(config.reorder, config.frame_ticks, self._decode.last)
        if self.counters.units:
            self._listener.event(
                "config-changed",
                {
                    "codec": config.codec.value,
                    "width": config.width,
                    "height": config.height,
                    "old_width": old.width,
                    "old_height": old.height,
                },
            )

    def _sender_report(self, report: SenderReport) -> None:
        pts = self._unwrapper.near(report.rtp_timestamp)
        utc_us = ntp_to_utc_us(report.ntp_s, report.ntp_fraction)
        if pts is None or utc_us is None:
            return
        if report.ssrc == self.ssrc:
            self._report.heard(report, self._clock.monotonic_us())
        else:
            latest = self._unwrapper.near(self.timestamp & 0xFFFFFFFF)
            if latest is None or abs(pts - latest) > 60 * self.plan.clock_hz:
                return  # another source's report; cameras that name a wrong source still pass
        step_us = self._camera.report(pts, utc_us)
        if step_us is not None:
            self._discontinuity = True
            if self.plan.leads:
                self._listener.event("clock-step", {"delta_us": step_us})

    def _check_play_range(self, pts: int) -> None:
        rtptime, utc_us = self._play_range or (0, 0)
        self._play_range = None
        start = self._unwrapper.near(rtptime)
        if start is not None and abs(pts - start) <= _PLAY_RANGE_SANE_S * self.plan.clock_hz:
            self._camera.play_range(start, utc_us)


class _ReportState:
    """Numbers of RFC 3550 appendix A that only receiver reports need."""

    def __init__(self) -> None:
        self._cycles = 0
        self._highest = 0
        self._before = (0, 0)  # packets and lost at the last report
        self._last_sr = 0
        self._heard_us = 0
        self._transit: int | None = None
        self._jitter = 0.0  # ticks

    def arrived(self, transit: int) -> None:
        """A unit's first packet came `transit` ticks after its media time, from any origin. RFC 3550 A.8, taken
        between units: what lies between the packets of one picture is the sender's pacing, not the network's."""
        if self._transit is not None:
            self._jitter += (abs(transit - self._transit) - self._jitter) / 16
        self._transit = transit

    def restart(self) -> None:
        """Another source or a jump of its clock: transit times before and after do not compare."""
        self._transit = None

    def heard(self, report: SenderReport, mono_us: int) -> None:
        self._last_sr = (report.ntp_s & 0xFFFF) << 16 | report.ntp_fraction >> 16
        self._heard_us = mono_us

    def block(self, ssrc: int, expected: int, counters: TrackCounters, mono_us: int) -> ReportBlock:
        highest = (expected - 1) & 0xFFFF
        if highest < self._highest and self._highest - highest > 0x8000:
            self._cycles += 0x10000
        self._highest = highest
        packets, lost = counters.packets - self._before[0], counters.lost_packets - self._before[1]
        self._before = (counters.packets, counters.lost_packets)
        fraction = min(255, lost * 256 // (packets + lost)) if packets + lost > 0 else 0
        since = (mono_us - self._heard_us) * 65536 // 1_000_000 if self._last_sr else 0
        return ReportBlock(
            ssrc, fraction, counters.lost_packets, self._cycles + highest, round(self._jitter), self._last_sr, since
        )
