"""One simulated camera: its number, its clock, its faults, and what it has sent in total.

Law: pure arithmetic over times that are handed in; no connection, no bytes. Picture N of a camera is due when its own
clock shows N picture intervals since the farm's start, whether somebody is connected or not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from recorderd.simulate.faults import Faults
from recorderd.simulate.packed import PackedAudio, PackedVideo
from recorderd.simulate.told import PackedTold

_GOLDEN = 0.6180339887498949  # its multiples spread evenly over an interval, however many there are


@dataclass(frozen=True, slots=True)
class CameraStream:
    """One stream as all cameras of the farm share it; `variant` is the video after a `params` fault."""

    name: str
    video: PackedVideo
    variant: PackedVideo | None
    audio: PackedAudio | None
    told: PackedTold | None = None


@dataclass(frozen=True, slots=True)
class FarmStart:
    """The instant all numbers count from, on both clocks."""

    mono_us: int
    utc_us: int


@dataclass(slots=True)
class Camera:
    """`phase_us` spreads cameras over the picture interval, `key_offset` spreads keyframes over the GOP."""

    id: int
    faults: Faults
    start: FarmStart
    phase_us: int
    key_offset: int
    first_play_us: int | None = None  # monotonic
    totals: Counter[str] = field(default_factory=Counter)

    @classmethod
    def placed(cls, number: int, faults: Faults, start: FarmStart, video: PackedVideo) -> Camera:
        """Camera `number` with its own place in the picture interval and in the GOP."""
        spread = number * _GOLDEN % 1.0
        gop = video.clip.spec.gop
        return cls(number, faults, start, int(spread * 1_000_000 / video.fps), number * 19 % gop)

    @property
    def _pace(self) -> float:
        return 1 + self.faults.drift_ppm / 1_000_000

    def stream_us(self, mono_us: int) -> int:
        """The camera's own time since its picture 0, which a drifting camera counts wrongly."""
        return int((mono_us - self.start.mono_us) * self._pace) - self.phase_us

    def mono_us(self, stream_us: int) -> int:
        """When (monotonic) the camera's own time reaches `stream_us`."""
        elapsed = stream_us + self.phase_us
        return self.start.mono_us + (int(elapsed / self._pace) if self.faults.drift_ppm else elapsed)

    def true_utc_us(self, mono_us: int) -> int:
        return self.start.utc_us + mono_us - self.start.mono_us

    def claimed_utc_us(self, stream_us: int, mono_us: int) -> int:
        """UTC as the camera's own clock has it: drift and step included."""
        return self.start.utc_us + self.phase_us + stream_us + self.stepped_us(mono_us)

    def stepped_us(self, mono_us: int) -> int:
        return self.faults.stepped_us(self.since_play_us(mono_us))

    def since_play_us(self, mono_us: int) -> int:
        """Time since the first PLAY ever; -1 before it."""
        return -1 if self.first_play_us is None else mono_us - self.first_play_us

    def next_key(self, mono_us: int, video: PackedVideo) -> int:
        """The number of the first keyframe that is due after `mono_us`."""
        number = max(0, self.stream_us(mono_us) * video.fps // 1_000_000 + 1)
        gop = video.clip.spec.gop
        return number + -(number + self.key_offset) % gop
