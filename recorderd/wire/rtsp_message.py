"""RTSP 1.0 messages (RFC 2326) and interleaved frames (§10.12) to and from bytes, for clients and servers.

Law: bytes in, messages out; no state of a session, no sockets, no clock. Tolerant in what it reads (bare LF,
blank lines before anything, any case of header names, blanks around values, folded lines, lines without a
colon), strict in what it writes. Sizes are limited before memory is spent. Called by `rtsp_client`, by the
driver shell and by the RTSP server.

Header text is latin-1 in both directions so that any byte survives the round trip; authentication over a
realm of unknown encoding then hashes the very bytes the peer sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from recorderd.wire.errors import ProtocolError

MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 1024 * 1024
DOLLAR = 0x24
INTERLEAVED_HEADER_BYTES = 4

_BLANKS = b"\r\n"
_U16 = struct.Struct(">H")

Buffer = bytes | bytearray | memoryview


class Headers:
    """Lines in order; names compare without case, a name may occur several times (as WWW-Authenticate)."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.items: list[tuple[str, str]] = list(items)

    def get(self, name: str, default: str = "") -> str:
        """The first value under `name`, else `default`."""
        name = name.lower()
        for key, value in self.items:
            if key.lower() == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value under `name`, in order."""
        name = name.lower()
        return [value for key, value in self.items if key.lower() == name]

    def add(self, name: str, value: str) -> None:
        self.items.append((name, value))

    def __contains__(self, name: str) -> bool:
        name = name.lower()
        return any(key.lower() == name for key, _ in self.items)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self.items]})"  # values may hold credentials


@dataclass(slots=True)
class RtspRequest:
    """One request. `url` is the request line's text untouched (digest authentication hashes it)."""

    method: str
    url: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    version: str = "RTSP/1.0"

    @property
    def cseq(self) -> int | None:
        return _number(self.headers.get("CSeq"))

    def encode(self) -> bytes:
        """Bytes for the wire; Content-Length is added when there is a body."""
        return _encode(f"{self.method} {self.url} {self.version}", self.headers, self.body)


@dataclass(slots=True)
class RtspResponse:
    """One response."""

    status: int
    reason: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    version: str = "RTSP/1.0"

    @property
    def cseq(self) -> int | None:
        return _number(self.headers.get("CSeq"))

    def encode(self) -> bytes:
        """Bytes for the wire; Content-Length is added when there is a body."""
        return _encode(f"{self.version} {self.status} {self.reason}", self.headers, self.body)


@dataclass(slots=True)
class InterleavedFrame:
    """Binary data on a channel of the RTSP connection: `$`, channel, 16-bit length, `data`."""

    channel: int
    data: bytes

    def encode(self) -> bytes:
        if len(self.data) > 0xFFFF or not 0 <= self.channel <= 0xFF:
            raise ValueError("an interleaved frame holds at most 65,535 bytes on channels 0 to 255")
        return bytes((DOLLAR, self.channel)) + _U16.pack(len(self.data)) + self.data


Message = RtspRequest | RtspResponse | InterleavedFrame


def parse(data: Buffer, pos: int, end: int, max_body_bytes: int = MAX_BODY_BYTES) -> tuple[Message | None, int]:
    """Read one message from `data[pos:end]`.

    Gives (message, position behind it), or (None, position) when more bytes are needed: then everything from
    that position on must be offered again. Raises ProtocolError on what can never become a message.
    """
    while pos < end and data[pos] in _BLANKS:
        pos += 1
    if pos >= end:
        return None, pos
    if data[pos] == DOLLAR:
        return _parse_interleaved(data, pos, end)
    head, body_start = _find_head(data, pos, end)
    if head is None:
        return None, pos
    lines = _unfold(head)
    headers = _parse_headers(lines[1:])
    length = _body_length(headers, max_body_bytes)
    if end - body_start < length:
        return None, pos
    body = bytes(data[body_start : body_start + length])
    return _build(lines[0], headers, body), body_start + length


class MessageDecoder:
    """Incremental reader for a connection whose bytes come in any pieces.

    `feed` gives the messages completed by these bytes. After a ProtocolError it refuses further bytes:
    the connection must be closed, there is no safe place to go on.
    """

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._buffer = bytearray()
        self._max_body_bytes = max_body_bytes
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """Bytes held for a message that is not complete; never above header plus body limit."""
        return len(self._buffer)

    def feed(self, data: Buffer) -> Iterator[Message]:
        """Yield every message that is complete now. Consume the whole iterator before the next call."""
        if self._broken:
            raise ProtocolError("bytes after a protocol error: close the connection")
        self._buffer += data
        pos = 0
        try:
            while True:
                message, pos = parse(self._buffer, pos, len(self._buffer), self._max_body_bytes)
                if message is None:
                    break
                yield message
        except ProtocolError:
            self._broken = True
            self._buffer.clear()
            raise
        del self._buffer[:pos]


def _parse_interleaved(data: Buffer, pos: int, end: int) -> tuple[Message | None, int]:
    if end - pos < INTERLEAVED_HEADER_BYTES:
        return None, pos
    start = pos + INTERLEAVED_HEADER_BYTES
    stop = start + (data[pos + 2] << 8 | data[pos + 3])
    if stop > end:
        return None, pos
    return InterleavedFrame(data[pos + 1], bytes(data[start:stop])), stop


def _find_head(data: Buffer, pos: int, end: int) -> tuple[bytes | None, int]:
    """The start line with headers, without the blank line; and where the body starts."""
    if not _is_token_start(data[pos]):
        raise ProtocolError("neither an RTSP message nor interleaved data", offset=pos, byte=data[pos])
    window = bytes(data[pos : min(end, pos + MAX_HEADER_BYTES)])
    stop, skip = -1, 0
    for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n"):
        found = window.find(mark)
        if found >= 0 and (stop < 0 or found < stop):
            stop, skip = found, len(mark)
    if stop >= 0:
        return window[:stop], pos + stop + skip
    if len(window) >= MAX_HEADER_BYTES:
        raise ProtocolError(f"headers above {MAX_HEADER_BYTES} bytes")
    line, newline, _ = window.partition(b"\n")
    if newline and b"RTSP/" not in line.upper() and b"HTTP/" not in line.upper():
        raise ProtocolError("the first line is no RTSP request or status line")
    return None, pos


def _is_token_start(byte: int) -> bool:
    return 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A


def _unfold(head: bytes) -> list[str]:
    lines: list[str] = []
    for raw in head.decode("latin-1").replace("\r\n", "\n").split("\n"):
        line = raw.rstrip()
        if len(lines) > 1 and line[:1] in (" ", "\t"):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def _parse_headers(lines: list[str]) -> Headers:
    headers = Headers()
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and name.strip():
            headers.add(name.strip(), value.strip())
    return headers


def _body_length(headers: Headers, max_body_bytes: int) -> int:
    text = headers.get("Content-Length")
    if not text:
        return 0
    length = _number(text)
    if length is None:
        raise ProtocolError("Content-Length is no number", value=text[:32])
    if length > max_body_bytes:
        raise ProtocolError(f"a body of {length} bytes is above the limit of {max_body_bytes}")
    return length


def _build(line: str, headers: Headers, body: bytes) -> Message:
    parts = line.split(None, 2)
    if len(parts) >= 2 and parts[0].upper().startswith(("RTSP/", "HTTP/")):
        status = _number(parts[1])
        if status is None or not 100 <= status <= 999:
            raise ProtocolError("the status line has no status", line=line[:80])
        return RtspResponse(status, parts[2] if len(parts) == 3 else "", headers, body, parts[0].upper())
    if len(parts) == 3:
        # Cameras and players put blanks into URLs: the version is the last word.
        url, _, version = line[len(parts[0]) :].strip().rpartition(" ")
        if version.upper().startswith(("RTSP/", "HTTP/")) and url:
            return RtspRequest(parts[0].upper(), url.strip(), headers, body, version.upper())
    raise ProtocolError("the first line is no RTSP request or status line", line=line[:80])


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if 0 < len(text) <= 18 and text.isascii() and text.isdigit() else None


def _encode(line: str, headers: Headers, body: bytes) -> bytes:
    lines = [line.rstrip()]
    for name, value in headers:
        if name.lower() != "content-length":
            lines.append(f"{name}: {value}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    for text in lines:
        if "\r" in text or "\n" in text:
            raise ValueError(f"a line break inside an RTSP header: {text.split(':', 1)[0][:40]!r}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
