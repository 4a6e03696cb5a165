"""One TCP connection to a recording server: greeting, questions and answers, messages to their subscriptions, pings.

Law: no tasks. Messages are read and handed on inside `buffer_updated`; what a subscription may hold is bounded by
the credit that it gave. A connection is used once: when it is lost, everything that waits on it gets ConnectionLost,
and `recorderd.client.client` makes another one. Nothing is logged here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from recorderd.client.errors import CannotConnect, ClientError, ConnectionLost, ProtocolViolation, Refused
from recorderd.client.values import Server
from recorderd.wire.errors import ProtocolError
from recorderd.wire.stream.codec import Decoder, encode, unpack
from recorderd.wire.stream.messages import IDLE_S, MAX_SERVER_BYTES, PROTOCOL_VERSION, Message, Type

T = TypeVar("T")

PINGS_UNTIL_LOST: Final = 3
_FINAL: Final = frozenset(("protocol-error", "unsupported-version"))  # another try would end the same way
_ANSWERS: Final = frozenset((Type.OK, Type.ANSWER, Type.ERROR))


class Channel(Protocol):
    """A subscription, as the connection sees it."""

    def on_message(self, message: Message) -> None: ...

    def on_lost(self, error: ClientError) -> None: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Patience in seconds: for the connection and its greeting, and for one answer."""

    connect_s: float = 10.0
    answer_s: float = 60.0


class Connection(asyncio.BufferedProtocol):
    """Made by `dial`. `lost` is the reason once it is over, else None."""

    def __init__(self, client_name: str, timing: Timing) -> None:
        self._loop = asyncio.get_running_loop()
        self._client_name, self._timing = client_name, timing
        self._decoder = Decoder(MAX_SERVER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._questions: dict[int, asyncio.Future[Message]] = {}
        self._waiting: set[asyncio.Future[Any]] = set()
        self._channels: dict[int, Channel] = {}
        self._hello: asyncio.Future[Server] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._last_number = self._last_id = self._pings = 0
        self.lost: ClientError | None = None

    @classmethod
    async def dial(cls, host: str, port: int, client_name: str, timing: Timing) -> tuple[Connection, Server]:
        """Connect and greet. Raises CannotConnect, ProtocolViolation, Refused (wrong version, too many clients)."""
        try:
            async with asyncio.timeout(timing.connect_s):
                loop = asyncio.get_running_loop()
                _, self = await loop.create_connection(lambda: cls(client_name, timing), host, port)
                try:
                    return self, await self._hello
                except BaseException:
                    self.abort()
                    raise
        except TimeoutError as error:
            raise CannotConnect(f"{host}:{port} does not answer", host=host, port=port) from error
        except ConnectionLost as error:
            raise CannotConnect(f"{host}:{port}: {error.message}", host=host, port=port, **error.params) from error
        except OSError as error:
            raise CannotConnect(f"{host}:{port}: {error.strerror or error}", host=host, port=port) from error

    async def ask(
        self,
        kind: Type,
        head: Mapping[str, Any],
        number: int = 0,
        ident: int | None = None,
    ) -> Any:
        """One question, its answer: the value of a long answer, else the head of `ok`. `ident` is of `next_id`.
        Raises Refused, ConnectionLost (also when no answer comes in time)."""
        ident = self.next_id() if ident is None else ident
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._questions[ident] = answer
        try:
            self.send(kind, {**head, "id": ident}, number)
            message = await self.guard(answer)
        finally:
            self._questions.pop(ident, None)
        return unpack(message.payload) if message.type == Type.ANSWER else message.head

    async def guard(self, future: asyncio.Future[T]) -> T:
        """Wait for what a message will bring. Raises ConnectionLost instead when the connection ends first."""
        self._waiting.add(future)
        try:
            async with asyncio.timeout(self._timing.answer_s):
                return await future
        except TimeoutError:
            error = ConnectionLost("the server does not answer")
            self._fail(error)
            raise error from None
        finally:
            self._waiting.discard(future)

    def next_id(self) -> int:
        """A number for a question."""
        self._last_id = self._last_id % 0xFFFFFFFF + 1
        return self._last_id

    def send(self, kind: Type, head: Mapping[str, Any], number: int = 0) -> None:
        """Raises ConnectionLost when it is over."""
        if self.lost is not None:
            raise self.lost
        assert self._transport is not None
        self._transport.write(encode(kind, number, head))

    def subscribe(self, channel: Channel) -> int:
        """A number that no subscription of this connection had before."""
        self._last_number += 1
        self._channels[self._last_number] = channel
        return self._last_number

    def forget(self, number: int) -> None:
        """Messages of this subscription are dropped from now on."""
        self._channels.pop(number, None)

    async def close(self) -> None:
        """Say goodbye and wait until the connection is closed; never raises for one that is lost already."""
        if self.lost is None and self._transport is not None:
            self.send(Type.BYE, {"reason": "done"})
            self._end(ConnectionLost("this program closed the connection"))
            self._transport.close()
            try:
                async with asyncio.timeout(self._timing.connect_s):
                    await asyncio.shield(self._closed)
            except TimeoutError:
                self._transport.abort()

    def abort(self) -> None:
        """Over at once."""
        self._fail(ConnectionLost("this program dropped the connection"))

    # -- asyncio.BufferedProtocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.send(Type.HELLO, {"version": PROTOCOL_VERSION, "client": self._client_name})
        self._arm(IDLE_S / 3)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._pings = 0
        self._decoder.filled(nbytes)
        try:
            while self.lost is None and (message := self._decoder.next_message()) is not None:
                self._dispatch(message)
        except ProtocolError as error:
            self._fail(ProtocolViolation(error.message, **error.params))
        except ClientError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = str(exc) if exc is not None else "the server closed it"
        self._end(ConnectionLost(f"the connection is lost: {reason}"))
        if not self._closed.done():
            self._closed.set_result(None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _dispatch(self, message: Message) -> None:
        kind, number = message.type, message.subscription
        if kind in _ANSWERS and "id" in message.head:
            self._answer(message)
        elif kind == Type.SERVER_HELLO:
            self._greeted(message.head)
        elif kind == Type.SERVER_BYE:
            raise _goodbye(message.head)
        elif number and (channel := self._channels.get(number)) is not None:
            channel.on_message(message)
        # Else: a pong, a message of a later version, or the rest of a subscription that was stopped.

    def _answer(self, message: Message) -> None:
        question = self._questions.get(message.head["id"])
        if question is None or question.done():
            return
        if message.type == Type.ERROR:
            question.set_exception(refused(message.head))
        else:
            question.set_result(message)

    def _greeted(self, head: Mapping[str, Any]) -> None:
        try:
            about, limits = head["server"], head["limits"]
            server = Server(str(about["id"]), about["name"], about["version"], head["time_us"], limits)
            idle_s = float(limits["idle_s"])
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolViolation("the server's hello is not as documented") from error
        self._arm(idle_s / 3)
        if not self._hello.done():
            self._hello.set_result(server)

    def _arm(self, after_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(after_s, self._tick, after_s)

    def _tick(self, every_s: float) -> None:
        """Keep the connection alive, and notice when nobody is there any more."""
        if self._pings >= PINGS_UNTIL_LOST:
            self._fail(ConnectionLost(f"the server sent nothing for {every_s * self._pings:.0f} s"))
            return
        self._pings += 1
        self.send(Type.PING, {})
        self._arm(every_s)

    def _fail(self, error: ClientError) -> None:
        self._end(error)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, error: ClientError) -> None:
        """Everything that waits is told; once."""
        if self.lost is not None:
            return
        self.lost = error
        if self._timer is not None:
            self._timer.cancel()
        waiting: list[asyncio.Future[Any]] = [self._hello, *self._waiting]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # marked as seen: whoever waits gets it, and nobody has to
        for channel in list(self._channels.values()):
            channel.on_lost(error)
        self._channels.clear()


def _goodbye(head: Mapping[str, Any]) -> ClientError:
    reason, text = str(head.get("reason")), str(head.get("message"))
    if reason in _FINAL:
        return ProtocolViolation(f"the server said goodbye: {text} ({reason})", reason=reason)
    return ConnectionLost(f"the server said goodbye: {reason}", reason=reason)


def refused(head: Mapping[str, Any]) -> Refused:
    params = head.get("params")
    return Refused(str(head.get("code")), str(head.get("message")), dict(params) if isinstance(params, dict) else {})
