"""How long the cameras of a storage are kept: their limits, rounded to at most four classes.

Law: pure. A class is a distinct upper limit; what is in one class lies together in a commit block and goes together.
Limits beyond four are rounded up to the next one kept: footage stays longer than asked, never shorter. Used by the
writer (order in the block) and by reclaim (what goes).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

MAX_CLASSES: Final = 4


@dataclass(frozen=True, slots=True)
class CameraLimits:
    """What is kept of one camera. `max_us`: older footage goes (None: never by age). Younger than `min_us` never goes,
    whatever else asks for room. `max_bytes`: more than that does not stay (None: no limit)."""

    max_us: int | None = None
    min_us: int = 0
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Classes:
    """`limits_us` ascending, the shortest first; None (no limit) is last. `of` numbers the cameras with a limit of
    their own, `default` all others."""

    limits_us: tuple[int | None, ...] = (None,)
    of: Mapping[uuid.UUID, int] = field(default_factory=dict)
    default: int = 0

    def number(self, camera: uuid.UUID) -> int:
        return self.of.get(camera, self.default)

    def limit_us(self, camera: uuid.UUID) -> int | None:
        """The upper limit that is in force for a camera, after rounding."""
        return self.limits_us[self.number(camera)]


ONE_CLASS: Final = Classes()


def classes_of(default_us: int | None, cameras: Mapping[uuid.UUID, CameraLimits]) -> Classes:
    """The classes of a storage: `default_us` for cameras that are not in `cameras`."""
    wanted = [default_us, *(limits.max_us for limits in cameras.values())]
    limits = round_up(wanted)
    numbers = {camera: _class_for(limits, entry.max_us) for camera, entry in cameras.items()}
    return Classes(limits, numbers, _class_for(limits, default_us))


def round_up(wanted: Iterable[int | None]) -> tuple[int | None, ...]:
    """At most MAX_CLASSES of the limits given: those that prolong the least, measured as a factor, are given up first.
    "No limit" is never what a limit is rounded to, unless nothing else is left."""
    counts: dict[float, int] = {}
    for limit in wanted:
        key = inf if limit is None else float(limit)
        counts[key] = counts.get(key, 0) + 1
    limits = sorted(counts)
    while len(limits) > MAX_CLASSES:
        costs = [(limits[i + 1] / max(limits[i], 1.0) - 1) * counts[limits[i]] for i in range(len(limits) - 1)]
        at = costs.index(min(costs))
        counts[limits[at + 1]] += counts[limits[at]]
        del limits[at]
    return tuple(None if limit == inf else int(limit) for limit in limits)


def _class_for(limits: tuple[int | None, ...], wanted: int | None) -> int:
    if wanted is None:
        return len(limits) - 1
    return next(i for i, limit in enumerate(limits) if limit is None or limit >= wanted)
