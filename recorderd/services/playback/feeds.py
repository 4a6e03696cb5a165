"""What comes next: chunks of footage turned into frames, holes and ends, a batch at a time.

Law: blocking; `more` runs on the volume's read pool and brings at most what it is told (one chunk may be larger). No
waiting for time here: each entry says when it is due in media time, the player keeps the time. A chunk that cannot be
given becomes a hole with its cause, and play goes on behind it at the next key. Called by `player` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from mediadb.types import Cause, Interval, KeyType, State
from recorderd.services.playback.footage import Footage, Loaded
from recorderd.services.playback.gop import Gop, Place, frames
from recorderd.services.playback.types import Frame, Hole, Item

BACK_US = 1_000_000  # recorder time that falls by more begins another recording of the same time
KEYS_AT_ONCE = 8
_OPEN = (KeyType.OPEN_GOP, KeyType.RECOVERY_POINT)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one call may bring, whichever is reached first; the chunk that reaches it is brought whole."""

    size_bytes: int
    frames: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One item and when it is due in media time (None: at once). `barrier`: behind a hole or a step back of recorder
    time; `back` in the latter case. `gop`: where a frame belongs."""

    item: Item
    due_us: int | None
    barrier: bool = False
    back: bool = False
    gop: Gop | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a feed that begins inside a group begins to show: frames of `gop` for which `hidden` holds are preroll,
    and all frames before that group."""

    gop: Gop
    hidden: Callable[[Frame], bool]
    until: Place  # the frames up to this one, in decode order, are due at once


class Feed(Protocol):
    """A direction of play."""

    def more(self, budget: Budget) -> list[Entry]:
        """The next entries, about as many as `budget` says; [] when nothing is there (any more, or yet)."""
        ...


class ForwardFeed:
    """All frames in decode order."""

    def __init__(self, footage: Footage, start: Gop, target: Target) -> None:
        self._footage = footage
        self._gop = start
        self._next = 0
        self._target: Target | None = target
        self._cold = True  # the group before was not decoded: leading pictures cannot be
        self._key_pts: int | None = None
        self._barrier = self._back = False

    def more(self, budget: Budget) -> list[Entry]:
        out: list[Entry] = []
        size = 0
        while size < budget.size_bytes and len(out) < budget.frames:
            if self._next >= len(self._gop.refs) and not self._advance(out):
                break
            refs = self._gop.refs[self._next :]
            loaded = self._footage.load(refs, budget.size_bytes - size)
            for chunk in loaded.chunks:
                self._inner_hole(out)
                out += self._entries(frames(chunk))
                self._next += 1
                size += len(chunk.data)
            if loaded.failed is not None:
                if loaded.why is None:
                    break
                self._inner_hole(out)
                out.append(_damage(loaded, self._gop.end_us, self._barrier))
                self._next = len(self._gop.refs)
                self._cold, self._barrier = True, True
        return out

    def _advance(self, out: list[Entry]) -> bool:
        """On to the chunks that came to this group, or to the next group."""
        following = self._footage.after(self._gop)
        old = self._footage.again(self._gop) or self._gop
        if len(old.refs) > self._next:
            self._gop = old
            return True
        if following is None:
            return False
        hole = self._footage.hole(old.refs[-1], following.key)
        if hole is not None:
            out.append(Entry(hole, hole.start_us, self._barrier, self._back))
            self._barrier = True
        self._back = self._back or following.start_us < old.end_us - BACK_US
        self._barrier = self._barrier or self._back
        if self._target is not None and old.same == self._target.gop.same:
            self._target = None
        self._cold = self._barrier or not self._footage.contiguous(old, following)
        self._gop, self._next, self._key_pts = following, 0, None
        return True

    def _inner_hole(self, out: list[Entry]) -> None:
        """A hole inside a group: the camera stood still and went on without a key."""
        if not self._next or self._is_on_the_way():
            return
        hole = self._footage.hole(self._gop.refs[self._next - 1], self._gop.refs[self._next])
        if hole is not None:
            out.append(Entry(hole, hole.start_us))
            self._barrier = True

    def _is_on_the_way(self) -> bool:
        """Do the next frames only lead to the picture of a seek? What is missing there was not asked for."""
        target, ref = self._target, self._gop.refs[self._next]
        return target is not None and (self._gop.same != target.gop.same or (ref.seq, 0) <= target.until)

    def _entries(self, found: Iterable[Frame]) -> Iterable[Entry]:
        for frame in found:
            if self._key_pts is None:
                self._key_pts = frame.sample.pts if frame.sample.key_type in _OPEN else -(1 << 62)
            elif self._cold and frame.sample.pts < self._key_pts:
                continue
            yield self._entry(frame)

    def _entry(self, frame: Frame) -> Entry:
        target = self._target
        barrier, back, self._barrier, self._back = self._barrier, self._back, False, False
        if target is None:
            return Entry(frame, frame.sample.recv_us, barrier, back, self._gop)
        inside = self._gop.same == target.gop.same
        if not inside or target.hidden(frame):
            frame = replace(frame, preroll=True)
        at_once = not inside or (frame.seq, frame.index) <= target.until
        return Entry(frame, None if at_once else frame.sample.recv_us, barrier and not at_once, back, self._gop)


class KeyFeed:
    """Key frames only, in either direction. `gop` was the last; `own`: begin with its key."""

    def __init__(self, footage: Footage, gop: Gop, step: int, own: bool) -> None:
        self._footage, self._gop, self._step, self._own = footage, gop, step, own
        self._barrier = self._back = False

    def more(self, budget: Budget) -> list[Entry]:
        out: list[Entry] = []
        for _ in range(KEYS_AT_ONCE):
            if not self._own and not self._advance(out):
                break
            self._own = False
            gop = self._gop
            loaded = self._footage.load([gop.key], 0)
            if loaded.failed is not None:
                if loaded.why is None:
                    break
                out.append(_damage(loaded, gop.end_us, self._barrier, self._step))
                self._barrier = True
                continue
            frame = frames(loaded.chunks[0])[0]
            out.append(Entry(frame, frame.sample.recv_us, self._barrier, self._back, gop))
            self._barrier = self._back = False
        return out

    def _advance(self, out: list[Entry]) -> bool:
        old = self._gop
        found = self._footage.after(old) if self._step > 0 else self._footage.before(old)
        if found is None:
            return False
        first, second = (self._footage.again(old) or old, found) if self._step > 0 else (found, old)
        hole = self._footage.hole(first.refs[-1], second.key)
        if hole is not None:
            due_us = hole.start_us if self._step > 0 else hole.end_us
            out.append(Entry(hole, due_us, self._barrier, self._back))
            self._barrier = True
        self._back = self._back or second.start_us < first.end_us - BACK_US
        self._barrier = self._barrier or self._back
        self._gop = found
        return True


class ReverseFeed:
    """Groups in reverse, frames forward inside a group. Pictures of an open group shown before its key come with the
    group before: behind its own frames, after the key once more as preroll."""

    def __init__(self, footage: Footage, target: Target) -> None:
        self._footage = footage
        self._gop = target.gop
        self._target: Target | None = target
        self._next = 0
        self._tail: list[Frame] = []  # of the group shown before, to go with this one
        self._tail_next: list[Frame] = []
        self._barrier = self._back = False
        self._key: Frame | None = None

    def more(self, budget: Budget) -> list[Entry]:
        out: list[Entry] = []
        size = 0
        while size < budget.size_bytes and len(out) < budget.frames:
            if self._next >= len(self._gop.refs) and not self._retreat(out):
                break
            loaded = self._footage.load(self._gop.refs[self._next :], budget.size_bytes - size)
            for chunk in loaded.chunks:
                out += self._entries(frames(chunk))
                self._next += 1
                size += len(chunk.data)
            if loaded.failed is not None:
                if loaded.why is None:
                    break
                out.append(_damage(loaded, self._gop.end_us, self._barrier, -1))
                self._next, self._tail = len(self._gop.refs), []
            if self._next >= len(self._gop.refs):
                out += [self._entry(frame) for frame in self._tail]
                self._tail, self._target = [], None
        return out

    def _retreat(self, out: list[Entry]) -> bool:
        old = self._gop
        found = self._footage.before(old)
        if found is None:
            return False
        hole = self._footage.hole(found.refs[-1], old.key)
        if hole is not None:
            out.append(Entry(hole, hole.end_us, self._barrier, self._back))
            self._barrier = True
        elif self._footage.contiguous(found, old):
            self._tail = self._tail_next
        self._back = old.start_us < found.end_us - BACK_US
        self._barrier = self._barrier or self._back
        self._gop, self._next, self._tail_next, self._key = found, 0, [], None
        return True

    def _entries(self, found: Iterable[Frame]) -> Iterable[Entry]:
        for frame in found:
            if self._key is None:
                self._key = frame
            elif self._key.sample.key_type in _OPEN and frame.sample.pts < self._key.sample.pts:
                if not self._tail_next:
                    self._tail_next = [replace(self._key, preroll=True)]
                self._tail_next.append(frame)
                continue
            yield self._entry(frame)

    def _entry(self, frame: Frame) -> Entry:
        if self._target is not None:
            inside = not self._target.hidden(frame)
            return Entry(frame if inside else replace(frame, preroll=True), None, gop=self._gop)
        barrier, back, self._barrier, self._back = self._barrier, self._back, False, False
        return Entry(frame, self._gop.end_us, barrier, back, self._gop)


def _damage(loaded: Loaded, end_us: int, barrier: bool, step: int = 1) -> Entry:
    """The hole that a chunk leaves that cannot be given: to the end of its group, for nothing behind it decodes."""
    ref = loaded.failed
    if ref is None:
        raise ValueError("no chunk failed")
    start_us = ref.recv_us
    end_us = max(end_us, start_us + 1)
    cause = loaded.why or Cause(State.STORAGE_ERROR, "chunk-damaged")
    hole = Hole(start_us, end_us, (Interval(start_us, end_us, cause),))
    return Entry(hole, start_us if step > 0 else end_us, barrier)
