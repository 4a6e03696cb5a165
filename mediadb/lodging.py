"""Where the samples of a store go: into its own log, or, while that takes nothing, into the log of another.

Law: loop thread only, no files. Samples never wait for each other across tracks and none is dropped here: while tracks
change hands theirs are held for the moment this takes. Out: all tracks at once, with every commit that was not durable.
Home: each track at its next key, all of them after HOME_US. A `TrackState` is one writer's at a time: it goes from
thread to thread by a command that closes what it has open. Used by `mediadb.aio` only.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol

from mediadb.types import Cause, KeyType, Sample, State, TrackKind
from mediadb.write.collect import Collector
from mediadb.write.handover import Handover, adopt, all_home, come_home, hand_over, part, take_back
from mediadb.write.items import CoverItem, Item, Now
from mediadb.write.segment_chunk import TrackState
from mediadb.write.writer_thread import Items, WriterThread

HOME_US: Final = 30_000_000  # a track without a key by then goes home as it is
GONE_HOME: Final = Cause(State.NOT_SCHEDULED, "moved-home")


class Place(enum.Enum):
    """Where the samples are written."""

    HOME = "home"
    LEAVING = "leaving"
    ABROAD = "abroad"
    RETURNING = "returning"


class Host(Protocol):
    """The store that stands in."""

    @property
    def storage(self) -> str: ...
    @property
    def thread(self) -> WriterThread: ...


class Lodging:
    """See the module. `post(call, *args)` runs a call on the loop thread; `told(code, params)` hears of each move."""

    def __init__(
        self,
        storage: str,
        thread: WriterThread,
        collector: Collector,
        post: Callable[..., object],
        told: Callable[[str, dict[str, object]], None],
    ) -> None:
        self._storage, self._thread, self._collector = storage, thread, collector
        self._post, self._told = post, told
        self._host: Host | None = None
        self._recalled = False  # on the way out: the host leaves meanwhile
        self._split = False  # on the way out again: some tracks had not come home yet
        self.place = Place.HOME
        self._waiting: list[tuple[Items, Now]] = []  # while all tracks leave
        self._crossing: dict[uuid.UUID, list[Item]] = {}  # on the way home: theirs until the state is there
        self._home: set[uuid.UUID] = set()  # back already
        self._since_us = 0
        self._covers: dict[uuid.UUID, Cause] = {}  # what was said last of each track, abroad

    @property
    def host(self) -> Host | None:
        """Who stands in, None at home."""
        return self._host

    @property
    def busy(self) -> WriterThread | None:
        """Whose thread has tracks that change hands just now; None when no samples are held for that."""
        if self.place is Place.LEAVING:
            return self._thread
        return self._host.thread if self._crossing and self._host is not None else None

    # -- every slot -----------------------------------------------------------------------------------------------

    def slot(self, items: Items, now: Now, commit: bool) -> None:
        """Hand a slot to whoever writes it."""
        if self.place is Place.HOME:
            self._thread.slot(items, now, commit)
            return
        if self.place is Place.LEAVING:
            self._waiting.append((items, now))
            items = []
        elif self.place is Place.ABROAD:
            self._abroad(items, now)
            items = []
        else:
            items = self._sort(items, now)
        self._thread.slot(items, now, commit)
        if self.place is Place.RETURNING:
            self._settle()

    def _abroad(self, items: Items, now: Now) -> None:
        for track, item in items:
            if isinstance(item, CoverItem):
                self._covers[track.spec.track] = item.cause
        if self._host is not None and items:
            self._host.thread.slot(items, now, False)

    # -- out ------------------------------------------------------------------------------------------------------

    def leave(self, host: Host, now: Now) -> None:
        """From here on `host` writes; what is not durable is written there first. Nothing happens while tracks cross:
        to be asked again."""
        if self._crossing or self.place not in (Place.HOME, Place.RETURNING):
            return
        self._split = self.place is Place.RETURNING
        self._host, self.place, self._recalled = host, Place.LEAVING, False
        tracks = {state.spec.track for state in self._collector.states()} if self._split else set()
        there = tracks - self._home
        done = self._thread.do(lambda writer: hand_over(writer, now, host.storage, there))
        done.add_done_callback(lambda done: self._post(self._left, done, now))

    def _left(self, done: Future[Handover], now: Now) -> None:
        host, failed = self._host, done.exception() is not None
        if host is None or failed or self._recalled:
            self._stay(None if failed else done.result(), now)
            return
        given = done.result()
        host.thread.do(lambda writer: adopt(writer, given, now))
        self.place = Place.ABROAD
        self._home.clear()
        waiting, self._waiting = self._waiting, []
        for items, then in waiting:
            self._abroad(items, then)
        self._told("moved-to-fallback", {"fallback": host.storage, "commits": len(given.commits)})

    def _stay(self, given: Handover | None, now: Now) -> None:
        """Nobody takes them, or handing them over failed (which the writer says): all goes on at home. Tracks that are
        with the host since an earlier time come home now."""
        self._thread.do(all_home if given is None else partial(take_back, given=given, now=now))
        self.place, self._since_us = Place.RETURNING, now.mono_us - HOME_US
        if not self._split:
            self._home.update(state.spec.track for state in self._collector.states())
        waiting, self._waiting = self._waiting, []
        for items, then in waiting:
            self.slot(items, then, False)
        if self.place is Place.RETURNING:
            self._settle()

    # -- home -----------------------------------------------------------------------------------------------------

    def come_home(self, now: Now) -> None:
        """The own log takes commits again: each track follows at its next key."""
        if self.place is Place.ABROAD:
            self.place, self._since_us = Place.RETURNING, now.mono_us
            self._home.clear()

    def recall(self, now: Now) -> bool:
        """The host leaves: home at once, whatever becomes of it there. False when nothing of it waits for the host: the
        own disk must answer first, which may take for ever."""
        self._recalled = self.place is Place.LEAVING
        if self.place in (Place.ABROAD, Place.RETURNING):
            self.come_home(now)
            self._since_us = now.mono_us - HOME_US
        return not self._recalled

    def _sort(self, items: Items, now: Now) -> Items:
        """Of one slot: what stays abroad is handed to the host, what waits is kept, the rest is for the own log."""
        late = now.mono_us - self._since_us >= HOME_US
        stay: Items = []
        ours: Items = []
        going: dict[uuid.UUID, TrackState] = {}
        if late:
            for state in self._collector.states():
                track = state.spec.track
                if track not in self._home and track not in self._crossing:
                    going[track] = state
                    self._crossing[track] = []
        for state, item in items:
            track = state.spec.track
            if track in self._home:
                ours.append((state, item))
            elif track in self._crossing:
                self._crossing[track].append(item)
            elif _enters(state, item):
                going[track] = state
                self._crossing[track] = [item]
            else:
                stay.append((state, item))
        self._abroad(stay, now)
        if going:
            self._fetch(list(going.values()), now)
        return ours

    def _fetch(self, states: list[TrackState], now: Now) -> None:
        host = self._host
        assert host is not None
        done = host.thread.do(lambda writer: part(writer, states, self._storage, now))
        done.add_done_callback(lambda done: self._post(self._crossed, done, now))

    def _crossed(self, done: Future[list[TrackState]], now: Now) -> None:
        host = self._host
        if host is None or done.exception() is not None:  # the host's writer says so: they stay, until their next key
            for state in self._collector.states():
                held = self._crossing.pop(state.spec.track, [])
                self._abroad([(state, item) for item in held], now)
            return
        states = done.result()
        left: Items = [(state, CoverItem(now.utc_us, GONE_HOME)) for state in states]
        host.thread.slot(left, now, False)  # there nothing more is due
        self._thread.do(partial(come_home, tracks=states, origin=host.storage, now=now))
        items: Items = []
        for state in states:
            track = state.spec.track
            self._collector.renew(state)
            self._home.add(track)
            cause = self._covers.get(track, Cause(State.RECORDED))
            held = self._crossing.pop(track, [])
            items += [(state, CoverItem(_begins(held, now), cause)), *((state, item) for item in held)]
        self.slot(items, now, False)

    def _settle(self) -> None:
        """Are all at home?"""
        host = self._host
        if host is None or not all(state.spec.track in self._home for state in self._collector.states()):
            return
        self._thread.do(all_home)
        self.place, self._host = Place.HOME, None
        self._home.clear()
        self._covers.clear()
        self._told("moved-home", {"fallback": host.storage})


def _enters(state: TrackState, item: Item) -> bool:
    """May a decoder begin with it?"""
    if not isinstance(item, Sample):
        return False
    return item.key_type != KeyType.DELTA or state.spec.kind is not TrackKind.VIDEO


def _begins(held: list[Item], now: Now) -> int:
    first = next((item for item in held if isinstance(item, Sample)), None)
    return first.recv_us if first is not None else now.utc_us
