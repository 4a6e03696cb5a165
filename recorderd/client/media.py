"""The four streams that a server gives: live, playback, pull, events.

Law: each knows its opening message, how it goes on after a lost connection, and its items. Made by `Client`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from recorderd.client.connection import Connection, refused
from recorderd.client.decode import chunk_of, event_of, hole_of, position_of, sealed_of, unit_of
from recorderd.client.errors import ConnectionLost, Damaged
from recorderd.client.stream import Host, Stream
from recorderd.client.values import Chunk, Event, Hole, Position, Sealed, Unit
from recorderd.media.access_unit import MediaKind
from recorderd.wire.stream.messages import Message, Type

Mode = Literal[
    "exact", "key", "next-key", "previous-key", "next-sequence", "previous-sequence", "begin", "end"]  # fmt: skip
PLAY_WINDOW: Final = 4 * 2**20
PULL_WINDOW: Final = 32 * 2**20
EVENT_WINDOW: Final = 1 * 2**20
RECENT: Final = 8192  # units by which a live stream knows what comes again: minutes, more than the server holds
_Same = tuple[MediaKind, int, int, int]  # a unit's kind, recv_us, pts and length


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """`stream`: 'main' or 'sub'. `sealed`: say when footage became durable. `window`: bytes that may lie unread."""

    stream: str = "main"
    audio: bool = False
    metadata: bool = False
    sealed: bool = False
    window: int = PLAY_WINDOW


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """`speed` -16 to 16, 0 and `paused` stand still; `mode`: where a time is entered; `gaps`: 'skip' goes on at once
    behind a hole, 'keep' waits as long as it lasted; `end_us`: stop there; `follow`: go on with new footage."""

    stream: str = "main"
    audio: bool = False
    metadata: bool = False
    mode: Mode = "exact"
    speed: float = 1.0
    paused: bool = False
    gaps: Literal["skip", "keep"] = "skip"
    end_us: int | None = None
    follow: bool = False
    window: int = PLAY_WINDOW


@dataclass(frozen=True, slots=True)
class PullOptions:
    """`tracks`: kinds to pull. `follow`: behind the end, wait for new footage. `check`: take the SHA-256
    of each chunk here too (the server has checked it already)."""

    stream: str = "main"
    tracks: tuple[str, ...] = ("video",)
    follow: bool = False
    check: bool = True
    window: int = PULL_WINDOW


class Live(Stream[Unit | Sealed]):
    """A camera now, from the newest key on. After a lost connection it goes on behind the last unit of each kind, none
    twice; where the server holds no keyframe that early any more, the units in between are missing here, and recorded
    there: `reconnects` counts, and times tell."""

    def __init__(self, host: Host, camera: str, options: LiveOptions) -> None:
        super().__init__(host, options.window)
        self._camera, self._options = camera, options
        self._last_us: dict[MediaKind, int] = {}
        self._recent: deque[_Same] = deque(maxlen=RECENT)
        self._held_before: frozenset[_Same] = frozenset()  # what may come again on a connection made again

    def _request(self) -> tuple[Type, dict[str, Any]]:
        options = self._options
        head: dict[str, Any] = {
            "camera": self._camera, "stream": options.stream, "audio": options.audio, "metadata": options.metadata,
            "sealed": options.sealed, "credit": self._window,
        }  # fmt: skip
        if MediaKind.VIDEO in self._last_us:  # a picture takes longer to arrive than the sound that began after it
            head["after_us"] = min(self._last_us.values())
        self._held_before = frozenset(self._recent)
        return Type.LIVE, head

    def _take(self, message: Message) -> Unit | Sealed | None:
        if message.type == Type.UNIT:
            unit = unit_of(message, self._config(message.head))
            same = (unit.kind, unit.recv_us, unit.pts, len(unit.data))
            if same in self._held_before:
                return None
            self._last_us[unit.kind] = unit.recv_us
            self._recent.append(same)
            return unit
        return sealed_of(message) if message.type == Type.SEALED else None


class Player(Stream[Unit | Hole | Position]):
    """Recorded footage at the pace of the clock, forwards or backwards. A player does not go on by itself after a
    lost connection: open another at `cursor`."""

    resumes: ClassVar[bool] = False

    def __init__(self, host: Host, camera: str, where: int | str, options: PlayOptions) -> None:
        super().__init__(host, options.window)
        self._camera, self._where, self._options = camera, where, options
        self._moving: tuple[int, asyncio.Future[Position]] | None = None
        self.cursor: str | None = None

    async def __anext__(self) -> Unit | Hole | Position:
        item = await super().__anext__()
        if not isinstance(item, Hole) and item.cursor is not None:
            self.cursor = item.cursor
        return item

    async def seek(self, time_us: int | None = None, mode: Mode = "exact") -> Position:
        """Go to a time, or relative to where playback stands (next-key, ...); returns the place found: the time of the
        picture shown there. What was on its way is dropped: the next items belong to the new place. Raises Refused
        ('no-footage')."""
        return await self._move(Type.SEEK, {"mode": mode} if time_us is None else {"time_us": time_us, "mode": mode})

    async def set_speed(self, speed: float) -> None:
        """-16 to 16, or math.inf; 0 pauses. Beyond 4 forwards and 1 backwards only keyframes are sent."""
        await self._standing().ask(Type.SPEED, {"speed": speed}, self._number)

    async def step(self, frames: int) -> list[Unit]:
        """Go `frames` pictures on (or back, negative) and stand still. Returns what to decode; the last is the one to
        show. Empty at the edge of footage, and when the picture cannot be read. Raises Refused."""
        return await self._shown(await self._move(Type.STEP, {"frames": frames}))

    async def show(self, time_us: int | None = None, mode: Mode = "exact") -> list[Unit]:
        """On a paused player, `seek` and the picture there: last in the list, behind what its decoder needs."""
        return await self._shown(await self.seek(time_us, mode))

    def on_message(self, message: Message) -> None:
        if message.type == Type.POSITION and self._moving and message.head.get("id") == self._moving[0]:
            self._flush()
            if not self._moving[1].done():
                self._moving[1].set_result(position_of(message))
            return
        if message.type == Type.ERROR and self._moving and not self._moving[1].done():
            self._moving[1].set_exception(refused(message.head))  # said after its `ok`: there is no footage, ...
            return
        super().on_message(message)

    async def _move(self, kind: Type, head: Mapping[str, Any]) -> Position:
        """A command that leads to another place: its `position` comes between what is stale and what is not."""
        link = self._standing()
        ident = link.next_id()
        self._moving = (ident, asyncio.get_running_loop().create_future())
        try:
            await link.ask(kind, head, self._number, ident)
            return await link.guard(self._moving[1])
        finally:
            self._moving = None

    async def _shown(self, place: Position) -> list[Unit]:
        """Units up to the one shown at `place`. With B-frames a picture that is shown later may be decoded before it
        and is no PREROLL, so the time decides."""
        units: list[Unit] = []
        if place.end is not None:
            return units  # the edge of footage: nothing follows
        async for item in self:
            if isinstance(item, Unit):
                units.append(item)
                if not item.preroll and item.time_us == place.time_us and item.kind is MediaKind.VIDEO:
                    return units
            elif isinstance(item, Position) and item.end is not None:
                return []
            elif isinstance(item, Hole) and (units or item.start_us <= place.time_us < item.end_us):
                return []  # the picture itself cannot be read
        return units

    def _standing(self) -> Connection:
        if self._link is None:
            raise self._lost or self._over or ConnectionLost("the player is closed")
        return self._link

    def _request(self) -> tuple[Type, dict[str, Any]]:
        options, where = self._options, self._where
        place = {"time_us": where} if isinstance(where, int) else {"cursor": where} if ":" in where else {"from": where}
        head: dict[str, Any] = {
            "camera": self._camera, "stream": options.stream, "audio": options.audio, "metadata": options.metadata,
            **place, "mode": options.mode, "speed": options.speed, "paused": options.paused, "gaps": options.gaps,
            "follow": options.follow, "credit": self._window,
        }  # fmt: skip
        if options.end_us is not None:
            head["end_us"] = options.end_us
        return Type.PLAY, head

    def _take(self, message: Message) -> Unit | Hole | Position | None:
        if message.type == Type.UNIT:
            return unit_of(message, self._config(message.head))
        if message.type == Type.HOLE:
            return hole_of(message)
        return position_of(message) if message.type == Type.POSITION else None


class Pull(Stream[Chunk | Unit | Hole | Position]):
    """Recorded footage as stored, as fast as both sides can. Goes on by itself behind what it received last, so that
    everything comes exactly once, whatever happens to connections and server in between.

    A chunk above the server's message limit comes as its units. `Position` with `end` = 'live': all that is durable
    was sent (`follow` then waits for more)."""

    def __init__(
        self, host: Host, camera: str, range_us: tuple[int, int], cursors: Mapping[str, str], options: PullOptions
    ) -> None:
        super().__init__(host, options.window)
        self._camera, self._range_us, self._options = camera, range_us, options
        self._cursors = dict(cursors)

    async def __anext__(self) -> Chunk | Unit | Hole | Position:
        item = await super().__anext__()
        if self._options.check and isinstance(item, Chunk) and not item.whole:
            raise Damaged("a chunk does not have its SHA-256", track=str(item.track), seq=item.seq)
        return item

    def _request(self) -> tuple[Type, dict[str, Any]]:
        options = self._options
        return Type.PULL, {
            "camera": self._camera, "stream": options.stream, "tracks": list(options.tracks),
            "start_us": self._range_us[0], "end_us": self._range_us[1], "cursor": dict(self._cursors),
            "follow": options.follow, "credit": self._window,
        }  # fmt: skip

    def _take(self, message: Message) -> Chunk | Unit | Hole | Position | None:
        if message.type == Type.CHUNK:
            chunk = chunk_of(message, self._config(message.head))
            self._cursors[str(chunk.track)] = chunk.cursor
            return chunk
        if message.type == Type.UNIT:
            unit = unit_of(message, self._config(message.head))
            if unit.cursor is not None:
                self._cursors[str(unit.config.track)] = unit.cursor
            return unit
        if message.type == Type.HOLE:
            return hole_of(message)
        return position_of(message) if message.type == Type.POSITION else None


class Events(Stream[Event]):
    """Stored events after an id, then new ones as they happen; none twice, none left out."""

    def __init__(self, host: Host, after: int | None, newest: int) -> None:
        super().__init__(host, EVENT_WINDOW)
        self._after, self._newest = after, newest

    def _request(self) -> tuple[Type, dict[str, Any]]:
        return Type.EVENTS, {"newest": self._newest} if self._after is None else {"after": self._after}

    def _opened(self, head: Mapping[str, Any]) -> None:
        """The server says behind which id it begins: a cut before the first event then costs none."""
        if self._after is None and isinstance(head.get("after"), int):
            self._after = head["after"]

    def _take(self, message: Message) -> Event | None:
        if message.type != Type.EVENT:
            return None
        event = event_of(message)
        if self._after is not None and event.id <= self._after:
            return None
        self._after = event.id
        return event
