"""What a connection was asked to send: the part that all kinds have in common.

Law: a subscription sends through its session only, media while there is credit and nothing waits on the socket. One
that needs tasks holds them itself and cancels them in `close`. Called by `session`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from recorderd.core.errors import UsageError
from recorderd.server.stream_tcp import fields
from recorderd.server.stream_tcp.heads import Coding
from recorderd.server.stream_tcp.limits import MAX_CREDIT
from recorderd.server.stream_tcp.request import Request
from recorderd.wire.stream.codec import frame
from recorderd.wire.stream.messages import Type

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.outlet import Piece
    from recorderd.server.stream_tcp.session import Session


class Subscription(ABC):
    """`credit` is None when the client asked for no limit."""

    def __init__(self, session: Session, request: Request) -> None:
        self.session = session
        self.number = request.subscription
        self.credit = fields.optional(request.head, "credit", 0, 2**31 - 1)
        self.outlet = session.link.outlet
        self.codings: set[int] = set()  # those whose `config` was sent

    @property
    def can_send(self) -> bool:
        return self.outlet.clear and (self.credit is None or self.credit > 0)

    def send_media(self, kind: Type, head: tuple[bytes, int], payload: Piece) -> None:
        """One `unit` or `chunk`: packed head and flags, payload."""
        packed, flags = head
        front = frame(kind, self.number, packed, len(payload), flags)
        if self.credit is not None:
            self.credit -= len(packed) + len(payload)
        self.outlet.send(front, packed, payload)

    def send_coding(self, coding: Coding) -> None:
        """Its `config`, before the first unit that needs it."""
        if coding.number not in self.codings:
            self.codings.add(coding.number)
            front = frame(Type.CONFIG, self.number, coding.head, len(coding.sample_entry))
            self.outlet.send(front, coding.head, coding.sample_entry)

    def tell(self, kind: Type, head: dict[str, Any]) -> None:
        """What needs no credit."""
        self.session.link.tell(kind, self.number, head)

    def grant(self, more: int) -> None:
        """Raises UsageError when the sum is beyond what anybody can mean."""
        if self.credit is None:
            raise UsageError("the subscription was opened without credit: there is nothing to add to")
        if self.credit + more > MAX_CREDIT:
            raise UsageError(f"credit adds up to at most {MAX_CREDIT} bytes", credit=self.credit)
        self.credit += more
        self.ready()

    def seek(self, request: Request) -> None:
        """Go elsewhere. Raises RecorderdError."""
        raise self._no_play()

    def speed(self, request: Request) -> None:
        """Play faster, slower, backwards. Raises RecorderdError."""
        raise self._no_play()

    def step(self, request: Request) -> None:
        """Go on by pictures. Raises RecorderdError."""
        raise self._no_play()

    def _no_play(self) -> UsageError:
        return UsageError("this is for subscriptions opened with `play`", subscription=self.number)

    def opened(self) -> dict[str, object]:
        """What its `ok` bears beside the `id`."""
        return {}

    @abstractmethod
    def ready(self) -> None:
        """There may be room now; tells nobody when there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go; idempotent."""


class TaskSubscription(Subscription):
    """One whose media are fetched by tasks."""

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rooms: list[asyncio.Future[None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a part of the subscription; when it fails, the client is told and all of it ends."""
        self.hold(self.session.shared.tree.start(f"{name} {self.number}", self._guarded(work)))

    def hold(self, task: asyncio.Task[Any]) -> None:
        """A task that ends with the subscription."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def room(self) -> None:
        """Wait until a media message may be sent."""
        while not self.can_send:
            future = asyncio.get_running_loop().create_future()
            self._rooms.append(future)
            await future

    def ready(self) -> None:
        if self.can_send and self._rooms:
            rooms, self._rooms = self._rooms, []
            for future in rooms:
                if not future.done():
                    future.set_result(None)

    def close(self) -> None:
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.session.fail(self.number, None, error)
            self.session.end(self.number, "error")
