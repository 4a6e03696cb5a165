"""The statuses this server answers with (RFC 2326 §11), and the one exception that means "answer this".

Law: words only. Raised by the readers of headers, by mounts and visits; turned into a response by the session.
"""

from __future__ import annotations

from recorderd.wire.rtsp_message import Headers, RtspResponse

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    451: "Parameter Not Understood",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    457: "Invalid Range",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version not supported",
    551: "Option not supported",
}


class Refused(Exception):
    """The request is answered with `status`, one of REASONS, and these headers."""

    def __init__(self, status: int, *headers: tuple[str, str]) -> None:
        super().__init__(f"{status} {REASONS[status]}")
        self.status = status
        self.headers = headers

    def response(self) -> RtspResponse:
        return RtspResponse(self.status, headers=Headers(self.headers))
