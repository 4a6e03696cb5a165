"""Plays recorded footage of one camera's stream: seek, speed, both directions, step, holes.

Law: async shell; waits only for the read pool and for the playback clock, never on a viewer. Frames come out in decode
order, each once it is due; what cannot be shown comes out as a hole with its causes; nothing that storage does ends
play with an exception. Holds at most one batch in memory. Called by the WebSocket, the stream API and RTSP.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from recorderd.core.clock import Clock
from recorderd.core.errors import UsageError
from recorderd.services.playback.arrival import Arrival, Arrivals
from recorderd.services.playback.companions import Companions
from recorderd.services.playback.due_queue import DueQueue
from recorderd.services.playback.feeds import Budget, Entry, Feed, ForwardFeed, KeyFeed, ReverseFeed
from recorderd.services.playback.footage import Footage
from recorderd.services.playback.pacing import MasterClock
from recorderd.services.playback.types import (
    MAX_STEP,
    Cursor,
    End,
    EndReason,
    Frame,
    Item,
    Motion,
    PlayerOptions,
    Position,
    SeekMode,
    motion_of,
)

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore

T = TypeVar("T")

FIRST = Budget(256 * 1024, 32)  # read at first after a seek: the picture is wanted soon
POLL_S = 0.2  # how often the durable end is looked at while following
LIVE_US = 15_000_000  # footage that ends this close to now is still being recorded
BATCH_FRAMES = 512  # of one read
AT_ONCE = 256  # items of one answer
DEFAULT_OPTIONS = PlayerOptions()


class Player:
    """One viewer's place in the footage of `tracks`: the first leads, the others follow at speed 1.

    With `master` several players keep in step: then whoever made the clock moves it (seek does not), and its speed is
    what `set_speed` gave each of them. Coroutines may be called from several tasks."""

    def __init__(
        self,
        store: AsyncStore,
        tracks: Sequence[uuid.UUID],
        clock: Clock,
        options: PlayerOptions = DEFAULT_OPTIONS,
        *,
        master: MasterClock | None = None,
    ) -> None:
        self._store, self._clock, self._options = store, clock, options
        self._track = tracks[0]
        self._footage = Footage(store.reader, tracks[0])
        self._arrivals = Arrivals(self._footage)
        self._own = master is None
        self._master = master or MasterClock(clock)
        self._changed = asyncio.Event()  # by the clock or by a command
        self._told = asyncio.Event()  # by a command
        self._lock = asyncio.Lock()
        self._speed = 1.0
        self._queue = DueQueue(self._master, self, options.gaps, options.lead_us)
        self._companions = Companions(store.reader, tracks[1:])
        self._feed: Feed | None = None
        self._motion = Motion.ALL  # of the feed
        self._arrival: Arrival | None = None  # where play is, until frames have moved it on
        self._last: Entry | None = None  # the frame given last
        self._picture_due = False  # the picture of a seek is still to be given: it comes first, whatever the speed
        self._position: Position | None = None
        self._ended = False
        self._told_live = False
        self._arrivals_made = 0
        self._parked = False
        self._master.join(self, self._changed.set)

    # -- commands -------------------------------------------------------------------------------------------------

    async def seek(
        self, time_us: int, mode: SeekMode = SeekMode.EXACT, cursor: Cursor | None = None, *, picture: bool = True
    ) -> Position:
        """Go somewhere; `next` gives frames from there. `picture` False: not the picture first, only what the speed
        asks for. Raises NoFootage, BadCursor; then play stays where it was."""
        async with self._lock:
            arrival = await self._read(self._arrivals.seek, time_us, mode, cursor)
            await self._arrive(arrival)
            self._picture_due = picture
            if self._own:
                later = mode is SeekMode.EXACT and self._position is not None and self._position.next_us is not None
                self._master.jump(max(time_us, arrival.picture.time_us) if later else arrival.picture.time_us)
            return self.position()

    async def find(self, time_us: int, mode: SeekMode = SeekMode.EXACT) -> Position:
        """Where a seek would arrive, without going there. Raises NoFootage."""
        async with self._lock:
            return await self._place(await self._read(self._arrivals.seek, time_us, mode, None))

    def set_speed(self, speed: float) -> None:
        """From now on; 0 pauses. Raises UsageError outside -16 … 16 and infinity."""
        motion_of(speed)
        if math.isinf(self._speed) and self._last is not None and self._own:
            frame = self._last.item
            self._master.jump(frame.sample.recv_us if isinstance(frame, Frame) else self._master.media_us())
        if (speed < 0) != (self._speed < 0) or self._ended:
            self._ended = False
        self._speed = speed
        if self._own:
            self._master.set_speed(speed)
        self._wake()

    async def step(self, frames: int) -> list[Item]:
        """`frames` pictures on (or back), exact and paused afterwards: holes passed on the way, preroll, and last the
        picture to show (the only frame that is no preroll; a Hole when it cannot be read). At the edge of footage the
        picture there; already there: one End. Play goes on from the group's key, as after a seek to the picture."""
        if not frames or abs(frames) > MAX_STEP:
            raise UsageError(f"a step is 1 to {MAX_STEP} frames, either way", frames=frames)
        self.set_speed(0)
        async with self._lock:
            base = await self._base()
            arrival = await self._read(self._arrivals.step, base.gop, base.picture.place, frames)
            if arrival is None:
                return [End("end" if frames > 0 else "begin", base.picture.time_us)]
            await self._arrive(arrival)
            if self._own:
                self._master.jump(arrival.picture.time_us)
            shown = await self._shown()
            self._motion = (
                Motion.PAUSED
            )  # play begins anew from here: what was decoded ahead of the picture is shown then
            return [*arrival.holes, *(_hidden(item) for item in shown[:-1]), *shown[-1:]]

    async def next(self) -> list[Item]:
        """Wait until something is due; 1 or more items in order. After an End: once more when there is something."""
        while True:
            self._changed.clear()
            self._told.clear()
            if self._parked:
                self._master.rest(self, None)
                await self._until(self._changed, None)
                continue
            if self._arrival is None and self._last is None:
                raise UsageError("seek first: the player stands nowhere")
            await self._turn()
            wait_us = self._wait_us()
            if wait_us is not None and wait_us <= 0:
                items = self._pop()
                if items:
                    return items
                continue
            if not self._queue and not self._ended and (self._speed or self._picture_due):
                end = await self._fill()
                if end is not None:
                    return [end]
                continue
            if self._ended and not self._queue:
                self._master.rest(self, None)
            await self._until(self._changed, None if wait_us is None else wait_us / 1_000_000)

    def park(self) -> None:
        """Give nothing and hold nobody up until the next seek."""
        self._queue.begin(0)
        self._feed = self._arrival = self._last = self._position = None
        self._parked = True
        self._wake()

    def position(self) -> Position:
        """The picture given last that is shown, with its cursor. Raises UsageError before the first seek."""
        if self._position is None:
            raise UsageError("seek first: the player stands nowhere")
        return self._position

    @property
    def track(self) -> uuid.UUID:
        """The track that leads."""
        return self._track

    async def close(self) -> None:
        """Let go of the clock and of what was read."""
        self.let_go()

    def let_go(self) -> None:
        """`close` for those who cannot wait."""
        self._master.leave(self)
        self._queue.begin(0)
        self._footage.forget()

    @property
    def arrivals(self) -> int:
        """Counts seeks and steps: what `next` gave before belongs to another place."""
        return self._arrivals_made

    # -- going somewhere ------------------------------------------------------------------------------------------

    async def _arrive(self, arrival: Arrival) -> None:
        self._position = await self._place(arrival)
        self._set_out(arrival, Motion.ALL)
        self._arrivals_made += 1
        self._parked = False
        self._told_live, self._picture_due = False, True
        self._wake()

    async def _place(self, arrival: Arrival) -> Position:
        seq, index = arrival.picture.place
        cursor = Cursor(self._track, arrival.gop.key.run, seq, index)
        return await self._read(self._arrivals.position, arrival, cursor)

    def _set_out(self, arrival: Arrival, motion: Motion) -> None:
        """A new feed from a picture on."""
        footage = self._footage
        self._queue.begin(arrival.picture.recv_us)
        self._companions.arrive(arrival.picture.recv_us)
        self._master.release(self)
        self._arrival, self._last, self._ended = arrival, None, False
        self._motion = motion
        if motion is Motion.ALL:
            self._feed = ForwardFeed(footage, arrival.start, arrival.target())
        elif motion is Motion.REVERSE:
            self._feed = ReverseFeed(footage, arrival.reverse_target())
        else:
            own = motion is Motion.REVERSE_KEYS and arrival.picture.place != (arrival.gop.key.seq, 0)
            self._feed = KeyFeed(footage, arrival.gop, 1 if motion is Motion.KEYS else -1, own)

    async def _turn(self) -> None:
        """Begin another feed when the speed now asks for one."""
        if not self._astray:
            return
        async with self._lock:
            if self._astray:  # no seek came first
                motion = motion_of(self._speed)
                self._set_out(await self._base(), motion)

    @property
    def _astray(self) -> bool:
        """Is what the feed gives not what the speed asks for? The picture of a seek comes in any case."""
        return not self._picture_due and motion_of(self._speed) not in (Motion.PAUSED, self._motion)

    async def _base(self) -> Arrival:
        """The picture shown now: by the clock, among those given."""
        if self._arrival is not None:
            return self._arrival
        last = self._last
        if last is None or last.gop is None or not isinstance(last.item, Frame):
            raise UsageError("seek first: the player stands nowhere")
        time_us = last.item.time_us if math.isinf(self._speed) else self._master.media_us()
        found = await self._read(self._arrivals.shown_from, last.gop, time_us)
        return found if found is not None else await self._read(self._arrivals.at_key, last.gop)

    async def _shown(self) -> list[Item]:
        """Everything up to the picture of the arrival."""
        out: list[Item] = []
        while self._picture_due and self._feed is not None:
            if not self._queue:
                self._queue.extend(await self._read(self._feed.more, FIRST))
            if not self._queue:
                break
            out.append(self._take())
        return out

    # -- the queue ------------------------------------------------------------------------------------------------

    def _wait_us(self) -> int | None:
        """Until something is due; None: not before something changes."""
        return 0 if self._queue and self._picture_due else self._queue.wait_us()

    def _pop(self) -> list[Item]:
        """All that is due."""
        out: list[Item] = []
        while len(out) < AT_ONCE and self._queue and not self._astray:
            wait_us = self._wait_us()
            if wait_us is None or wait_us > 0:
                break
            out.append(self._take())
        self._master.work(self)
        return [item for item in out if self._wanted(item)]

    def _take(self) -> Item:
        entry = self._queue.take()
        item = entry.item
        self._ended = self._ended or isinstance(item, End)
        if not isinstance(item, Frame):
            self._picture_due = False
        elif item.track == self._track:
            self._last = entry
            arrival = self._arrival
            if entry.due_us is not None or arrival is None or (item.seq, item.index) == arrival.picture.place:
                self._picture_due = False
            if not item.preroll:
                if entry.due_us is not None or self._motion is Motion.REVERSE:
                    self._arrival = None
                known = self._position
                self._position = Position(item.time_us, item.cursor, *_neighbours(known, item))
        return item

    def _wanted(self, item: Item) -> bool:
        other = isinstance(item, Frame) and item.track != self._track
        return not other or self._speed in (1.0, math.inf)

    async def _fill(self) -> End | None:
        """Read on; the End when there is nothing."""
        async with self._lock:
            feed = self._feed
            if feed is None or self._queue or not (self._speed or self._picture_due):
                return None
            self._master.hold(self)
            entries: list[Entry] = []
            end: End | None = None
            try:
                budget = FIRST if self._picture_due else Budget(self._options.batch_bytes, BATCH_FRAMES)
                entries = await self._read(feed.more, budget)
                if feed is self._feed:
                    kept = self._until_end(entries)
                    if self._motion is Motion.ALL:
                        kept = await self._read(self._companions.merge, kept)
                    self._queue.extend(kept)
                    if not entries:
                        end = await self._no_more()
            finally:
                if entries or end is not None or not self._options.follow:
                    self._master.release(self)
        if not entries and end is None and not self._ended:
            await self._until(self._told, POLL_S)
        return end

    async def _no_more(self) -> End | None:
        """Footage is over in this direction, or not there yet."""
        time_us = self.position().time_us
        if self._speed < 0:
            self._ended = True
            self._master.rest(self, None)
            return End("begin", time_us)
        durable_us = await self._read(self._footage.reader.durable_us, self._track) or time_us
        live = self._clock.utc_us() - durable_us < LIVE_US
        if not live or not self._options.follow:
            self._master.rest(self, None)
            self._master.release(self)
        self._ended = not self._options.follow
        if self._told_live:
            return None
        self._told_live = True
        reason: EndReason = "live" if live else "end"
        return End(reason, durable_us)

    def _until_end(self, entries: list[Entry]) -> list[Entry]:
        """Cut at the end that was asked for."""
        end_us = self._options.end_us
        if end_us is None or self._speed < 0:
            return entries
        for at, entry in enumerate(entries):
            if entry.due_us is not None and entry.due_us >= end_us:
                self._feed = _Nothing()
                return [*entries[:at], Entry(End("end", end_us), None)]
        return entries

    # -- waiting --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._told.set()
        self._changed.set()

    async def _until(self, event: asyncio.Event, seconds: float | None) -> None:
        """Until something changes, or for so long."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass  # the time asked for has passed

    async def _read(self, call: Callable[..., T], *args: object) -> T:
        return await self._store.read(call, *args)


class _Nothing:
    """The feed behind the end that was asked for."""

    def more(self, budget: Budget) -> list[Entry]:
        return []


def _hidden(item: Item) -> Item:
    return replace(item, preroll=True) if isinstance(item, Frame) else item


def _neighbours(known: Position | None, frame: Frame) -> tuple[int | None, int | None]:
    """The keys around, as far as they are known without looking."""
    if known is None or frame.is_key:
        return None, None
    return known.previous_us, known.next_us
