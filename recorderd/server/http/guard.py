"""What every request passes before its handler: who asks, from where, and how refusals leave.

Law: the only place that turns exceptions into answers and transports into Principals. Nothing of what a route does
is known here. Called by `app` as the outermost middleware.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from mediadb.errors import MediaDbError
from recorderd.core.errors import RecorderdError
from recorderd.core.rights import LOCAL, Principal
from recorderd.server.http.access import check_host, check_origin, check_target, principal_of_peer
from recorderd.server.problems import (
    CONTENT_TYPE,
    PROBLEMS,
    Problem,
    Refusal,
    problem_of,
    problem_of_status,
)

Inner = Callable[[web.Request], Awaitable[web.StreamResponse]]
PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)

BEGUN: web.RequestKey[bool] = web.RequestKey("begun", bool)
MAX_BODY_BYTES = 64 * 1024
DISK_ERRORS = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ESTALE, errno.ESHUTDOWN})

_log = structlog.get_logger("http")
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


@web.middleware
async def guard(request: web.Request, handler: Inner) -> web.StreamResponse:
    """Name the caller, refuse strangers, answer every error as a problem document."""
    try:
        request[PRINCIPAL] = identify(request)
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise Refusal("body-too-large", f"a request body is at most {MAX_BODY_BYTES} bytes")
        return await handler(request)
    except (RecorderdError, MediaDbError) as error:
        headers = error.headers if isinstance(error, Refusal) else {}
        return answer_problem(request, problem_of(error), headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise  # a redirect
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        detail = "there is nothing at this path" if error.status == 404 else error.reason
        return answer_problem(request, problem_of_status(error.status, detail), headers)
    except ConnectionError:
        raise  # the caller has gone while the answer was being written: nobody to tell
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS and not request.get(BEGUN):
            _log.error("storage-unreadable", path=request.path, error=str(error))
            detail = f"a disk gave an error while it was read ({error.strerror}): see the kernel's log"
            return answer_problem(request, Problem(PROBLEMS["storage-unavailable"], detail))
        incident = str(uuid.uuid4())
        _log.exception("http-bug", path=request.path, incident=incident, error=type(error).__name__)
        if request.get(BEGUN):  # a WebSocket or a stream is under way: bytes of an answer would only spoil it
            raise ConnectionError("a bug was met while the answer was under way") from None
        return answer_problem(
            request, Problem(PROBLEMS["internal"], "a bug was met and logged", {"incident": incident})
        )


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler of the application: headers that every answer carries."""
    request[BEGUN] = True
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "recorderd"  # versions of libraries are nobody's business


def identify(request: web.Request) -> Principal:
    """The caller: the peer's user on the Unix socket, else `local` after the Host and Origin checks."""
    peer = request.transport.get_extra_info("socket") if request.transport is not None else None
    if peer is not None and peer.family == socket.AF_UNIX:
        _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return principal_of_peer(uid, os.geteuid())
    host = request.headers.get("Host", "")
    check_host(host)
    check_target(request.raw_path)
    check_origin(request.headers, host, request.method)
    return LOCAL


def answer_problem(request: web.Request, problem: Problem, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """The problem document as an answer."""
    more = dict(headers or {})
    if problem.kind.status == 503:
        more.setdefault("Retry-After", "1")
    return web.Response(
        status=problem.kind.status, body=problem.body(request.path), content_type=CONTENT_TYPE, headers=more
    )
