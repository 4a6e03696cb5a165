"""One WebSocket: its commands, and the feeds they start.

Law: every command declares its right in `COMMANDS`; one without stops the start. A session holds a bounded number of
feeds, each a supervised task that ends with the session; the only waiting is on this client's own socket. What the
client does not read in time is skipped by the hub, never queued here. Called by `ws_routes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import WSMsgType

from mediadb.errors import MediaDbError
from recorderd.aio.supervisor import Supervisor
from recorderd.core.errors import NotFoundError, RecorderdError, UsageError
from recorderd.core.rights import Principal, Right
from recorderd.engine.views import CameraView
from recorderd.server.deps import ServerDeps
from recorderd.server.http import ws_play_commands as playback
from recorderd.server.http.live_share import LiveShares
from recorderd.server.http.routing import RouteTableError
from recorderd.server.http.ws_channel import Channel
from recorderd.server.http.ws_feeds import CoverageFeed, EventFeed, Feed, LiveFeed, StateFeed
from recorderd.server.http.ws_playback import PlayGroup, error_json
from recorderd.server.http.ws_protocol import (
    MAX_COMMAND_BYTES,
    PROTOCOL_VERSION,
    Command,
    Encoding,
    count_param,
    decode_command,
    encode_message,
    flag_param,
    names_param,
    text_param,
)
from recorderd.server.timespan import show_time

MAX_FEEDS = 256
MAX_COVERAGE_CAMERAS = 100

_log = structlog.get_logger("ws")

Handler = Callable[["Session", Command], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What a command needs and does."""

    right: Right
    handler: Handler
    doc: str


class Session:
    """Reads commands until the socket closes."""

    def __init__(
        self, deps: ServerDeps, principal: Principal, channel: Channel, tree: Supervisor, shares: LiveShares
    ) -> None:
        self.deps = deps
        self.principal = principal
        self.shares = shares
        self.right = Right.PUBLIC
        self._channel = channel
        self._socket = channel.socket
        self._tree = tree
        self._encoding = Encoding.JSON
        self._feeds: dict[int, tuple[Feed, asyncio.Task[None]]] = {}
        self._next_feed = 1
        self.groups: dict[int, PlayGroup] = {}
        self._next_group = 1

    async def run(self) -> None:
        """Serve until the client goes."""
        async for message in self._socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            self._encoding = Encoding.JSON if message.type is WSMsgType.TEXT else Encoding.MSGPACK
            await self.send(await self._answer(message.data))

    async def send(self, value: dict[str, Any]) -> None:
        """One reply or push, in the client's form."""
        message = encode_message(value, self._encoding)
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)

    async def send_media(self, *parts: bytes) -> None:
        """One media message; waits while the socket's write buffer is full."""
        await self._socket.send_bytes(b"".join(parts))

    def send_media_now(self, *parts: bytes) -> bool:
        """One media message past every queue; False, and nothing was sent, when the socket is not idle."""
        return self._channel.send_now(parts)

    def camera(self, name: str) -> CameraView:
        """The camera, if the caller may use it for the command being served."""
        view = self.deps.engine.camera(name)
        self.principal.require(self.right, view.id)
        return view

    def add(self, feed: Feed) -> int:
        """Start a feed as an owned task; its number."""
        if len(self._feeds) >= MAX_FEEDS:
            raise UsageError(f"a WebSocket carries at most {MAX_FEEDS} feeds; stop some first", highest=MAX_FEEDS)
        number, self._next_feed = self._next_feed, self._next_feed + 1
        task = self._tree.start(f"feed {number}", self._drive(number, feed))
        self._feeds[number] = (feed, task)
        return number

    async def drop(self, number: int) -> None:
        """Stop a feed. Raises NotFoundError."""
        held = self._feeds.pop(number, None)
        if held is None:
            raise NotFoundError(f"there is no feed {number}", feed=number)
        held[1].cancel()
        await asyncio.wait([held[1]])

    def new_group(self) -> PlayGroup:
        """A clock of recorded playback, known by its number."""
        number, self._next_group = self._next_group, self._next_group + 1
        group = self.groups[number] = PlayGroup(self.deps.clock, number)
        return group

    async def abandon(self, feed: Feed) -> None:
        """A feed whose command failed after all: it ends without a word."""
        number = next((number for number, (one, _) in self._feeds.items() if one is feed), None)
        if number is None:
            feed.close()
        else:
            await self.drop(number)

    async def _answer(self, data: str | bytes) -> dict[str, Any]:
        number: int | None = None
        try:
            command = decode_command(data)
            number = command.id
            spec = COMMANDS.get(command.name)
            if spec is None:
                raise NotFoundError(f"there is no command {command.name[:100]!r}; known: {', '.join(COMMANDS)}")
            self.principal.require(spec.right)
            self.right = spec.right
            return {"type": "reply", "id": number, "ok": True, **await spec.handler(self, command)}
        except (RecorderdError, MediaDbError) as error:
            return {"type": "reply", "id": number, "ok": False, "error": error_json(error)}

    async def _drive(self, number: int, feed: Feed) -> None:
        """Run one feed and say how it ended, unless the client itself ended it or has gone."""
        ended: dict[str, Any] = {"type": "ended", "feed": number}
        try:
            ended["reason"] = await feed.run(self, number)
        except (RecorderdError, MediaDbError) as error:
            ended |= {"reason": "error", "error": error_json(error)}
        except ConnectionError:
            return  # the client has gone; the session ends with it
        finally:
            feed.close()
        self._feeds.pop(number, None)
        if not self._socket.closed:
            try:
                await self.send(ended)
            except ConnectionError:
                pass  # nobody left to tell


async def _hello(session: Session, command: Command) -> dict[str, Any]:
    info = session.deps.info
    return {
        "protocol": PROTOCOL_VERSION,
        "server": {"id": str(info.id), "name": info.name, "version": info.version},
        "time": show_time(session.deps.clock.utc_us()),
        "limits": {"command_bytes": MAX_COMMAND_BYTES, "feeds": MAX_FEEDS},
    }


async def _live(session: Session, command: Command) -> dict[str, Any]:
    view = session.camera(text_param(command.params, "camera"))
    role = text_param(command.params, "stream", "main")
    audio = flag_param(command.params, "audio", False)
    return {"feed": session.add(LiveFeed.open(session.shares, view, role, audio)), "camera": str(view.id)}


async def _events(session: Session, command: Command) -> dict[str, Any]:
    last = session.deps.events.last_id
    newest = count_param(command.params, "newest", 0, 0, 1_000)
    after = count_param(command.params, "after", max(0, last - newest), 0, 2**53)
    return {"feed": session.add(EventFeed(session.deps, session.principal, after)), "after": after}


async def _state(session: Session, command: Command) -> dict[str, Any]:
    return {"feed": session.add(StateFeed(session.deps, session.principal))}


async def _coverage(session: Session, command: Command) -> dict[str, Any]:
    names = names_param(command.params, "cameras", MAX_COVERAGE_CAMERAS)
    identities = [str(session.camera(name).id) for name in names]
    window_s = count_param(command.params, "window_s", 300, 10, 86_400)
    every_s = count_param(command.params, "every_s", 2, 1, 60)
    feed = CoverageFeed(session.deps, session.principal, identities or None, (window_s, every_s))
    return {"feed": session.add(feed)}


async def _stop(session: Session, command: Command) -> dict[str, Any]:
    await session.drop(count_param(command.params, "feed", None, 1, 2**32 - 1))
    return {}


COMMANDS: dict[str, CommandSpec] = {
    "hello": CommandSpec(Right.PUBLIC, _hello, "who the server is, its time and limits"),
    "live": CommandSpec(Right.VIEW_LIVE, _live, "one-frame fMP4 fragments of a camera's stream from its newest key"),
    "play": CommandSpec(Right.VIEW_RECORDED, playback.play, "recorded footage of cameras on one clock"),
    "seek": CommandSpec(Right.VIEW_RECORDED, playback.seek, "to a time, a key, a sequence, the begin or the end"),
    "speed": CommandSpec(Right.VIEW_RECORDED, playback.speed, "speed and direction of a clock"),
    "pause": CommandSpec(Right.VIEW_RECORDED, playback.pause, "a clock stands"),
    "resume": CommandSpec(Right.VIEW_RECORDED, playback.resume, "a clock goes on at the speed it had"),
    "step": CommandSpec(Right.VIEW_RECORDED, playback.step, "single pictures, on or back"),
    "events": CommandSpec(Right.READ_STATUS, _events, "events after an id (or the newest few), then each new one"),
    "state": CommandSpec(Right.READ_STATUS, _state, "all cameras now, then each one that changes"),
    "coverage": CommandSpec(Right.VIEW_RECORDED, _coverage, "coverage of a sliding window, renewed as it grows"),
    "stop": CommandSpec(Right.PUBLIC, _stop, "end one of this socket's own feeds"),
}


def check_commands(commands: dict[str, CommandSpec]) -> None:
    """RouteTableError for a command without a right."""
    for name, spec in commands.items():
        if not isinstance(spec.right, Right):
            raise RouteTableError(f"the WebSocket command {name!r} declares no Right; every command must")
