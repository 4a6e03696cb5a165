"""One peer's conversation: hello, requests, subscriptions.

Law: every message a client can send is in `requests.MESSAGES` with the Right it needs; nothing is done for one that the
principal lacks. A request has its effect or an `error`, never half; a bug in serving one is logged and answered, and
takes nothing else down. Loop thread only; never waits. Owned by `connection`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from mediadb.errors import MediaDbError
from recorderd.core.errors import NotFoundError, RecorderdError, UsageError
from recorderd.core.rights import LOCAL
from recorderd.engine.live import Budget
from recorderd.engine.views import CameraView
from recorderd.server.problems import PROBLEMS, Problem, Refusal, problem_of
from recorderd.server.stream_tcp import fields
from recorderd.server.stream_tcp.request import Request
from recorderd.wire.stream.codec import pack
from recorderd.wire.stream.messages import CLIENT_TYPES, Message, Type

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.connection import Connection
    from recorderd.server.stream_tcp.shared import Shared
    from recorderd.server.stream_tcp.subscription import Subscription

_log = structlog.get_logger("stream")


class Session:
    """`opened` once the client said hello."""

    def __init__(self, shared: Shared, link: Connection) -> None:
        self.shared, self.link = shared, link
        self.principal = LOCAL
        self.opened = False
        self.message_bytes = shared.limits.message_bytes
        self.live_budget = Budget(shared.limits.live_bytes)
        self._subscriptions: dict[int, Subscription] = {}
        self._questions = 0
        self._closed = False

    # -- in --------------------------------------------------------------------------------------------------

    @property
    def questioned(self) -> bool:
        """Whether as many long questions are open as one peer may have."""
        return self._questions >= self.shared.limits.questions

    def message(self, message: Message) -> None:
        """Serve one message."""
        if not self.opened and message.type != Type.HELLO:
            self.link.close("protocol-error", "the first message is `hello`")
            return
        if len(message.payload):
            self.link.close("protocol-error", "a client's message has no payload")
            return
        number: int | None = None
        try:
            number = fields.optional(message.head, "id", 0, 2**32 - 1)
            if message.type not in CLIENT_TYPES:
                raise Refusal("unknown-message", f"there is no message {message.type:#04x}", type=message.type)
            spec = self.shared.messages[Type(message.type)]
            self.principal.require(spec.right)
            spec.handler(self, Request(message.subscription, message.head, number, spec.right))
        except Exception as error:
            if not self.opened and isinstance(error, UsageError):
                self.link.close("protocol-error", error.message)
            else:
                self.fail(message.subscription, number, error)

    def ready(self) -> None:
        """The socket takes more: everybody gets a turn, and whoever had the first one is last next time."""
        for number in list(self._subscriptions):
            subscription = self._subscriptions.get(number)
            if subscription is not None:
                subscription.ready()
                if not self.link.outlet.clear:
                    break
        if len(self._subscriptions) > 1:
            first = next(iter(self._subscriptions))
            self._subscriptions[first] = self._subscriptions.pop(first)

    def close(self) -> None:
        """The connection is over; idempotent."""
        self._closed = True
        for number in list(self._subscriptions):
            self._subscriptions.pop(number).close()

    # -- what handlers use -----------------------------------------------------------------------------------

    def open_up(self) -> None:
        """The client has said hello: it keeps its place from now on."""
        self.opened = True
        self.shared.silent.pop(self.link, None)

    def camera(self, request: Request, name: str) -> CameraView:
        """The camera, if the caller may use it for this request. Raises NotFoundError, ForbiddenError."""
        view = self.shared.deps.engine.camera(name)
        self.principal.require(request.right, view.id)
        return view

    @property
    def subscriptions(self) -> int:
        return len(self._subscriptions)

    def sees(self, camera: uuid.UUID | None) -> bool:
        return camera is None or self.principal.cameras is None or camera in self.principal.cameras

    def ok(self, request: Request, **more: object) -> None:
        self.link.tell(Type.OK, request.subscription, _with_id(more, request.id))

    def answer(self, request: Request, value: Mapping[str, Any]) -> None:
        """A long answer, in the payload. Raises Refusal when it is above what the peer takes."""
        payload = pack(value)
        if len(payload) > self.message_bytes - 64:
            raise Refusal("answer-too-long", f"the answer has {len(payload)} bytes", highest=self.message_bytes)
        self.link.tell(Type.ANSWER, request.subscription, _with_id({}, request.id), payload)

    def fail(self, subscription: int, number: int | None, error: Exception) -> None:
        """Tell the client; a bug is logged with its traceback and answered with its incident."""
        if isinstance(error, (RecorderdError, MediaDbError)):
            problem = problem_of(error)
        else:
            incident = str(uuid.uuid4())
            _log.error("stream-bug", incident=incident, error=repr(error), exc_info=error)
            problem = Problem(PROBLEMS["internal"], "a bug was met and logged", {"incident": incident})
        head = {"code": problem.kind.code, "message": problem.detail[:1000], "params": dict(problem.params)}
        self.link.tell(Type.ERROR, subscription, _with_id(head, number))

    def ask(self, request: Request, work: Coroutine[Any, Any, Mapping[str, Any]]) -> None:
        """Work out a long answer beside the conversation."""
        self._questions += 1
        self.shared.tree.start("question", self._asked(request, work))

    async def _asked(self, request: Request, work: Coroutine[Any, Any, Mapping[str, Any]]) -> None:
        try:
            value = await work
            if not self._closed:
                self.answer(request, value)
        except Exception as error:
            if not self._closed:
                self.fail(request.subscription, request.id, error)
        finally:
            self._questions -= 1
            self.link.resume()

    # -- subscriptions ---------------------------------------------------------------------------------------

    def open(self, request: Request, make: Callable[[], Subscription]) -> Subscription:
        """Begin a subscription under the number the client chose. Raises RecorderdError; then nothing was begun."""
        number = request.subscription
        if number == 0:
            raise UsageError("a subscription has a number from 1 to 4294967295: 0 is the connection itself")
        if number in self._subscriptions:
            raise UsageError(f"subscription {number} is in use; stop it first", subscription=number)
        highest = self.shared.limits.subscriptions
        if len(self._subscriptions) >= highest:
            raise Refusal("busy", f"a connection carries at most {highest} subscriptions", highest=highest)
        made = self._subscriptions[number] = make()
        self.ok(request, **made.opened())
        return made

    def subscription(self, request: Request) -> Subscription:
        """The one that a request is about. Raises NotFoundError."""
        found = self._subscriptions.get(request.subscription)
        if found is None:
            number = request.subscription
            raise NotFoundError(f"there is no subscription {number}", subscription=number)
        return found

    def end(self, number: int, reason: str) -> None:
        """A subscription is over: let go and say so; nothing when it is over already."""
        found = self._subscriptions.pop(number, None)
        if found is not None:
            self.shared.counts.dropped += reason == "too-slow"
            found.close()
            self.link.tell(Type.ENDED, number, {"reason": reason})


def _with_id(head: dict[str, Any], number: int | None) -> dict[str, Any]:
    return head if number is None else {"id": number, **head}
