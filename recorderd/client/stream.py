"""What live, playback, pull and events have in common: a bounded queue that gives credit back as it is read.

Law: no tasks; one reader at a time. At most the window (plus one message) of media lies unread. A stream that can
begin again where it was does so by itself inside `__anext__` when the connection was lost; the others raise.
"""

from __future__ import annotations

import abc
import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from recorderd.client.connection import Connection, refused
from recorderd.client.decode import config_of
from recorderd.client.errors import ClientError, ConnectionLost, ProtocolViolation, StreamEnded
from recorderd.client.values import Config
from recorderd.wire.stream.messages import MAX_SERVER_BYTES, PAID_TYPES, Message, Type

T = TypeVar("T")

MIN_WINDOW: Final = 64 * 1024
MAX_UNREAD: Final = 10_000  # items; only what takes no credit could pile up so far
_WHOLE: Final = frozenset(("end", "stopped"))
_COMES_BACK: Final = frozenset(("server-stopping",))


class Host(Protocol):
    """The client, as a stream sees it."""

    async def connection(self) -> Connection: ...

    async def again(self, begin: Callable[[Connection], Awaitable[None]], lost: ClientError) -> None:
        """Call `begin` with a connection, as often as the policy allows, until it succeeds."""
        ...


class Stream(abc.ABC, Generic[T]):
    """`async with client.live(...) as stream: async for item in stream: ...`"""

    resumes: ClassVar[bool] = True

    def __init__(self, host: Host, window: int) -> None:
        self._host = host
        self._window = max(window, MIN_WINDOW)
        self._link: Connection | None = None
        self._number = 0
        self._items: deque[tuple[T, int]] = deque()
        self._held = 0  # paid bytes in `_items`
        self._owed = 0  # paid bytes read since credit was last given
        self._waiting: asyncio.Future[None] | None = None
        self._lost: ClientError | None = None
        self._over: ClientError | None = None
        self._error: ClientError | None = None  # said just before `ended`
        self._done = False
        self._configs: dict[int, Config] = {}
        self.reconnects = 0

    # -- for programs ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._begin(await self._host.connection())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next item. Raises StopAsyncIteration at the end, StreamEnded when the server cut it short, ConnectionLost
        when it cannot go on, Refused when the server does not begin it again."""
        while not self._items:
            if self._over is not None:
                raise self._over
            if self._done:
                raise StopAsyncIteration
            if self._lost is not None:
                await self._resume(self._lost)
            else:
                await self._arrival()
        item, size = self._items.popleft()
        if size:
            self._give_back(size)
        return item

    def close(self) -> None:
        """Stop; nothing more comes. Idempotent, never raises, needs no waiting."""
        self._done = True
        self._items.clear()
        self._leave()
        self._wake()

    # -- for the kinds of streams ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _request(self) -> tuple[Type, dict[str, Any]]:
        """The message that opens this stream, or goes on behind what was received last."""

    def _opened(self, head: Mapping[str, Any]) -> None:
        """The head of the server's `ok`."""

    @abc.abstractmethod
    def _take(self, message: Message) -> T | None:
        """An item of a message, or None. Raises ProtocolViolation."""

    def _config(self, head: Mapping[str, Any]) -> Config:
        try:
            return self._configs[head["cfg"]]
        except KeyError as error:
            raise ProtocolViolation("media came before their config") from error

    def _flush(self) -> None:
        """Drop what waits; its credit is given back."""
        self._items.clear()
        held, self._held = self._held, 0
        if held:
            self._held = held
            self._give_back(held)

    # -- recorderd.client.connection.Channel -----------------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        if message.type == Type.CONFIG:
            config = config_of(message)
            self._configs[config.number] = config
        elif message.type == Type.ENDED:
            self._ended(str(message.head.get("reason")))
        elif message.type == Type.ERROR:
            self._error = refused(message.head)
        else:
            item, size = self._take(message), message.wire_bytes if message.type in PAID_TYPES else 0
            if item is not None:
                self._queue(item, size)
            elif size:  # nobody will read it
                self._held += size
                self._give_back(size)

    def on_lost(self, error: ClientError) -> None:
        self._lost = error
        self._wake()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _queue(self, item: T, size: int) -> None:
        self._items.append((item, size))
        self._held += size
        if self._held > self._window + MAX_SERVER_BYTES:
            raise ProtocolViolation("the server sends media beyond the credit it has")
        if len(self._items) >= MAX_UNREAD and self.resumes:
            self._leave()  # and go on from here when these are read
            self._lost = ConnectionLost("too much lay unread")
        self._wake()

    def _ended(self, reason: str) -> None:
        if self._link is not None:
            self._link.forget(self._number)
        self._link = None
        if reason in _WHOLE:
            self._done = True
        elif reason in _COMES_BACK:
            self._lost = ConnectionLost(f"the server ended the subscription: {reason}", reason=reason)
        else:
            self._over = self._error if reason == "error" and self._error is not None else StreamEnded(reason)
        self._wake()

    async def _begin(self, link: Connection) -> None:
        """Raises Refused, ConnectionLost."""
        self._lost = None
        self._configs = {}
        self._link, self._number = link, link.subscribe(self)
        self._owed = 0
        kind, head = self._request()
        if "credit" in head:
            head["credit"] = max(self._window - self._held, 1)
        try:
            self._opened(await link.ask(kind, head, self._number))
        except BaseException:
            self._leave()
            raise

    async def _resume(self, lost: ClientError) -> None:
        if not self.resumes or isinstance(lost, ProtocolViolation):
            raise lost
        try:
            await self._host.again(self._begin, lost)
        except BaseException:
            self._lost = lost  # whoever reads once more tries once more
            raise
        self.reconnects += 1

    def _leave(self) -> None:
        """Tell the server to stop, without waiting for its answer."""
        link, self._link = self._link, None
        if link is not None:
            link.forget(self._number)
            if link.lost is None:
                link.send(Type.STOP, {"id": 0}, self._number)

    def _give_back(self, size: int) -> None:
        self._held -= size
        self._owed += size
        if self._owed >= self._window // 4 and self._link is not None and self._link.lost is None:
            self._link.send(Type.CREDIT, {"bytes": self._owed}, self._number)
            self._owed = 0

    async def _arrival(self) -> None:
        if self._waiting is not None:
            raise RuntimeError("a stream is read by one reader at a time")
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
