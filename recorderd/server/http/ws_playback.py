"""Recorded playback over a WebSocket: cameras on one clock.

Law: a group is one clock and the feeds of its cameras; commands act on the group, frames go out feed by feed. While a
socket does not take what is sent, the group's clock stands: nothing piles up here beyond what one read of each camera
brought. Called by `ws_play_commands`, which checks what the client said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mediadb.errors import MediaDbError
from mediadb.types import TrackConfig
from recorderd.core.clock import Clock
from recorderd.core.errors import RecorderdError
from recorderd.engine.views import CameraView
from recorderd.server.deps import ServerDeps
from recorderd.server.footage import store_of, stream_tracks
from recorderd.server.http.fragments import Init
from recorderd.server.http.ws_movie import RecordedMovie
from recorderd.server.http.ws_protocol import MediaFlag, MediaType, media_head
from recorderd.server.problems import problem_of
from recorderd.server.shapes import interval_json
from recorderd.server.timespan import show_time
from recorderd.services.playback.pacing import MasterClock
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import Frame, Hole, Item, NoFootage, PlayerOptions, Position, SeekMode

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore
    from recorderd.server.http.ws_session import Session

EPOCH_US = 0  # movie time 0: 1970-01-01T00:00:00Z, so movie time is Unix time
LEAD_US = 1_000_000  # media goes out this much ahead of the clock
GROUP_BYTES = 4 * 2**20  # what the cameras of one clock hold in memory together
LEAST_BYTES = 128 * 1024
SHOWN_CAUSES = 100  # of one hole
AT_A_TIME = (SeekMode.EXACT, SeekMode.KEY)


class PlayGroup:
    """Cameras that play on one clock."""

    def __init__(self, clock: Clock, number: int) -> None:
        self.number = number
        self.master = MasterClock(clock, speed=0.0)
        self.feeds: list[PlaybackFeed] = []
        self.speed = 1.0
        self._lock = asyncio.Lock()

    async def seek(self, time_us: int, mode: SeekMode) -> list[dict[str, Any]]:
        """All cameras to one moment: that of the first, unless `time_us` says it. Raises NoFootage when no camera has
        any there."""
        async with self._lock:
            self.master.hold(self)
            try:
                return await self._seek(time_us, mode)
            finally:
                self.master.release(self)

    async def _seek(self, time_us: int, mode: SeekMode) -> list[dict[str, Any]]:
        """First look, then go: a refusal changes nothing, and no frame of a new place meets the old time."""
        if mode not in AT_A_TIME:
            time_us, mode = (await self.feeds[0].player.find(time_us, mode)).time_us, SeekMode.EXACT
        reached: list[Position] = []
        refused: NoFootage | None = None
        for feed in self.feeds:
            try:
                reached.append(await feed.player.find(time_us, mode))
            except NoFootage as error:
                refused = error
        if refused is not None and not reached:
            raise refused
        newest_us = max(position.time_us for position in reached)
        ahead = mode is SeekMode.EXACT and any(position.next_us is not None for position in reached)
        for feed in self.feeds:
            feed.player.park()
        self.master.jump(max(time_us, newest_us) if ahead else newest_us)
        return [await feed.go(time_us, mode) for feed in list(self.feeds)]

    def set_speed(self, speed: float) -> None:
        """For all; 0 pauses."""
        if speed:
            self.speed = speed
        for feed in self.feeds:
            feed.player.set_speed(speed)
        self.master.set_speed(speed)

    async def step(self, frames: int) -> list[dict[str, Any]]:
        """The first camera moves by frames, the others to its time; all paused."""
        async with self._lock:
            self.set_speed(0)
            leader = self.feeds[0]
            position = await leader.step(frames)
            self.master.jump(position.time_us)
            others = [await feed.go(position.time_us, SeekMode.EXACT) for feed in self.feeds[1:]]
            return [leader.told(position), *others]

    def state(self) -> dict[str, Any]:
        """Where the clock is."""
        return {"clock": self.number, "time": show_time(self.master.media_us()), "speed": self.master.speed}


@dataclass(frozen=True, slots=True)
class PlayRequest:
    """What a camera is played with."""

    role: str
    audio: bool
    options: PlayerOptions


class PlaybackFeed:
    """One camera of a group."""

    def __init__(self, deps: ServerDeps, view: CameraView, request: PlayRequest, group: PlayGroup) -> None:
        """Raises Refusal (not-found, storage-unavailable)."""
        video, audio = stream_tracks(view, request.role)
        self.camera = view.id
        self.number = 0
        self._store: AsyncStore = store_of(deps, view)
        self._audio = audio if request.audio else None
        tracks = [video, audio] if request.audio else [video]
        self.player = Player(self._store, tracks, deps.clock, request.options, master=group.master)
        self._group = group
        self._movie = RecordedMovie(EPOCH_US)
        self._sequence = 0
        self._send = asyncio.Lock()
        self._session: Session | None = None
        self.player.park()
        group.feeds.append(self)

    def begin(self, session: Session, number: int) -> None:
        """The socket it goes out on; `run` follows."""
        self._session, self.number = session, number

    async def go(self, time_us: int, mode: SeekMode) -> dict[str, Any]:
        """To a place; what the client is told of it. A camera without footage there stands aside until the next."""
        async with self._send:
            try:
                place = self.told(await self.player.seek(time_us, mode))
            except NoFootage as error:
                self.player.park()
                place = {**self.told(None), "error": error.code}
            await self._announce(place)
            return place

    async def step(self, frames: int) -> Position:
        """Frames go out at once, behind a `position`."""
        async with self._send:
            items = await self.player.step(frames)
            position = self.player.position()
            await self._announce(self.told(position))
            await self._give(items)
            return position

    def told(self, position: Position | None) -> dict[str, Any]:
        """A position as the client sees it."""
        place: dict[str, Any] = {"feed": self.number, "camera": str(self.camera)}
        if position is not None:
            place["time"] = show_time(position.time_us)
            place["previous"], place["next"] = show_time(position.previous_us), show_time(position.next_us)
        return place

    async def _announce(self, place: dict[str, Any]) -> None:
        """Media that follow belong to a new place: the client drops what it has."""
        self._movie = RecordedMovie(EPOCH_US, await self._sound())
        if self._session is not None:
            clock = {"clock": self._group.number, "speed": self._group.master.speed}
            await self._session.send({"type": "position", **clock, **place})

    async def run(self, session: Session, number: int) -> str:
        while True:
            items = await self.player.next()
            arrivals = self.player.arrivals
            async with self._send:
                if arrivals == self.player.arrivals:
                    await self._give(items)

    def close(self) -> None:
        self.player.let_go()
        if self in self._group.feeds:
            self._group.feeds.remove(self)
        if not self._group.feeds and self._session is not None:
            self._session.groups.pop(self._group.number, None)

    async def _give(self, items: Sequence[Item]) -> None:
        """To the socket; the clock stands while it does not take."""
        session = self._session
        if session is None:
            return
        self._group.master.hold(self)
        try:
            for item in items:
                if isinstance(item, Frame):
                    await self._frame(session, item)
                elif isinstance(item, Hole):
                    await session.send(self._hole(item))
                else:
                    place = {"feed": self.number, "camera": str(self.camera), "end": item.reason}
                    await session.send({"type": "end", **place, "time": show_time(item.time_us)})
        finally:
            self._group.master.release(self)

    async def _frame(self, session: Session, frame: Frame) -> None:
        for part in self._movie.feed(frame):
            if isinstance(part, Init):
                await session.send(
                    {"type": "media", "feed": self.number, "mime": part.mime, "init_bytes": len(part.data),
                     "epoch": show_time(EPOCH_US)}
                )  # fmt: skip
                await session.send_media(self._head(MediaType.INIT, 0, frame.time_us), part.data)
            else:
                flags = MediaFlag.KEY if frame.is_key else MediaFlag(0)
                flags |= MediaFlag.PREROLL if frame.preroll else MediaFlag(0)
                kind = MediaType.VIDEO if frame.track == self.player.track else MediaType.AUDIO
                await session.send_media(self._head(kind, flags, frame.time_us), part.head, frame.sample.data)

    def _hole(self, hole: Hole) -> dict[str, Any]:
        causes = [interval_json(one) for one in hole.causes[-SHOWN_CAUSES:]]
        return {"type": "hole", "feed": self.number, "start": show_time(hole.start_us),
                "end": show_time(hole.end_us), "causes": causes}  # fmt: skip

    def _head(self, kind: MediaType, flags: int, time_us: int) -> bytes:
        self._sequence += 1
        return media_head(kind, flags, self.number, self._sequence, max(0, time_us))

    async def _sound(self) -> TrackConfig | None:
        """How sound is coded around here; None when there is none."""
        if self._audio is None:
            return None
        reader = self._store.reader
        try:
            ref = await self._store.read(reader.locate_key, self._audio, self._group.master.media_us(), 0)
            return None if ref is None else (await self._store.read(reader.table, ref)).config
        except MediaDbError:
            return None  # sound that cannot be read is silence


def error_json(error: RecorderdError | MediaDbError) -> dict[str, Any]:
    """The error of a reply or an `ended`."""
    problem = problem_of(error)
    return {"code": problem.kind.code, "message": problem.detail, "params": dict(problem.params)}
