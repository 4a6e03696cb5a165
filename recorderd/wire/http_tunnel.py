"""RTSP inside HTTP (QuickTime's tunnel, ONVIF Streaming §5.1.1.4): two requests that never end and share a cookie.

Law: sans-IO. What comes from the camera is the plain byte stream behind the answer to GET; what goes to it is
base64 behind the head of POST. HTTP carries no login here: that happens inside, in RTSP. Called by the driver shell.
"""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import Buffer

MAX_HEAD_BYTES = 16 * 1024
_TYPE = "application/x-rtsp-tunnelled"
# A body has to have a length; this one is the customary fiction.
_POST_LINES = "Content-Length: 32767\r\nExpires: Sun, 9 Jan 1972 00:00:00 GMT\r\n"


def get_head(url: str, cookie: str, agent: str) -> bytes:
    """The request whose answer carries what the camera says; `cookie`: random text, the same for both requests."""
    return _head("GET", url, cookie, agent, f"Accept: {_TYPE}\r\n")


def post_head(url: str, cookie: str, agent: str) -> bytes:
    """The head in front of what `encode` gives."""
    return _head("POST", url, cookie, agent, f"Content-Type: {_TYPE}\r\n" + _POST_LINES)


def encode(data: bytes) -> bytes:
    """One RTSP message (or interleaved frame) for the POST connection."""
    return base64.b64encode(data)


def answer_end(data: Buffer, pos: int, end: int) -> tuple[int, int] | None:
    """(status, where the tunnelled bytes begin) of the answer to GET, or None when its head is not all there.
    Lengths in it mean nothing. Raises ProtocolError when this is no HTTP."""
    head = bytes(data[pos : min(end, pos + MAX_HEAD_BYTES)])
    if not head[:5].upper().startswith(b"HTTP/"[: len(head)]):
        raise ProtocolError("the answer to the tunnel's request is no HTTP")
    stop = head.find(b"\r\n\r\n")
    if stop < 0:
        if len(head) >= MAX_HEAD_BYTES:
            raise ProtocolError(f"the HTTP answer's headers are above {MAX_HEAD_BYTES} bytes")
        return None
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[1].isdigit() or len(words[1]) != 3:
        raise ProtocolError("the HTTP answer has no status")
    return int(words[1]), pos + stop + 4


def _head(method: str, url: str, cookie: str, agent: str, lines: str) -> bytes:
    parts = urlsplit(url)
    path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    text = (
        f"{method} {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nUser-Agent: {agent}\r\nx-sessioncookie: {cookie}\r\n"
        f"Pragma: no-cache\r\nCache-Control: no-cache\r\n{lines}\r\n"
    )
    return text.encode("latin-1", "replace")
