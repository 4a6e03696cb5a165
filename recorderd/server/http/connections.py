"""What a connection may cost before it has asked anything: time for its head, a place among the others, an answer to
what is no HTTP.

Law: below the application; knows no route. A refusal here repeats nothing of what was sent, names no software and
leaves no traceback in the log. Called by `listeners`.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from recorderd.server.http.guard import SECURITY_HEADERS
from recorderd.server.problems import CONTENT_TYPE, PROBLEMS, Problem

HEAD_TIMEOUT_S = 10.0  # from the first byte of a request's head (or from connecting) to its last
KEEPALIVE_S = 75.0
MAX_CONNECTIONS = 512  # over TCP; the Unix socket is never shut out by others

_log = structlog.get_logger("http")


class Limits:
    """What connections may take; `head_s` in seconds."""

    def __init__(self, head_s: float = HEAD_TIMEOUT_S, connections: int = MAX_CONNECTIONS) -> None:
        self.head_s = head_s
        self.connections = connections


class Connection(RequestHandler):
    """One connection of the HTTP library, with limits."""

    __slots__ = ("_head_timer", "_limits", "_silent")

    def __init__(self, limits: Limits, silent: dict[Connection, None], manager: web.Server, **options: Any) -> None:
        """`silent`: the connections of this server without a whole head, oldest first."""
        super().__init__(manager, **options)
        self._limits = limits
        self._silent = silent
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        manager = self._manager
        if (
            manager is not None
            and len(manager.connections) > self._limits.connections
            and (peer is None or peer.family != socket.AF_UNIX)
        ):
            if not self._silent:
                _log.debug("connection-refused", highest=self._limits.connections)
                cast(asyncio.Transport, transport).abort()
                return
            oldest = next(iter(self._silent))  # who has asked nothing yet makes room: a crowd of them shuts nobody out
            oldest._forget_head()
            if oldest.transport is not None:
                oldest.transport.abort()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._forget_head()
        elif self._head_timer is None:
            self._watch_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A problem document. Raises ConnectionError when an answer is under way: nothing can be put into it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        if status < 500:
            _log.debug("request-rejected", error=type(exc).__name__)
            problem = Problem(PROBLEMS["request-rejected"], "the request is no valid HTTP for this server")
        else:
            if not isinstance(exc, ConnectionError):
                _log.error("http-bug", error=type(exc).__name__, exc_info=exc)
            problem = Problem(PROBLEMS["internal"], "a bug was met and logged")
        headers = {**SECURITY_HEADERS, "Server": "recorderd", "Cache-Control": "no-store"}
        answer = web.Response(
            status=problem.kind.status, body=problem.body("*"), content_type=CONTENT_TYPE, headers=headers
        )
        answer.force_close()
        return answer

    def _watch_head(self) -> None:
        self._silent[self] = None
        self._head_timer = self._loop.call_later(self._limits.head_s, self._head_overdue)

    def _forget_head(self) -> None:
        self._silent.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_overdue(self) -> None:
        self._forget_head()
        if self.transport is not None and not self._messages and self._current_request is None:
            _log.debug("request-too-slow", limit_s=self._limits.head_s)
            self.transport.abort()


class _Server(web.Server):
    """Makes a `Connection` for each client."""

    limits = Limits()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.silent: dict[Connection, None] = {}

    def __call__(self) -> Connection:
        return Connection(self.limits, self.silent, self, loop=self._loop, **self._kwargs)


class LimitedRunner(web.AppRunner):
    """The application's runner whose connections have `limits`."""

    __slots__ = ("_limits",)

    def __init__(self, app: web.Application, limits: Limits, **options: Any) -> None:
        super().__init__(app, keepalive_timeout=KEEPALIVE_S, **options)
        self._limits = limits

    async def _make_server(self) -> _Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,
        )
        server.limits = self._limits
        return server
