"""The newest GOPs of one stream, in memory: where live viewers start and what recording reaches back to.

Law: whole GOPs only, bounded by duration and by bytes; units are shared, never copied. Pure: time is the
units' own monotonic receive time. Owned by one stream's recorder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType

LIMIT_BYTES = 32 * 2**20
# Looked up once: a member costs an enum's own lookup, and `push` is called for every picture of every camera.
_VIDEO, _DELTA, _SOUND = MediaKind.VIDEO, UnitType.DELTA, UnitType.AUDIO

Item = tuple[MediaKind, AccessUnit]


class _Gop:
    __slots__ = ("bytes", "items")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.bytes = 0


class PrebufferRing:
    """Keeps the GOP that reaches back `duration_us` and everything after it; with 0 only the newest GOP.

    A stream without video keeps its last `duration_us`. A GOP larger than the byte limit is not kept at all:
    `overflows` counts it, and the ring waits for the next key.
    """

    def __init__(self, duration_us: int, limit_bytes: int = LIMIT_BYTES) -> None:
        self._duration_us = duration_us
        self._limit_bytes = limit_bytes
        self._gops: deque[_Gop] = deque()
        self._newest: _Gop | None = None  # the last of them
        self._bytes = 0
        self._video = False  # a video unit was seen: GOPs are cut at its keys
        self.overflows = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def duration_us(self) -> int:
        """Between the oldest and the newest unit held."""
        items = [gop.items for gop in self._gops if gop.items]
        return items[-1][-1][1].recv_mono_us - items[0][0][1].recv_mono_us if items else 0

    def reach(self, duration_us: int) -> None:
        """Another length from now on; shorter takes effect at the next key."""
        self._duration_us = duration_us

    def push(self, kind: MediaKind, unit: AccessUnit) -> None:
        if kind is _VIDEO:
            if not self._video:
                self._video = True
                self.clear()
            if _DELTA < unit.type < _SOUND:
                self._open_gop(unit.recv_mono_us)
        elif not self._video:
            self._open_gop(unit.recv_mono_us)  # every audio unit stands alone
        newest = self._newest
        if newest is None:
            return  # nothing decodable without a key
        size = len(unit.data)
        newest.items.append((kind, unit))
        newest.bytes += size
        self._bytes += size
        while self._bytes > self._limit_bytes:
            if len(self._gops) == 1:
                self.overflows += 1
            self._drop_oldest()

    def all(self) -> Iterator[Item]:
        """Everything held, oldest first."""
        for gop in self._gops:
            yield from gop.items

    def newest_gop(self) -> list[Item]:
        """From the newest key on; empty before the first."""
        return list(self._newest.items) if self._newest is not None else []

    def clear(self) -> None:
        """The stream broke off: what comes next does not continue what is held."""
        self._gops.clear()
        self._newest = None
        self._bytes = 0

    def _open_gop(self, now_mono_us: int) -> None:
        horizon_us = now_mono_us - self._duration_us
        gops = self._gops
        # The oldest GOP goes when the next one already reaches back far enough (the new one included).
        while gops and (gops[1].items[0][1].recv_mono_us if len(gops) > 1 else now_mono_us) <= horizon_us:
            self._drop_oldest()
        self._newest = _Gop()
        gops.append(self._newest)

    def _drop_oldest(self) -> None:
        self._bytes -= self._gops.popleft().bytes
        if not self._gops:
            self._newest = None
