"""How far back footage will reach at the rate of now, and when the storage is full.

Law: pure. Rates are averages over some minutes, weighted to the newest; a forecast says what follows from them, the
limits and the room there is. Times are microseconds, sizes bytes, rates bytes a second.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf
from typing import Final

from mediadb.reclaim.limits import ReclaimOptions, Room, reserve_of

LONG_S: Final = 600.0
SHORT_S: Final = 30.0
S: Final = 1_000_000


class Rates:
    """Bytes a second: of each track over ten minutes, of all together over half a minute."""

    def __init__(self) -> None:
        self.tracks: dict[uuid.UUID, float] = {}
        self.recent = 0.0
        self._age_s = 0.0

    def fold(self, written: Mapping[uuid.UUID, int], elapsed_us: int) -> None:
        """So many bytes of each track were written in the time since the last call."""
        elapsed_s = elapsed_us / S
        if elapsed_s <= 0:
            return
        self._age_s += elapsed_s
        # As long as less is known than the average spans, every second counts the same.
        old = max(1 - elapsed_s / self._age_s, 0.0) if self._age_s < LONG_S else exp(-elapsed_s / LONG_S)
        for track in {*self.tracks, *written}:
            rate = self.tracks.get(track, 0.0) * old + written.get(track, 0) / elapsed_s * (1 - old)
            self.tracks[track] = rate
        fast = exp(-elapsed_s / SHORT_S)
        self.recent = self.recent * fast + sum(written.values()) / elapsed_s * (1 - fast)


@dataclass(frozen=True, slots=True)
class CameraOutlook:
    """`kept_us`: how far back its footage will reach; None: as long as it records. `wanted_us`: its upper limit, None
    without one. `short`: it will not be kept as long as its limits say."""

    rate_bytes_s: int
    kept_us: int | None
    wanted_us: int | None
    short: bool


@dataclass(frozen=True, slots=True)
class Outlook:
    """Of a storage. `full_us`: from now until its room is used up and the oldest goes early; None: that will not be."""

    rate_bytes_s: int
    kept_us: int | None
    full_us: int | None
    cameras: Mapping[uuid.UUID, CameraOutlook]

    @property
    def short(self) -> bool:
        return any(camera.short for camera in self.cameras.values())


def outlook(options: ReclaimOptions, room: Room, rates: Mapping[uuid.UUID, float]) -> Outlook:
    """What the present `rates` of the cameras lead to."""
    limit = inf if options.quota_bytes is None else float(options.quota_bytes)
    capacity = min(limit, room.used_bytes + max(0, room.free_bytes - reserve_of(options, room)))
    own = {camera: _own_s(options, camera, rate) for camera, rate in rates.items()}
    horizon_s = _horizon_s(capacity, rates, own)
    total = sum(rates.values())
    full = (capacity - room.used_bytes) / total if total and horizon_s < inf else None
    cameras = {camera: _camera(options, camera, rate, own[camera], horizon_s) for camera, rate in rates.items()}
    longest_s = max((min(seconds, horizon_s) for seconds in own.values()), default=inf)
    return Outlook(int(total), _us(longest_s), None if full is None else int(max(0.0, full) * S), cameras)


def _own_s(options: ReclaimOptions, camera: uuid.UUID, rate: float) -> float:
    """How long a camera's own limits let its footage stay."""
    limit_us = options.classes.limit_us(camera)
    limits = options.cameras.get(camera)
    by_age = inf if limit_us is None else limit_us / S
    by_size = limits.max_bytes / rate if limits is not None and limits.max_bytes is not None and rate else inf
    return min(by_age, by_size)


def _horizon_s(capacity: float, rates: Mapping[uuid.UUID, float], own: Mapping[uuid.UUID, float]) -> float:
    """How far back the storage reaches when what is oldest goes first: inf when everything fits."""
    left, flowing, before = capacity, sum(rates.values()), 0.0
    for seconds, rate in sorted((own[camera], rate) for camera, rate in rates.items()):
        step = (seconds - before) * flowing if flowing > 0 else 0.0
        if step > left:
            return before + left / flowing
        left, before = left - step, seconds
        flowing -= rate
    return inf


def _camera(options: ReclaimOptions, camera: uuid.UUID, rate: float, own_s: float, horizon_s: float) -> CameraOutlook:
    wanted_us = options.classes.limit_us(camera)
    limits = options.cameras.get(camera)
    least_us = limits.min_us if limits is not None else 0
    kept_us = _us(min(own_s, horizon_s))
    wanted = [us for us in (wanted_us, least_us) if us]
    short = kept_us is not None and any(kept_us < us for us in wanted) and horizon_s < own_s
    return CameraOutlook(int(rate), kept_us, wanted_us, short)


def _us(seconds: float) -> int | None:
    return None if seconds == inf else int(seconds * S)
