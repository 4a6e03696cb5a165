"""The WebSocket's route: one per page.

Law: opens and closes; the conversation is `ws_session`'s.
"""

from __future__ import annotations

import asyncio
import weakref

import structlog
from aiohttp import WSCloseCode, web

from recorderd.aio.supervisor import Supervisor
from recorderd.core.rights import Right
from recorderd.server.http.live_share import SHARES
from recorderd.server.http.routing import API, Answer, Call, Route
from recorderd.server.http.ws_channel import Channel
from recorderd.server.http.ws_protocol import MAX_COMMAND_BYTES
from recorderd.server.http.ws_session import COMMANDS, Session, check_commands

PING_S = 20.0  # a client that does not answer in half of that is gone
CLOSE_S = 2.0
GOODBYE_S = 0.2  # pages take their goodbye within this when the server stops; one that reads nothing would never

SOCKETS: web.AppKey[weakref.WeakSet[web.WebSocketResponse]] = web.AppKey("sockets", weakref.WeakSet)

_log = structlog.get_logger("http")

check_commands(COMMANDS)


async def websocket(call: Call) -> web.StreamResponse:
    """One WebSocket for everything a page shows: live pictures, events, states, coverage.

    The right of each command is checked when it is given."""
    socket = web.WebSocketResponse(
        compress=False, heartbeat=PING_S, timeout=CLOSE_S, max_msg_size=MAX_COMMAND_BYTES, autoping=True
    )
    await socket.prepare(call.request)
    call.request.app[SOCKETS].add(socket)
    tree = call.deps.supervisor.child("websocket", together=True)
    try:
        channel = Channel(socket, call.request.transport)
        await Session(call.deps, call.principal, channel, tree, call.request.app[SHARES]).run()
    finally:
        # A connection that breaks off cancels this handler, also while it cleans up: the end runs beside it.
        await asyncio.shield(call.deps.supervisor.start("websocket end", _end(tree)))
    return socket


async def _end(tree: Supervisor) -> None:
    await tree.stop()


async def close_sockets(app: web.Application) -> None:
    """Shutdown signal of the application: tell every page that the server goes away. Who does not take it is cut."""
    closes = [
        socket.close(code=WSCloseCode.GOING_AWAY, message=b"server stopping", drain=False) for socket in app[SOCKETS]
    ]
    try:
        async with asyncio.timeout(GOODBYE_S):
            await asyncio.gather(*closes, return_exceptions=True)  # one that fails has gone already
    except TimeoutError:
        _log.debug("pages-cut", waited_s=GOODBYE_S)


ROUTES = (
    Route(method="GET", path=f"{API}/ws", operation="openWebSocket", handler=websocket, right=Right.PUBLIC,
          doc=websocket.__doc__ or "", answer=Answer("application/octet-stream", status=101), tag="live"),
)  # fmt: skip
