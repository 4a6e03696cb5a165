"""A `play` subscription: recorded units when they are due.

Law: `services.playback` knows what is due; here it is sent, and commands are carried out one after the other. While the
client takes nothing, play stands still. Called by `requests`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, get_args

from mediadb.errors import MediaDbError
from mediadb.types import TrackKind
from recorderd.core.errors import RecorderdError, UsageError
from recorderd.engine.stream import track_id
from recorderd.server.footage import store_of, stream_tracks
from recorderd.server.stream_tcp import fields
from recorderd.server.stream_tcp.heads import hole_head, unit_head
from recorderd.server.stream_tcp.request import Request
from recorderd.server.stream_tcp.subscription import TaskSubscription
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import (
    BadCursor,
    Cursor,
    End,
    Frame,
    Gaps,
    Item,
    PlayerOptions,
    SeekMode,
    motion_of,
)
from recorderd.wire.stream.messages import Type

if TYPE_CHECKING:
    from recorderd.engine.views import CameraView
    from recorderd.server.stream_tcp.session import Session

MAX_STEP = 1_000
MAX_COMMANDS = 32  # waiting to be carried out
BATCH_BYTES = 4 * 2**20
_AT_PLACE = (SeekMode.EXACT, SeekMode.KEY)  # modes that need a time
_NO_TIME = (SeekMode.BEGIN, SeekMode.END)
_MODES = tuple(mode.value for mode in SeekMode)

Command = Callable[[], Awaitable[None]]


class PlayFeed(TaskSubscription):
    """Raises RecorderdError for what cannot be meant; that there is no footage is said afterwards."""

    def __init__(self, session: Session, request: Request, view: CameraView) -> None:
        super().__init__(session, request)
        head = request.head
        self._role = fields.text(head, "stream", "main")
        stream_tracks(view, self._role)
        kinds = [TrackKind.VIDEO]
        kinds += [TrackKind.AUDIO] if fields.flag(head, "audio") else []
        kinds += [TrackKind.METADATA] if fields.flag(head, "metadata") else []
        self._tracks = [track_id(view.id, self._role, kind) for kind in kinds]
        gaps: Gaps = "keep" if fields.choice(head, "gaps", get_args(Gaps), "skip") == "keep" else "skip"
        options = PlayerOptions(
            gaps=gaps, follow=fields.flag(head, "follow"), end_us=fields.optional_time_us(head, "end_us"),
            batch_bytes=BATCH_BYTES,
        )  # fmt: skip
        self._speed = fields.speed(head, 1.0)
        motion_of(self._speed)  # refuses what is no speed
        if fields.flag(head, "paused"):
            self._speed = 0.0
        self._first = request.id, *_place(head, self._tracks[0])
        deps = session.shared.deps
        self._player = Player(store_of(deps, view), self._tracks, deps.clock, options)
        self._place = 0  # grows whenever play goes elsewhere
        self._commands: deque[Command] = deque()
        self._commanded = asyncio.Event()

    async def run(self) -> None:
        """Play from the place asked for until the subscription is stopped."""
        number, mode, time_us, cursor = self._first
        self._player.set_speed(self._speed)
        await self._go(number, mode, time_us, cursor)
        self.start("play commands", self._work())
        while True:
            items = await self._player.next()
            place = self._place
            for item in items:
                if not self.can_send:
                    await self._stand_still()
                if place != self._place:
                    break
                self._send(item)

    def seek(self, request: Request) -> None:
        place = _place(request.head, self._tracks[0])
        self._command(lambda: self._go(request.id, *place))

    def speed(self, request: Request) -> None:
        speed = fields.speed(request.head)
        motion_of(speed)
        self._command(lambda: self._set_speed(speed))

    def step(self, request: Request) -> None:
        frames = fields.count(request.head, "frames", -MAX_STEP, MAX_STEP)
        if not frames:
            raise UsageError("`frames` must not be 0", name="frames")
        self._command(lambda: self._step(request.id, frames))

    def close(self) -> None:
        super().close()
        self.session.shared.tree.start("play end", self._player.close())

    # -- inside ----------------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        if len(self._commands) >= MAX_COMMANDS:
            raise UsageError(f"at most {MAX_COMMANDS} commands wait to be carried out", highest=MAX_COMMANDS)
        self._commands.append(command)
        self._commanded.set()

    async def _work(self) -> None:
        """Carry out commands in order; one that fails leaves play where it is."""
        while True:
            self._commanded.clear()
            while self._commands:
                command = self._commands.popleft()
                try:
                    await command()
                except (RecorderdError, MediaDbError) as error:
                    self.session.fail(self.number, None, error)
            await self._commanded.wait()

    async def _go(self, number: int | None, mode: SeekMode, time_us: int | None, cursor: Cursor | None) -> None:
        at_us = self._player.position().time_us if time_us is None and mode not in _NO_TIME and not cursor else time_us
        await self._player.seek(at_us or 0, mode, cursor)
        self._moved(number)

    async def _set_speed(self, speed: float) -> None:
        self._speed = speed
        self._player.set_speed(speed)

    async def _step(self, number: int | None, frames: int) -> None:
        self._speed = 0.0
        items = await self._player.step(frames)
        edge = items[0].reason if isinstance(items[0], End) else None
        self._moved(number, edge)
        for item in items if edge is None else ():
            await self.room()
            self._send(item)

    def _moved(self, number: int | None, end: str | None = None) -> None:
        """What comes from here on belongs to the new place."""
        self._place += 1
        position = self._player.position()
        self._tell_position(position.time_us, position.cursor, number=number, end=end)

    async def _stand_still(self) -> None:
        """The clock of play stops while nothing can be sent."""
        if not math.isinf(self._speed):
            self._player.set_speed(0)
        await self.room()
        self._player.set_speed(self._speed)

    def _send(self, item: Item) -> None:
        if isinstance(item, Frame):
            coding = self.session.shared.codings.of(item.track, item.kind, self._role, item.config)
            self.send_coding(coding)
            self.send_media(Type.UNIT, unit_head(item, coding.number), item.sample.data)
        elif isinstance(item, End):
            self._tell_position(item.time_us, self._player.position().cursor, end=item.reason)
        else:
            self.tell(Type.HOLE, hole_head(item))

    def _tell_position(
        self, time_us: int, cursor: Cursor | None, *, number: int | None = None, end: str | None = None
    ) -> None:
        head: dict[str, Any] = {} if number is None else {"id": number}
        head["time_us"] = time_us
        if cursor is not None:
            head["cursor"] = str(cursor)
        if end is not None:
            head["end"] = end
        self.tell(Type.POSITION, head)


def _place(head: fields.Head, track: object) -> tuple[SeekMode, int | None, Cursor | None]:
    """Where to go. Raises UsageError, BadCursor."""
    if head.get("cursor") is not None:
        cursor = Cursor.parse(fields.text(head, "cursor"))
        if cursor.track != track:
            raise BadCursor("the cursor is of another track", cursor=str(cursor))
        return SeekMode.CURSOR, None, cursor
    if head.get("from") is not None:
        return SeekMode(fields.choice(head, "from", ("begin", "end"))), None, None
    mode = SeekMode(fields.choice(head, "mode", _MODES, SeekMode.EXACT.value))
    if mode is SeekMode.CURSOR:
        raise UsageError("`mode` 'cursor' needs `cursor`", name="cursor")
    if mode in _NO_TIME:
        return mode, None, None
    if mode in _AT_PLACE or head.get("time_us") is not None:
        return mode, fields.time_us(head, "time_us"), None
    return mode, None, None
