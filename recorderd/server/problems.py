"""Refusals with stable codes, as `application/problem+json` (RFC 9457) or as the error of a message.

Law: every refusal that leaves a server (HTTP, WebSocket, stream API) is one of `PROBLEMS`; docs/api/errors.md lists
the same table and a test compares the two. Errors of the layers below are mapped here by their `code`, once. No request
is read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mediadb.errors import MediaDbError
from recorderd.core.errors import RecorderdError

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One stable code: its HTTP status, and what it means and what to do next, for docs and the API document."""

    code: str
    status: int
    meaning: str


_KINDS = (
    ProblemKind("bad-request", 400, "A parameter is missing, malformed or above its limit; the detail names it."),
    ProblemKind("unknown-parameter", 400, "The query holds a parameter that this path does not know."),
    ProblemKind("range-too-long", 400, "The time range is above the limit of this path; ask in pieces."),
    ProblemKind("answer-too-long", 400, "The answer would be above its limit; ask for less time at once."),
    ProblemKind("bad-cursor", 400, "The cursor was not given out by this path; start without one."),
    ProblemKind("unknown-message", 400, "The stream API has no message of that type."),
    ProblemKind("protocol-error", 400, "What came is no message of the stream API; the connection is closed."),
    ProblemKind("forbidden", 403, "The caller lacks the right that the operation declares."),
    ProblemKind("host-refused", 403, "The Host header names neither localhost nor a loopback address."),
    ProblemKind("origin-refused", 403, "The request was started by a page of another origin."),
    ProblemKind("peer-refused", 403, "The Unix socket answers root and the service's own user only."),
    ProblemKind("signature-wrong", 403, "The signature does not fit this method, path and query."),
    ProblemKind("signature-expired", 403, "The signed address has expired; ask for a new one."),
    ProblemKind("not-found", 404, "There is no such path, camera or stream."),
    ProblemKind("segment-gone", 404, "The segment has slid out of the live window; ask for the playlist again."),
    ProblemKind("no-footage", 404, "Nothing is recorded in that range; `why` and `coverage` tell the cause."),
    ProblemKind("method-not-allowed", 405, "The path exists, but not for this method; see the Allow header."),
    ProblemKind("conflict", 409, "The state of the thing, or an earlier request of the same key, does not allow it."),
    ProblemKind("footage-reclaimed", 412, "Bytes of this file were reclaimed since it was first asked for."),
    ProblemKind("precondition-failed", 412, "If-Match or If-Unmodified-Since does not hold: the file is another now."),
    ProblemKind("body-too-large", 413, "The request body is above the limit of 64 KiB."),
    ProblemKind("range-not-satisfiable", 416, "No byte of the Range lies in the file; Content-Range has its length."),
    ProblemKind("config-rejected", 422, "The new configuration has errors; the old one stays in force."),
    ProblemKind("request-rejected", 400, "The request is no valid HTTP for this server."),
    ProblemKind("internal", 500, "A bug: the server's log has its traceback under the `incident` given here."),
    ProblemKind("unavailable", 503, "The right question at the wrong time; ask again later."),
    ProblemKind("storage-unavailable", 503, "The storage that holds this camera's footage is not open."),
    ProblemKind("footage-damaged", 503, "Stored bytes fail their checksum; they are not served. Run `mediadb verify`."),
    ProblemKind("busy", 503, "The limit of simultaneous work of this kind is reached; retry shortly."),
    ProblemKind("decode-failed", 503, "The decode worker died or gave up on this picture twice."),
    ProblemKind("not-live", 503, "The camera sends nothing now; `cameras/{camera}` tells why."),
)  # fmt: skip

PROBLEMS: Mapping[str, ProblemKind] = {kind.code: kind for kind in _KINDS}

_FROM_MEDIADB = {"chunk-gone": "footage-reclaimed", "chunk-corrupt": "footage-damaged"}

_BY_STATUS = {400: "request-rejected", 403: "forbidden", 404: "not-found", 405: "method-not-allowed",
              413: "body-too-large"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal. `params` are JSON-able and travel as members of the document."""

    kind: ProblemKind
    detail: str
    params: Mapping[str, object] = field(default_factory=dict)

    def body(self, instance: str) -> bytes:
        """The JSON document; `instance` is the request path."""
        document: dict[str, Any] = {
            "type": f"/api/v1/problems#{self.kind.code}",
            "title": self.kind.meaning,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.kind.code,
            "params": dict(self.params),
        }
        return json.dumps(document, default=str).encode()


class Refusal(RecorderdError):
    """Raised by handlers: `code` must be one of PROBLEMS. `headers` go out with the answer."""

    def __init__(self, code: str, message: str, *, headers: Mapping[str, str] | None = None, **params: object) -> None:
        super().__init__(message, **params)
        self.kind = PROBLEMS[code]
        self.headers = dict(headers or {})


def problem_of(error: RecorderdError | MediaDbError) -> Problem:
    """The refusal for an error of any layer; a code unknown here is answered as `unavailable`, named in params."""
    if isinstance(error, Refusal):
        return Problem(error.kind, error.message, error.params)
    if isinstance(error, MediaDbError):
        code = _FROM_MEDIADB.get(error.code)
        if code is None:
            code = "storage-unavailable" if error.code.startswith("storage-") else "unavailable"
        return Problem(PROBLEMS[code], error.message, {**error.params, "cause": error.code})
    kind = PROBLEMS.get(error.code)
    if kind is None:
        return Problem(PROBLEMS["unavailable"], error.message, {**error.params, "cause": error.code})
    return Problem(kind, error.message, error.params)


def problem_of_status(status: int, detail: str) -> Problem:
    """The refusal for a status that the HTTP library itself chose."""
    return Problem(PROBLEMS[_BY_STATUS.get(status, "request-rejected")], detail)
