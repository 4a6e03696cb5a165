"""What a storage is allowed to keep, and what that asks for at a given moment.

Law: pure. Limits in (`ReclaimOptions`), the state of the disk in (`Room`), a `Need` out; which segments serve it is
decided in `mediadb.reclaim.plan`. Times are recorder UTC microseconds, sizes bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mediadb.write.retention import CameraLimits, Classes, classes_of

DAY_US: Final = 86_400_000_000
MIN_RESERVE_BYTES: Final = 16 << 20
MAX_RESERVE_BYTES: Final = 64 << 30
SHARE: Final = 64  # a segment is at most this part of the quota: so much is kept free ahead of need


@dataclass(frozen=True, slots=True)
class ReclaimOptions:
    """Limits of a storage; None = no limit. `reserve_bytes` are kept free on the file system. `cameras`: those with
    limits of their own; an upper limit of None there is none, not that of the storage."""

    retention_us: int | None = None
    quota_bytes: int | None = None
    reserve_bytes: int | None = None
    cameras: Mapping[uuid.UUID, CameraLimits] = field(default_factory=dict)
    classes: Classes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", classes_of(self.retention_us, self.cameras))

    @property
    def by_track(self) -> bool:
        """Does it matter whose footage a segment holds?"""
        return bool(self.cameras)

    @property
    def longest_us(self) -> int | None:
        """When everything in a segment may go by age, whoever it belongs to."""
        return self.classes.limits_us[-1]

    @property
    def greatest_min_us(self) -> int:
        return max((limits.min_us for limits in self.cameras.values()), default=0)


@dataclass(frozen=True, slots=True)
class Room:
    """`used_bytes` of the storage on disk, the open segment with all it may still take; `free_bytes`, `total_bytes` of
    the file system; `rate_bytes_s` at which is written now; `cameras` what is kept of those with a size limit."""

    used_bytes: int
    free_bytes: int
    total_bytes: int
    rate_bytes_s: int = 0
    cameras: Mapping[uuid.UUID, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """What must go: per class what ended before `older_us` (at most `age_bytes` of it), at least `over_bytes` (rule
    size) or `low_bytes` (rule space), and of single `cameras` so much. What ended after `now_us` less the camera's
    minimum stays."""

    older_us: tuple[int | None, ...] = (None,)
    over_bytes: int = 0
    low_bytes: int = 0
    cameras: Mapping[uuid.UUID, int] = field(default_factory=dict)
    now_us: int = 0
    age_bytes: int | None = None


def need_of(
    options: ReclaimOptions, room: Room, now_us: int, *, age_held: bool, age_bytes: int | None = None, ahead: int = 0
) -> Need:
    """What the limits ask for now. `ahead`: bytes that are about to be written beside what `room` counts."""
    older: tuple[int | None, ...] = tuple(
        None if limit is None or age_held else now_us - limit for limit in options.classes.limits_us
    )
    over = 0
    if options.quota_bytes is not None:
        over = max(0, room.used_bytes + max(headroom(options.quota_bytes), ahead) - options.quota_bytes)
    cameras = {}
    for camera, used in room.cameras.items():
        limit = options.cameras[camera].max_bytes if camera in options.cameras else None
        if limit is not None and used > limit - limit // SHARE:
            cameras[camera] = used - (limit - limit // SHARE)
    low = max(0, reserve_of(options, room) + ahead - room.free_bytes)
    return Need(older, over, low, cameras, now_us, age_bytes)


def headroom(quota_bytes: int) -> int:
    """What is kept free of a quota for the segment after the open one."""
    return quota_bytes // SHARE


def reserve_of(options: ReclaimOptions, room: Room) -> int:
    """What is kept free on the file system: a 64th of it (16 MiB to 64 GiB), and ten seconds of writing."""
    if options.reserve_bytes is not None:
        return options.reserve_bytes
    share = max(MIN_RESERVE_BYTES, min(room.total_bytes // SHARE, MAX_RESERVE_BYTES))
    return max(share, min(room.rate_bytes_s * 10, room.total_bytes // 8))
