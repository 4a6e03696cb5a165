"""The client of one recording server: questions, and streams that outlive a lost connection.

Law: no tasks of its own; a connection is made when something is asked for, by whoever asks, and made again with
growing pauses. Everything is read-only, so a question that a lost connection interrupted is asked again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from recorderd.client.connection import Connection, Timing
from recorderd.client.decode import cameras_of, intervals_of, timelines_of
from recorderd.client.errors import CannotConnect, ClientError, ConnectionLost, ProtocolViolation, Refused
from recorderd.client.media import Events, Live, LiveOptions, Player, PlayOptions, Pull, PullOptions
from recorderd.client.retry import Reconnect, Retry
from recorderd.client.values import Camera, Interval, Server, TrackSpans
from recorderd.wire.stream.messages import DEFAULT_PORT, Type

_LATER: Final = frozenset(("unavailable", "storage-unavailable", "busy"))  # said by a server that is starting


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """`name`: what the server's log calls this program. `on_reconnect` is called with each connection made again."""

    name: str = "recorderd.client"
    timing: Timing = field(default_factory=Timing)
    retry: Retry = field(default_factory=Retry)
    on_reconnect: Callable[[Reconnect], None] | None = None


@asynccontextmanager
async def connect(host: str, port: int = DEFAULT_PORT, options: ConnectOptions | None = None) -> AsyncIterator[Client]:
    """A client whose first connection stands. Raises CannotConnect, ProtocolViolation, Refused."""
    client = Client(host, port, options or ConnectOptions())
    await client.open()
    try:
        yield client
    finally:
        await client.close()


class Client:
    """Made by `connect`. CAMERA is a name or an id everywhere."""

    server: Server

    def __init__(self, host: str, port: int, options: ConnectOptions) -> None:
        self._host, self._port, self._options = host, port, options
        self._link: Connection | None = None
        self._dialing = asyncio.Lock()
        self._rng = random.Random()
        self._closed = False
        self._tries = 0  # since the connection was lost

    # -- questions -------------------------------------------------------------------------------------------------

    async def cameras(self) -> list[Camera]:
        """Every camera that the server has. Raises ConnectionLost."""
        return cameras_of(await self._ask(Type.CAMERAS, {}))

    async def timeline(self, camera: str, start_us: int, end_us: int, resolution_us: int = 0) -> list[TrackSpans]:
        """Where each track has footage in [start_us, end_us); holes below `resolution_us` are closed.

        Raises Refused."""
        head = {"camera": camera, "start_us": start_us, "end_us": end_us, "resolution_us": resolution_us}
        return timelines_of(await self._ask(Type.TIMELINE, head))

    async def coverage(self, cameras: Sequence[str], start_us: int, end_us: int) -> dict[str, list[Interval]]:
        """Per camera id: the state of every instant of [start_us, end_us). Raises Refused."""
        head = {"cameras": list(cameras), "start_us": start_us, "end_us": end_us}
        return intervals_of(await self._ask(Type.COVERAGE, head))

    # -- streams ---------------------------------------------------------------------------------------------------

    def live(self, camera: str, options: LiveOptions | None = None) -> Live:
        """What the camera sends now, from the newest key on."""
        return Live(self, camera, options or LiveOptions())

    def play(self, camera: str, where: int | str, options: PlayOptions | None = None) -> Player:
        """Recorded footage from `where`: a time in microseconds, 'begin', 'end', or a cursor."""
        return Player(self, camera, where, options or PlayOptions())

    def pull(
        self,
        camera: str,
        start_us: int,
        end_us: int,
        cursors: Mapping[str, str] | None = None,
        options: PullOptions | None = None,
    ) -> Pull:
        """Footage of [start_us, end_us) as stored, at full speed. `cursors` of an earlier pull (track id ->
        `Chunk.cursor`) go on behind it; the range stays the same."""
        return Pull(self, camera, (start_us, end_us), cursors or {}, options or PullOptions())

    def events(self, after: int | None = None, newest: int = 0) -> Events:
        """The events behind the id `after` (0: all that are stored) or, without it, the `newest` so many; then those
        to come."""
        return Events(self, after, newest)

    # -- the connection --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """The first connection; not tried twice."""
        self._link, self.server = await self._dial()

    async def close(self) -> None:
        """Every stream ends with ConnectionLost. Idempotent."""
        self._closed = True
        if self._link is not None:
            await self._link.close()

    async def connection(self) -> Connection:
        """The connection, made again if it was lost (`Stream` asks for it)."""
        link = self._link
        if link is not None and link.lost is None:
            return link
        found: list[Connection] = []

        async def keep(link: Connection) -> None:
            found.append(link)

        await self.again(keep, link.lost if link is not None and link.lost else ConnectionLost("not connected"))
        return found[0]

    async def again(self, begin: Callable[[Connection], Awaitable[None]], lost: ClientError) -> None:
        """Call `begin` with a standing connection until it succeeds, with pauses. Raises ConnectionLost when the
        policy gives up, and what no retry can mend."""
        last: ClientError = lost
        for wait_s in self._options.retry.waits(self._rng):
            if self._closed:
                raise ConnectionLost("the client is closed")
            await asyncio.sleep(wait_s)
            try:
                await begin(await self._standing(lost))
                return
            except (CannotConnect, ConnectionLost) as error:
                last = error
            except Refused as error:
                if error.server_code not in _LATER:
                    raise
                last = error
        raise ConnectionLost(f"given up: {last.message}", **last.params) from last

    async def _standing(self, lost: ClientError) -> Connection:
        async with self._dialing:
            if self._link is None or self._link.lost is not None:
                if self._link is not None and isinstance(self._link.lost, ProtocolViolation):
                    raise self._link.lost
                self._tries += 1
                self._link, self.server = await self._dial()
                tries, self._tries = self._tries, 0
                if self._options.on_reconnect is not None:
                    self._options.on_reconnect(Reconnect(tries, lost.message))
            return self._link

    async def _dial(self) -> tuple[Connection, Server]:
        return await Connection.dial(self._host, self._port, self._options.name, self._options.timing)

    async def _ask(self, kind: Type, head: Mapping[str, Any]) -> Any:
        link = await self.connection()
        try:
            return await link.ask(kind, head)
        except ConnectionLost:
            answer: list[Any] = []

            async def once_more(link: Connection) -> None:
                answer.append(await link.ask(kind, head))

            await self.again(once_more, link.lost or ConnectionLost("no answer"))
            return answer[0]
