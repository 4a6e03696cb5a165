"""Media time to RTP timestamps and back to wall time, for one track on its way to one viewer.

Law: pure arithmetic; what arrived and when is handed in. A track's RTP time follows its own media clock as long as that
runs on, and is placed anew by wall time where it does not (another connection, a jump). Called by the visits.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.media.access_unit import AccessUnit, TimeQuality

_STEP_US = 2_000_000  # wall and media time apart by more: a clock was set, not a slow drift
_SMOOTHING = 64
_REPLACE_US = 250_000  # recorded media time apart from its time of arrival by more: not the same run


class LiveClock:
    """`base` is the RTP timestamp of the instant `origin_us`, which all tracks of a viewer share."""

    def __init__(self, hz: int, base: int) -> None:
        self._hz = hz
        self._base = base
        self._anchor: tuple[int, int, int] | None = None  # pts, RTP time, wall time
        self._last = (0, 0)  # RTP time, wall time
        self._skew_us = 0

    def stamp(self, pts: int, wall_us: int, origin_us: int, seam: bool) -> tuple[int, int]:
        """(RTP timestamp, smoothed wall time) of a unit shown at `wall_us` by its arrival; `seam`: its media time
        does not continue. The timestamp is not reduced to 32 bits."""
        if self._anchor is None:
            self._anchor = (pts, self._base + (wall_us - origin_us) * self._hz // 1_000_000, wall_us)
        elif seam:
            rtp, before_us = self._last
            self._anchor = (pts, rtp + max(1, (wall_us - before_us) * self._hz // 1_000_000), wall_us)
            self._skew_us = 0
        anchor_pts, anchor_rtp, anchor_us = self._anchor
        predicted_us = anchor_us + (pts - anchor_pts) * 1_000_000 // self._hz + self._skew_us
        error_us = wall_us - predicted_us
        self._skew_us += error_us if abs(error_us) > _STEP_US else error_us // _SMOOTHING
        shown_us = predicted_us if abs(error_us) <= _STEP_US else wall_us
        self._last = (anchor_rtp + pts - anchor_pts, shown_us)
        return self._last


class CameraOffset:
    """From the camera's own UTC to the recorder's, one for all tracks of a viewer: that keeps picture and sound as far
    apart as the camera's sender reports say, and not as the network delivered them."""

    def __init__(self) -> None:
        self._offset_us: int | None = None

    def wall_us(self, unit: AccessUnit) -> int:
        """Recorder UTC at which the unit is shown."""
        arrival_us = unit.recv_us + (unit.pts - unit.dts) * 1_000_000 // unit.config.timebase_hz
        if unit.cam_us is None or unit.cam_quality < TimeQuality.SENDER_REPORT:
            return arrival_us
        if self._offset_us is None or abs(unit.cam_us + self._offset_us - arrival_us) > _STEP_US:
            self._offset_us = arrival_us - unit.cam_us
        return unit.cam_us + self._offset_us


@dataclass(slots=True)
class Passage:
    """Footage time to playing time, one for all tracks of a viewer: at `scale`, without the holes that were skipped.
    `at_us` footage is played at `play_us`; without rate control playing time is footage time since the start."""

    at_us: int
    scale: float
    play_us: int = 0
    number: int = 0  # of the stretch: rises with every hole

    def play(self, time_us: int) -> int:
        """Playing time of a footage time, in microseconds since the PLAY."""
        return self.play_us + int((time_us - self.at_us) / self.scale)

    def jump(self, time_us: int, after_us: int) -> None:
        """A hole was skipped: `time_us` follows right behind what was played at `after_us`."""
        self.at_us, self.play_us, self.number = time_us, after_us, self.number + 1


class RecordedClock:
    """RTP timestamps of one recorded track. `base` belongs to playing time 0."""

    def __init__(self, hz: int, base: int) -> None:
        self._hz = hz
        self._base = base
        self._anchor: tuple[int, int, int] | None = None  # stretch, pts, RTP time

    def stamp(self, pts: int, time_us: int, passage: Passage) -> int:
        """Not reduced to 32 bits. Inside a run media time counts, which knows no jitter of arrival."""
        direct = self._base + passage.play(time_us) * self._hz // 1_000_000
        if self._anchor is not None and self._anchor[0] == passage.number:
            smooth = self._anchor[2] + int((pts - self._anchor[1]) / passage.scale)
            if abs(smooth - direct) <= _REPLACE_US * self._hz // 1_000_000:
                return smooth
        self._anchor = (passage.number, pts, direct)
        return direct
