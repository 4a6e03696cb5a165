"""A track's time: unwrapped media clock, decode times, the camera's UTC, steps and drift.

Law: pure arithmetic on what arrived and when; never reads a clock, never rewrites a timestamp. A jump is
flagged
and told, the values stay what the camera sent. Called by RTP reception, once per access unit or report.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

from recorderd.media.access_unit import TimeQuality

_WRAP = 1 << 32
_HALF = 1 << 31
NTP_EPOCH_S = 2_208_988_800  # 1900-01-01 to 1970-01-01

JUMP_MIN_US = 1_000_000
STEADY_US = 100_000  # so much later or earlier than media time says is the network
REPORT_AGREES_US = 500_000
DRIFT_SURE_PPM = 1_000
_WINDOW_US = 1_000_000
_MIN_WINDOWS = 8
_MAX_WINDOWS = 60
_REFIT_WINDOWS = 8  # a full line of windows changes slowly: how often it is fitted
_MAX_RESIDUAL_US = 15_000
_MAX_LEARNED_DEPTH = 4
_GUESSED_FRAME_TICKS = 3_600  # 25 pictures a second at 90 kHz, when no header says


class Unwrapper:
    """32-bit RTP timestamps to a count that never wraps; starts one wrap above zero, so that decode times in
    front of the first picture stay positive."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, timestamp: int) -> int:
        """The value nearest to the one before that equals `timestamp` modulo 2**32."""
        if self._last is None:
            self._last = _WRAP + timestamp
        else:
            self._last += ((timestamp - self._last + _HALF) & (_WRAP - 1)) - _HALF
        return self._last

    def near(self, timestamp: int) -> int | None:
        """Unwrap without moving on, e.g. for a sender report; None before the first packet."""
        if self._last is None:
            return None
        return self._last + ((timestamp - self._last + _HALF) & (_WRAP - 1)) - _HALF


class DecodeClock:
    """Decode times from presentation times in decode order.

    The n-th decode time is the n-th smallest presentation time shifted by the reorder depth, which is what an
    encoder with a fixed frame rate had. Depth 0: dts = pts. A stream that reorders deeper than it says makes
    the depth grow. dts never decreases, nor falls below `floor`, the last dts of the run so far.
    """

    __slots__ = ("_depth", "_heap", "_last", "_lead", "_ticks")

    def __init__(self, depth: int = 0, frame_ticks: int = 0, floor: int | None = None) -> None:
        self._depth = depth
        self._ticks = frame_ticks or _GUESSED_FRAME_TICKS
        self._heap: list[int] = []
        self._last = floor
        self._lead: int | None = None

    @property
    def last(self) -> int | None:
        """The dts given last, or the floor."""
        return self._last

    def decode_time(self, pts: int) -> int:
        """dts of the next access unit in decode order."""
        if not self._depth and (self._last is None or pts >= self._last):
            self._last = pts
            return pts
        if self._last is not None and pts < self._last and self._depth < _MAX_LEARNED_DEPTH:
            self._depth += 1
        heapq.heappush(self._heap, pts)
        if len(self._heap) > self._depth:
            dts = heapq.heappop(self._heap)
        else:
            # The first pictures of a run: count back from the first, which is output first.
            if self._lead is None:
                self._lead = pts - self._depth * self._ticks
            dts = self._lead
            self._lead += self._ticks
        if self._last is not None and dts < self._last:
            dts = self._last
        self._last = dts
        return dts


@dataclass(frozen=True, slots=True)
class UtcPair:
    """The camera's claim: media time `pts` was UTC `utc_us`."""

    pts: int
    utc_us: int
    quality: TimeQuality


class CameraClock:
    """Media time to the camera's own UTC, from PLAY Range and sender reports.

    A report that disagrees by more than 500 ms is believed at once when media time jumped too, else when a
    second one agrees with it: cameras send single wrong reports.
    """

    def __init__(self, clock_hz: int) -> None:
        self.pair: UtcPair | None = None  # what holds now; None while the camera never said
        self._hz = clock_hz
        self._suspect: UtcPair | None = None
        self._media_jumped = False

    @property
    def quality(self) -> TimeQuality:
        return self.pair.quality if self.pair is not None else TimeQuality.NONE

    def utc_us(self, pts: int) -> int | None:
        """The camera's UTC at `pts`, or None while it never said."""
        pair = self.pair
        return None if pair is None else pair.utc_us + (pts - pair.pts) * 1_000_000 // self._hz

    def play_range(self, pts: int, utc_us: int) -> None:
        """PLAY answered with Range: clock= and rtptime: known before any report."""
        self.pair = UtcPair(pts, utc_us, TimeQuality.PLAY_RANGE)
        self._suspect = None

    def media_jumped(self) -> None:
        """Media time jumped: the next report may disagree with the old mapping and be right."""
        self._media_jumped = True

    def report(self, pts: int, utc_us: int) -> int | None:
        """Take a sender report; gives the step in microseconds when the camera's UTC was found to have
        jumped against its own media clock."""
        claimed = self.utc_us(pts)
        pair = UtcPair(pts, utc_us, TimeQuality.SENDER_REPORT)
        if claimed is None or self._media_jumped:
            self._adopt(pair)
            return None
        if abs(utc_us - claimed) <= REPORT_AGREES_US:
            self._adopt(UtcPair(pts, utc_us, max(self.quality, TimeQuality.SENDER_REPORT)))
            return None
        suspect = self._suspect
        if suspect is not None:
            expected = suspect.utc_us + (pts - suspect.pts) * 1_000_000 // self._hz
            if abs(utc_us - expected) <= REPORT_AGREES_US:
                self._adopt(pair)
                return utc_us - claimed
        self._suspect = pair
        return None

    def _adopt(self, pair: UtcPair) -> None:
        self.pair, self._suspect, self._media_jumped = pair, None, False


class JumpDetector:
    """Tells a step of the media clock from a late network.

    A stalled network delays arrival while media time goes on; packets dropped by the camera move media time
    to where arrival already is. Only media time that moved and does not come back to its old distance from
    arrival is a step.
    """

    __slots__ = ("_base_us", "_last_offset_us", "_last_us", "_typical_us")

    def __init__(self) -> None:
        self._last_us: int | None = None
        self._last_offset_us = 0
        self._base_us = 0  # media minus arrival at the least delay seen
        self._typical_us = 40_000.0

    def observe(self, media_us: int, mono_us: int) -> int | None:
        """Take one access unit; gives the step in microseconds, or None."""
        offset_us = media_us - mono_us
        last_us, self._last_us = self._last_us, media_us
        before_us, self._last_offset_us = self._last_offset_us, offset_us
        if last_us is None:
            self._base_us = offset_us
            return None
        moved_us = media_us - last_us
        if -JUMP_MIN_US < moved_us < JUMP_MIN_US:
            self._typical_us += (moved_us - self._typical_us) / 16
            self._follow(offset_us, moved_us)
            return None
        limit_us = max(JUMP_MIN_US, 3 * self._typical_us)
        step_us = offset_us - self._base_us
        if abs(moved_us) <= limit_us:
            self._typical_us += (moved_us - self._typical_us) / 16
        if abs(step_us) <= limit_us:
            if abs(offset_us - before_us) <= STEADY_US + abs(moved_us) // 100:
                self._follow(offset_us, moved_us)  # a slow camera: both clocks went on alike
            return None
        self._base_us = offset_us
        return step_us

    def _follow(self, offset_us: int, moved_us: int) -> None:
        """The base follows less delay at once and clock drift slowly."""
        if offset_us > self._base_us:
            self._base_us = offset_us
        else:
            self._base_us -= min(self._base_us - offset_us, abs(moved_us) // 100)


class DriftEstimator:
    """Rate of the media clock against arrival, in parts per million.

    Per second the unit with the least delay counts; a line through those is sure when it lies at least three
    standard errors above the limit and fits within 15 ms: a filling network buffer bends, a clock does not.
    """

    __slots__ = ("_best", "_origin", "_points", "_since_fit", "_told_ppm", "_window_end_us")

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=_MAX_WINDOWS)  # (s, us) since the first
        self._origin = self._best = (0, 0)  # (arrival, lead) in us
        self._window_end_us = 0
        self._told_ppm = 0.0
        self._since_fit = 0

    def restart(self) -> None:
        """Media time jumped: measure anew; what was told stays told."""
        self._points.clear()
        self._window_end_us = 0

    def observe(self, media_us: int, mono_us: int) -> int | None:
        """Take one access unit; gives the drift in ppm when it is sure and news."""
        lead_us = media_us - mono_us
        if mono_us < self._window_end_us:
            if lead_us > self._best[1]:
                self._best = (mono_us, lead_us)
            return None
        news = self._close_window() if self._window_end_us else None
        self._window_end_us = mono_us + _WINDOW_US
        self._best = (mono_us, lead_us)
        return news

    def _close_window(self) -> int | None:
        if not self._points:
            self._origin = self._best
        mono_us, lead_us = self._best
        self._points.append(((mono_us - self._origin[0]) / 1e6, float(lead_us - self._origin[1])))
        self._since_fit += 1
        count = len(self._points)
        if count < _MIN_WINDOWS or (count == _MAX_WINDOWS and self._since_fit < _REFIT_WINDOWS):
            return None
        self._since_fit = 0
        slope_ppm, error_ppm, residual_us = self._fit()
        sure = abs(slope_ppm) - 3 * error_ppm > DRIFT_SURE_PPM and residual_us < _MAX_RESIDUAL_US
        news = abs(slope_ppm - self._told_ppm) > abs(self._told_ppm) / 2
        if not sure or not news:
            return None
        self._told_ppm = slope_ppm
        return round(slope_ppm)

    def _fit(self) -> tuple[float, float, float]:
        """(slope, its standard error, standard deviation of the residuals); slope in us/s = ppm."""
        count = len(self._points)
        mean_x = sum(x for x, _ in self._points) / count
        mean_y = sum(y for _, y in self._points) / count
        spread = sum((x - mean_x) ** 2 for x, _ in self._points) or 1e-9
        slope = sum((x - mean_x) * (y - mean_y) for x, y in self._points) / spread
        left = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in self._points)
        residual = math.sqrt(left / max(1, count - 2))
        return slope, residual / math.sqrt(spread), residual


def ntp_to_utc_us(seconds: int, fraction: int) -> int | None:
    """NTP time of RFC 3550 as UTC microseconds; None for zero, which means "no clock". Small seconds belong
    to the era that starts in 2036."""
    if not seconds:
        return None
    if seconds < _HALF:
        seconds += _WRAP
    return (seconds - NTP_EPOCH_S) * 1_000_000 + (fraction * 1_000_000 >> 32)
