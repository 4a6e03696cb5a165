"""The messages a client can send: the right each needs, and what it does.

Law: `MESSAGES` has every client type; one without a Right stops the start. A handler checks everything before it
changes anything, never waits, and raises RecorderdError to refuse. docs/api/stream.md has the same table, and a test
compares the two. Called by `session`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recorderd.core.errors import ForbiddenError, UsageError
from recorderd.core.rights import Right
from recorderd.server.problems import Refusal
from recorderd.server.stream_tcp import answers, fields
from recorderd.server.stream_tcp.event_feed import EventFeed
from recorderd.server.stream_tcp.limits import MAX_CAMERAS, MIN_MESSAGE_BYTES
from recorderd.server.stream_tcp.live_feed import LiveFeed
from recorderd.server.stream_tcp.play_feed import PlayFeed
from recorderd.server.stream_tcp.pull_feed import PullFeed
from recorderd.server.stream_tcp.request import Request
from recorderd.server.stream_tcp.session import Session
from recorderd.server.timespan import MAX_COVERAGE_US
from recorderd.wire.stream.messages import CLIENT_TYPES, MAX_CLIENT_BYTES, MAX_SERVER_BYTES, PROTOCOL_VERSION, Type

Handler = Callable[[Session, Request], None]


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """What a message needs and does."""

    right: Right
    handler: Handler


class MessageTableError(RuntimeError):
    """The table of messages has a hole: a bug that stops the start."""


def _hello(session: Session, request: Request) -> None:
    if session.opened:
        raise UsageError("`hello` was said already")
    if fields.count(request.head, "version", 0, 2**32 - 1) != PROTOCOL_VERSION:
        session.link.close("unsupported-version", f"this server speaks version {PROTOCOL_VERSION}")
        return
    fields.text(request.head, "client")
    limits = fields.mapping(request.head, "limits")
    session.message_bytes = min(
        fields.count(limits, "message", MIN_MESSAGE_BYTES, 2**32 - 1, MAX_SERVER_BYTES), session.message_bytes
    )
    session.open_up()
    deps, own = session.shared.deps, session.shared.limits
    info = deps.info
    session.link.tell(
        Type.SERVER_HELLO,
        0,
        {
            "version": PROTOCOL_VERSION,
            "server": {"id": str(info.id), "name": info.name, "version": info.version},
            "time_us": deps.clock.utc_us(),
            "limits": {
                "message": session.message_bytes, "client_message": MAX_CLIENT_BYTES,
                "subscriptions": own.subscriptions, "idle_s": own.idle_us // 1_000_000,
            },
        },
    )  # fmt: skip


def _auth(session: Session, request: Request) -> None:
    if fields.text(request.head, "scheme") != "local":
        raise UsageError('`scheme` must be "local"', name="scheme")
    if not ipaddress.ip_address(session.link.peer).is_loopback:
        raise ForbiddenError("`local` is for peers on the same machine")
    session.ok(request)


def _live(session: Session, request: Request) -> None:
    view = session.camera(request, fields.text(request.head, "camera"))
    session.open(request, lambda: LiveFeed(session, request, view))


def _play(session: Session, request: Request) -> None:
    view = session.camera(request, fields.text(request.head, "camera"))
    feed = session.open(request, lambda: PlayFeed(session, request, view))
    assert isinstance(feed, PlayFeed)
    feed.start("play", feed.run())


def _pull(session: Session, request: Request) -> None:
    view = session.camera(request, fields.text(request.head, "camera"))
    feed = session.open(request, lambda: PullFeed(session, request, view))
    assert isinstance(feed, PullFeed)
    feed.start("pull", feed.run())


def _events(session: Session, request: Request) -> None:
    feed = session.open(request, lambda: EventFeed(session, request))
    assert isinstance(feed, EventFeed)
    feed.start("events", feed.run())


def _seek(session: Session, request: Request) -> None:
    session.subscription(request).seek(request)
    session.ok(request)


def _speed(session: Session, request: Request) -> None:
    session.subscription(request).speed(request)
    session.ok(request)


def _step(session: Session, request: Request) -> None:
    session.subscription(request).step(request)
    session.ok(request)


def _credit(session: Session, request: Request) -> None:
    more = fields.count(request.head, "bytes", 1, 2**31 - 1)
    session.subscription(request).grant(more)


def _stop(session: Session, request: Request) -> None:
    session.subscription(request)
    session.ok(request)
    session.end(request.subscription, "stopped")


def _timeline(session: Session, request: Request) -> None:
    view = session.camera(request, fields.text(request.head, "camera"))
    span = fields.span(request.head)
    resolution_us = fields.count(request.head, "resolution_us", 0, MAX_COVERAGE_US, 0)
    session.ask(request, answers.timeline(session.shared.deps, view, span, resolution_us))


def _coverage(session: Session, request: Request) -> None:
    names = fields.texts(request.head, "cameras", MAX_CAMERAS)
    span = fields.span(request.head)
    if names:
        views = [session.camera(request, name) for name in names]
    else:
        views = [view for view in session.shared.deps.engine.cameras() if session.sees(view.id)]
    if len(views) > MAX_CAMERAS:
        raise Refusal("bad-request", f"name at most {MAX_CAMERAS} cameras at a time", highest=MAX_CAMERAS)
    session.ask(request, answers.coverage(session.shared.deps, views, span))


def _cameras(session: Session, request: Request) -> None:
    views = [view for view in session.shared.deps.engine.cameras() if session.sees(view.id)]
    session.answer(request, {"cameras": [answers.camera_map(view) for view in views]})


def _ping(session: Session, request: Request) -> None:
    head = {"time_us": session.shared.deps.clock.utc_us()}
    session.link.tell(Type.PONG, 0, head if request.id is None else {"id": request.id, **head})


def _bye(session: Session, request: Request) -> None:
    session.link.close("goodbye")


MESSAGES: Mapping[Type, MessageSpec] = {
    Type.HELLO: MessageSpec(Right.PUBLIC, _hello),
    Type.AUTH: MessageSpec(Right.PUBLIC, _auth),
    Type.LIVE: MessageSpec(Right.VIEW_LIVE, _live),
    Type.PLAY: MessageSpec(Right.VIEW_RECORDED, _play),
    Type.SEEK: MessageSpec(Right.VIEW_RECORDED, _seek),
    Type.SPEED: MessageSpec(Right.VIEW_RECORDED, _speed),
    Type.STEP: MessageSpec(Right.VIEW_RECORDED, _step),
    Type.PULL: MessageSpec(Right.EXPORT, _pull),
    Type.CREDIT: MessageSpec(Right.PUBLIC, _credit),
    Type.STOP: MessageSpec(Right.PUBLIC, _stop),
    Type.TIMELINE: MessageSpec(Right.VIEW_RECORDED, _timeline),
    Type.COVERAGE: MessageSpec(Right.VIEW_RECORDED, _coverage),
    Type.EVENTS: MessageSpec(Right.READ_STATUS, _events),
    Type.CAMERAS: MessageSpec(Right.READ_STATUS, _cameras),
    Type.PING: MessageSpec(Right.PUBLIC, _ping),
    Type.BYE: MessageSpec(Right.PUBLIC, _bye),
}


def check_messages(messages: Mapping[Type, MessageSpec]) -> None:
    """MessageTableError for a client message that is missing or declares no Right."""
    for kind in sorted(CLIENT_TYPES):
        spec = messages.get(kind)
        if spec is None or not isinstance(spec.right, Right):
            raise MessageTableError(f"the message {kind.name} declares no Right; every message must")
