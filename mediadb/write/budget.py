"""How many bytes may wait in memory for disks, and whose they are: shared fairly, never exceeded.

Law: counts only; no thread, no time, no sample. One half of a budget is everybody's, first come, first served. The
other half is divided evenly among the cameras, and nobody else can take a camera's part: whoever sends more than the
others fills the common half at most. One Budget bounds a log, one more all logs of the process. Event loop thread only.
"""

from __future__ import annotations

import uuid


class Share:
    """What one camera holds; `members` are its tracks with their `held` bytes."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: list[Holder] = []

    def held(self) -> int:
        return sum(member.held for member in self.members)


class Holder:
    """Something that holds bytes of a camera."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Budget:
    """`held` bytes of `limit`. While no more than `free` are held nobody's share is looked at: the holder adds itself
    to `held`, and only beyond asks `room`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.free = limit_bytes // 2
        self.held = 0
        self._shares: dict[uuid.UUID, Share] = {}
        self._common = 0  # taken of the common half as of the last count, and what came since
        self._stale = True

    def share(self, camera: uuid.UUID, member: Holder) -> Share:
        """The share of a camera, with one more holder."""
        share = self._shares.get(camera)
        if share is None:
            share = self._shares[camera] = Share()
        share.members.append(member)
        self._stale = True
        return share

    def leave(self, camera: uuid.UUID, member: Holder) -> None:
        """A holder goes; what it still holds is given back."""
        self.held -= member.held
        share = self._shares.get(camera)
        if share is not None and member in share.members:
            share.members.remove(member)
            if not share.members:
                del self._shares[camera]
        self._stale = True

    @property
    def each(self) -> int:
        """Bytes that every camera has to itself."""
        return (self.limit - self.free) // max(len(self._shares), 1)

    def room(self, share: Share, size: int) -> bool:
        """May a holder of `share` take `size` more bytes?"""
        if self.held + size <= self.free:
            return True
        if self.held + size > self.limit:
            return False
        if self._stale:
            self._stale = False
            each = self.each
            self._common = sum(max(0, one.held() - each) for one in self._shares.values())
        if share.held() + size <= self.each:
            return True
        if self._common + size > self.free:
            return False
        self._common += size
        return True

    def count_again(self) -> None:
        """What was given back since the last count counts from the next question on; called now and then."""
        self._stale = True
