"""Recorded footage over RTSP: one camera's stream from the database to one viewer.

Law: the shell around a Player and a Line: commands in, packets out, the only waiting of recorded viewers. What is held
for a viewer is bounded (one batch of the player, what the outlet has not sent); a viewer that reads slowly slows only
itself. A pause keeps every frame in its place, so that the next PLAY goes on frame-exact. Called by the mount table.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import uuid
from collections.abc import Coroutine
from typing import Any

from mediadb.errors import MediaDbError
from recorderd.aio.supervisor import Supervisor
from recorderd.core.clock import Clock
from recorderd.core.errors import RecorderdError
from recorderd.core.rights import LOCAL, Right
from recorderd.rtspserver.later import Later
from recorderd.rtspserver.mount import FirstPacket, PlayStart, Presentation, Track, ViewerOutlet
from recorderd.rtspserver.statuses import Refused
from recorderd.rtspserver.wishes import PlayWish, clock_text
from recorderd.server.rtsp.formats import sdp_tracks
from recorderd.server.rtsp.line import Line, LinePlan
from recorderd.server.rtsp.recorded_request import (
    Course,
    Footage,
    RecordedRequest,
    Standing,
    course_of,
    is_recorded,
    look_up,
)
from recorderd.server.rtsp.sender import TrackSender, Traffic
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import NoFootage, PlayerOptions, Position, SeekMode

BATCH_BYTES = 2 * 2**20
SEND_BYTES = 256 * 1024
UDP_PARTING_S = 0.5


class RecordedMount:
    """Implements `rtspserver.mount.Mount`; one per connection and address."""

    def __init__(self, request: RecordedRequest, tree: Supervisor, clock: Clock, traffic: Traffic) -> None:
        self.request = request
        self.traffic = traffic
        self.tree = tree
        self.clock = clock
        self.tracks: tuple[tuple[uuid.UUID, Track], ...] = ()
        self.footage: Footage | None = None

    def admits(self, user: str) -> bool:
        LOCAL.require(Right.VIEW_RECORDED, self.request.view.id)
        return True

    def visit(self, outlet: ViewerOutlet) -> RecordedVisit:
        return RecordedVisit(self, outlet)

    def presentation(self) -> Later[Presentation]:
        """404 when nothing is recorded in the window."""
        answer: Later[Presentation] = Later()
        self.tree.start("rtsp describe", self._look(answer))
        return answer

    async def _look(self, answer: Later[Presentation]) -> None:
        store = self.request.store
        try:
            found = await store.read(look_up, store.reader, self.request)
        except NoFootage:
            answer.refuse(Refused(404))
            return
        except MediaDbError:
            answer.refuse(Refused(503))
            return
        self.footage = found
        sdp = sdp_tracks(found.configs.values(), (f"x-onvif-track:{self.request.view.id}",))
        self.tracks = tuple(zip(found.configs, sdp, strict=True))
        end_us = self.request.end_us
        length = "" if end_us is None else f"{max(0, end_us - found.begin_us) / 1e6:.6f}"
        range_text = f"npt=0-{length}" if length else f"clock={clock_text(found.begin_us)}-"
        answer.resolve(Presentation(sdp, range_text))


class RecordedVisit:
    """Implements `rtspserver.mount.Visit`."""

    def __init__(self, mount: RecordedMount, outlet: ViewerOutlet) -> None:
        self._mount = mount
        self._outlet = outlet
        self._senders: dict[uuid.UUID, TrackSender] = {}
        self._bases: dict[uuid.UUID, int] = {}
        self._player: Player | None = None
        self._line: Line | None = None
        self._tracks: frozenset[int] = frozenset()  # that play
        self._speed = 1.0
        self._end_us: int | None = None
        self._parting = True  # say goodbye at the end; a replay without one is told by the terminal flag alone
        self._parting_s = 0.0
        self._go = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def play(self, wish: PlayWish) -> PlayStart | Later[PlayStart]:
        known = self._line is not None and not self._line.over and wish.tracks == self._tracks
        if self._player is not None and known and not wish.changes:
            return self._resume(wish)
        self._tracks = wish.tracks
        answer: Later[PlayStart] = Later()
        self._leave()
        self._start("rtsp play", self._begin(wish, answer))
        return answer

    def pause(self) -> int | None:
        self._go.clear()
        if self._player is not None:
            self._player.set_speed(0)
        return self._line.position_us if self._line is not None else None

    def stop(self) -> None:
        self._leave()
        self._line = None
        self._senders.clear()

    def auth_failed(self) -> None:
        """Counted by the server as a 401."""

    def receiver_report(self, track: int, data: bytes) -> None:
        """Kept the session alive, which is all it is good for here."""

    def closed(self, cause: str) -> None:
        self._leave()

    # -- commands ----------------------------------------------------------------------------------------------------

    def _resume(self, wish: PlayWish) -> PlayStart:
        assert self._player is not None
        assert self._line is not None
        self._player.set_speed(self._speed)
        self._line.resume(self._mount.clock.utc_us())
        self._go.set()
        return PlayStart(self._line.position_us, self._first(wish))

    async def _begin(self, wish: PlayWish, answer: Later[PlayStart]) -> None:
        """Seek, answer, then send to the end."""
        try:
            start, player = await self._arrive(wish)
        except Refused as refusal:
            answer.refuse(refusal)
            return
        except NoFootage:
            answer.refuse(Refused(457))
            return
        except (MediaDbError, RecorderdError):
            answer.refuse(Refused(503))
            return
        self._player = player
        self._go.set()
        answer.resolve(start)
        assert self._line is not None
        await self._pump(player, self._line)

    async def _arrive(self, wish: PlayWish) -> tuple[PlayStart, Player]:
        mount, request = self._mount, self._mount.request
        assert mount.footage is not None
        standing = self._line.standing if self._line is not None and not self._line.over else None
        course = course_of(wish, mount.footage, request, Standing(*standing, self._end_us) if standing else None)
        player = self._make_player(wish, course)
        arrived = await self._seek(player, course)
        scale, paced = course.scale, course.paced
        self._end_us = course.end_us
        self._speed = scale if paced else math.copysign(math.inf, scale)
        player.set_speed(self._speed)
        self._parting = not wish.replay or course.end_us is not None
        self._parting_s = 0.0 if wish.reliable else UDP_PARTING_S
        self._set_up(wish)
        plan = LinePlan(
            start_us=arrived.time_us,
            scale=scale if paced else math.copysign(1.0, scale),
            stop_us=course.end_us if scale < 0 else None,
            wall_us=mount.clock.utc_us() if paced else None,
            compress=paced and request.gaps == "skip",
            frames=wish.frames,
            frames_every_us=wish.frames_every_us,
            replay=wish.replay,
            cseq=wish.cseq,
            continues=course.after is not None,
            follows=_follows(wish, course),
        )
        self._line = Line(plan, self._senders, self._bases)
        said_scale = scale if wish.scale is not None else None
        said_rate = paced if wish.replay or not wish.rate_control else None
        return PlayStart(arrived.time_us, self._first(wish), course.end_us, said_scale, said_rate), player

    async def _seek(self, player: Player, course: Course) -> Position:
        """Raises NoFootage."""
        request = self._mount.request
        if course.after is not None:
            return await player.seek(course.start_us, SeekMode.CURSOR, course.after)
        if course.scale < 0:
            player.set_speed(0)  # the group of the picture comes whole, then those before it
            arrived = await player.seek(course.start_us, SeekMode.EXACT, picture=False)
        else:
            track = request.tracks[0][0]
            inside = await request.store.read(is_recorded, request.store.reader, track, course.start_us)
            arrived = await player.seek(course.start_us, SeekMode.KEY if inside else SeekMode.NEXT_KEY)
        if course.is_beyond(arrived.time_us):
            raise NoFootage("the range lies in a hole", camera=request.view.name)
        return arrived

    def _make_player(self, wish: PlayWish, course: Course) -> Player:
        request = self._mount.request
        end_us = course.end_us if course.scale > 0 else None
        options = PlayerOptions(
            gaps=request.gaps, follow=_follows(wish, course), end_us=end_us, batch_bytes=BATCH_BYTES
        )
        sent = {track for number, (track, _) in enumerate(self._mount.tracks) if number in wish.tracks}
        leading = request.tracks[0][0]
        tracks = [leading, *(track for track in sent if track != leading)]
        return Player(request.store, tracks, self._mount.clock, options)

    def _set_up(self, wish: PlayWish) -> None:
        """Senders live as long as the session: sequence numbers run on over every PLAY."""
        for number, (track, sdp) in enumerate(self._mount.tracks):
            if number in wish.tracks:
                if track not in self._senders:
                    self._senders[track] = TrackSender(number, sdp, f"recorderd-{self._mount.request.view.id}")
                self._senders[track].report_anew()
                self._bases[track] = secrets.randbits(32)

    def _first(self, wish: PlayWish) -> tuple[FirstPacket, ...]:
        assert self._line is not None
        found = []
        for number, (track, sdp) in enumerate(self._mount.tracks):
            if number in wish.tracks:
                rtp = self._line.next_rtp(sdp.config.timebase_hz, self._bases[track])
                found.append(FirstPacket(number, self._senders[track].seq & 0xFFFF, rtp & 0xFFFFFFFF))
        return tuple(found)

    # -- media -------------------------------------------------------------------------------------------------------

    async def _pump(self, player: Player, line: Line) -> None:
        try:
            while not line.over:
                items = await player.next()
                parts: list[bytes] = []
                size = 0
                for item in items:
                    if not self._go.is_set():
                        self._flush(parts)
                        await self._go.wait()
                    parts.append(line.feed(item))
                    size += len(parts[-1])
                    if size >= SEND_BYTES:
                        self._flush(parts)
                        size = 0
                        await self._outlet.drain()
                self._flush(parts)
                await self._outlet.drain()
        except Exception:  # told by the supervisor; the viewer would wait for ever
            self._outlet.close()
            raise
        finally:
            await player.close()
        if not self._parting and not line.foreign:
            return
        await asyncio.sleep(self._parting_s)  # by UDP the word may overtake the pictures
        self._outlet.send([line.goodbye()])
        if line.foreign:
            self._outlet.close()

    def _flush(self, parts: list[bytes]) -> None:
        data = b"".join(parts)
        parts.clear()
        if data:
            self._outlet.send([data])
            self._mount.traffic.bytes += len(data)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._mount.tree.start(name, work)

    def _leave(self) -> None:
        self._go.clear()
        self._player = None
        if self._task is not None:
            self._task.cancel()
            self._task = None


def _follows(wish: PlayWish, course: Course) -> bool:
    """A replay without an end waits at the durable end for more."""
    return wish.replay and course.end_us is None and course.scale > 0
