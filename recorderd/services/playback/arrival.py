"""Where a seek or a step arrives: the picture, the group decoding begins at, the holes on the way.

Law: blocking; runs on the volume's read pool. Decides by tables alone, so that a picture is found without reading what
lies before it. Called by `player` only.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediadb.types import KeyType
from recorderd.services.playback.feeds import Target
from recorderd.services.playback.footage import Footage
from recorderd.services.playback.gop import Gop, Picture, leading, shown_order
from recorderd.services.playback.types import Cursor, Frame, Hole, NoFootage, Position, SeekMode


@dataclass(frozen=True, slots=True)
class Arrival:
    """`gop` holds the picture, decoding begins with `start`. `moved` counts pictures of a step that were passed."""

    start: Gop
    gop: Gop
    picture: Picture
    holes: tuple[Hole, ...] = ()
    behind: bool = False  # everything up to the picture, in decode order, is preroll
    moved: int = 0

    def target(self) -> Target:
        at, pts, behind = self.picture.place, self.picture.pts, self.behind

        def hidden(frame: Frame) -> bool:
            place = (frame.seq, frame.index)
            return place <= at if behind else (frame.sample.pts, place) < (pts, at)

        return Target(self.gop, hidden, at)

    def reverse_target(self) -> Target:
        """For play backwards from here: what is shown later stays hidden."""
        at = (self.picture.pts, self.picture.place)
        return Target(self.gop, lambda frame: (frame.sample.pts, (frame.seq, frame.index)) > at, self.picture.place)


class Arrivals:
    """Finds pictures of one track."""

    def __init__(self, footage: Footage) -> None:
        self._footage = footage

    def seek(self, time_us: int, mode: SeekMode, cursor: Cursor | None) -> Arrival:
        """Raises NoFootage when there is no such place, BadCursor."""
        footage = self._footage
        if mode is SeekMode.CURSOR:
            return self._at_cursor(cursor)
        if mode is SeekMode.EXACT or mode is SeekMode.END:
            gop = footage.newest(time_us) if mode is SeekMode.EXACT else footage.last()
            found = None if gop is None else self.shown_from(gop, time_us if mode is SeekMode.EXACT else None)
        else:
            gop = self._key(time_us, mode)
            found = None if gop is None else self.at_key(gop)
        if found is None:
            first, last = footage.first(), footage.last()
            raise NoFootage(
                f"there is no footage to go to ({mode})",
                mode=str(mode),
                first_us=None if first is None else first.start_us,
                last_us=None if last is None else last.end_us,
            )
        return found

    def _key(self, time_us: int, mode: SeekMode) -> Gop | None:
        footage = self._footage
        if mode is SeekMode.KEY:
            return footage.newest(time_us)
        if mode is SeekMode.NEXT_KEY:
            here = footage.newest(time_us)
            return here if here is not None and self._key_us(here) > time_us else footage.first_after(time_us)
        if mode is SeekMode.PREVIOUS_KEY:
            here = footage.newest(time_us - 1)
            while here is not None and self._key_us(here) >= time_us:
                here = footage.before(here)
            return here
        if mode is SeekMode.BEGIN:
            return footage.first()
        forward = mode is SeekMode.NEXT_SEQUENCE
        span = footage.sequence_after(time_us) if forward else footage.sequence_before(time_us)
        return None if span is None else footage.first_after(span.start_us - 1)

    def _key_us(self, gop: Gop) -> int:
        """When a group's key is shown: with B-frames later than it arrives, where the group begins."""
        return self.at_key(gop).picture.time_us

    def at_key(self, gop: Gop) -> Arrival:
        """A group's key; a group whose tables cannot be read is entered all the same: play tells the damage."""
        found = self._footage.look(gop)
        key = found[0] if found else Picture((gop.key.seq, 0), 0, gop.start_us, gop.start_us, KeyType.IDR)
        return Arrival(gop, gop, key)

    def shown_from(self, gop: Gop, time_us: int | None) -> Arrival | None:
        """The picture shown at `time_us` (None: the last one), looked for from `gop` backwards."""
        at: Gop | None = gop
        while at is not None:
            found = self._footage.look(at)
            shown = [one for one in shown_order(found) if time_us is None or one.time_us <= time_us]
            if shown:
                return self._arrive(at, found, max(shown, key=lambda one: one.time_us))
            at = self._footage.before(at)
        return None

    def step(self, gop: Gop, place: tuple[int, int], count: int) -> Arrival | None:
        """`count` pictures on in the order they are shown; fewer at the edge of footage, None when there are none."""
        footage = self._footage
        gop = footage.again(gop) or gop
        found = footage.look(gop)
        order = shown_order(found)
        at = next((i for i, one in enumerate(order) if one.place == place), 0 if count < 0 else -1)
        goal, holes, moved = at + count, list[Hole](), 0
        while not 0 <= goal < len(order):
            other = footage.after(gop) if count > 0 else footage.before(gop)
            if other is None:
                goal = max(0, min(goal, len(order) - 1))
                break
            first, second = (gop, other) if count > 0 else (other, gop)
            hole = footage.hole(first.refs[-1], second.key)
            holes += [hole] if hole is not None else []
            goal -= len(order) if count > 0 else 0
            gop, found = other, footage.look(other)
            order = shown_order(found)
            goal += len(order) if count < 0 else 0
            moved += 1
        if not order or (not moved and goal == at):
            return None
        arrival = self._arrive(gop, found, order[goal])
        return Arrival(arrival.start, gop, arrival.picture, tuple(holes))

    def _arrive(self, gop: Gop, found: list[Picture], picture: Picture) -> Arrival:
        start = gop
        if picture.place in leading(found):
            start = self._footage.before(gop) or gop
        return Arrival(start, gop, picture)

    def _at_cursor(self, cursor: Cursor | None) -> Arrival:
        if cursor is None:
            raise NoFootage("a seek to a cursor needs one")
        gop, place = self._footage.at_cursor(cursor)
        if place is None:
            return self.at_key(gop)
        found = {one.place: one for one in self._footage.look(gop)}
        picture = found.get(place) or Picture(place, 0, gop.start_us, gop.start_us, KeyType.DELTA)
        return Arrival(gop, gop, picture, behind=True)

    def position(self, arrival: Arrival, cursor: Cursor) -> Position:
        """With the keys of the neighbouring groups."""
        before, after = self._footage.before(arrival.gop), self._footage.after(arrival.gop)
        return Position(
            arrival.picture.time_us,
            cursor,
            None if before is None else before.start_us,
            None if after is None else after.start_us,
        )
