"""Metadata on its way into a track: placed in time by when it arrived.

Law: pure. A metadata stream's RTP time has no meaning (ONVIF Streaming §5.1.2.1.1): some cameras stamp packets, some
documents, some nothing. The camera's own times stand inside the documents and are left alone. Called once per document.
"""

from __future__ import annotations

from recorderd.media.access_unit import AccessUnit, CodecConfig


def by_arrival(unit: AccessUnit) -> AccessUnit:
    """The same document (the very same bytes) with media time counted by the recorder's monotonic clock, so that a
    pause of the camera is a pause on the track."""
    ticks = _ticks(unit.recv_mono_us, unit.config)
    return AccessUnit(
        unit.data, ticks, ticks, unit.type, unit.recv_us, unit.recv_mono_us, unit.config,
        unit.cam_us, unit.cam_quality, unit.lost_packets, unit.damaged,
    )  # fmt: skip


def _ticks(mono_us: int, config: CodecConfig) -> int:
    return mono_us * config.timebase_hz // 1_000_000
