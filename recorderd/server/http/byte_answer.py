"""Bytes that are made when they are asked for, as an answer with ranges and conditions.

Law: knows how to send, not what: the source says how long it is and hands out its bytes in pieces. Memory per answer
is two pieces: one on its way, one being read. Its head and what is encrypted go through the HTTP library, the rest by
`straight`. Called by the handlers of recorded media. Source of the range rules: RFC 9110 §13, §14 (`byte_range`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from mediadb.errors import MediaDbError
from mediadb.read.reader import Reader
from recorderd.server.http.byte_range import NotModified, Part, PreconditionFailed, Unsatisfiable, decide
from recorderd.server.http.straight import straight
from recorderd.server.problems import Refusal

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore

PIECE_BYTES = 1024 * 1024  # read at once
WRITE_BYTES = 256 * 1024  # handed over at once: what the socket does not take is copied by the transport
FIRST_PIECES = 64  # of small ones fewer bytes are read before the head leaves
Pieces = list[bytes | memoryview]


class Source(Protocol):
    """A file that is never made."""

    @property
    def total_bytes(self) -> int:
        """Its exact length."""
        ...

    def read(self, reader: Reader, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Bytes [start, end); blocking. Raises ChunkGone, ChunkCorrupt: never other bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is sent: `etag` quoted and strong, `headers` with it; `failed` learns what could not be read."""

    source: Source
    etag: str
    headers: Mapping[str, str]
    failed: Callable[[Exception], None]


async def send_bytes(request: web.Request, store: AsyncStore, what: Bytes) -> web.StreamResponse:
    """The part that the headers of the request ask for. Raises Refusal, and what the source raises before the first
    byte left; after it the connection is broken off."""
    length = what.source.total_bytes
    decision = decide(request.headers, what.etag, length)
    headers = {"Accept-Ranges": "bytes", "ETag": what.etag, **what.headers}
    if isinstance(decision, PreconditionFailed):
        raise Refusal("precondition-failed", "If-Match does not name the file as it is now", etag=what.etag)
    if isinstance(decision, NotModified):
        return web.Response(status=304, headers=headers)
    if isinstance(decision, Unsatisfiable):
        raise Refusal("range-not-satisfiable", f"the file has {length} bytes", length=length,
                          headers={"Content-Range": f"bytes */{length}"})  # fmt: skip
    start, end = (decision.start, decision.end) if isinstance(decision, Part) else (0, length)
    response = web.StreamResponse(status=206 if isinstance(decision, Part) else 200, headers=headers)
    if isinstance(decision, Part):
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
    response.content_length = end - start
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    return await _stream(request, response, store, what, (start, end))


async def _stream(
    request: web.Request, response: web.StreamResponse, store: AsyncStore, what: Bytes, span: tuple[int, int]
) -> web.StreamResponse:
    start, end = span
    # the first pieces before any header, so that reclaimed footage can still be answered with 412
    try:
        pieces: Pieces = await store.read(_first, what.source, store.reader, start, end)
    except Exception as error:
        what.failed(error)
        raise
    await response.prepare(request)
    try:
        await _send(request, response, store, what.source, (deque(pieces), start + sum(map(len, pieces)), end))
        await response.write_eof()
    except ConnectionResetError:
        pass  # a player that seeks breaks off its last request: nothing to tell anybody
    except Exception as error:
        what.failed(error)
        if not isinstance(error, MediaDbError):
            raise
        # broken off: a problem document would be taken for bytes of the file
        if request.transport is not None:
            request.transport.close()
        raise ConnectionError(f"the file ends before its time: {error.message}") from error
    return response


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    store: AsyncStore,
    source: Source,
    rest: tuple[deque[bytes | memoryview], int, int],
) -> None:
    """What waits, then bytes [at, end)."""
    waiting, at, end = rest
    transport = request.transport
    if transport is not None:
        transport.set_write_buffer_limits(0)  # `write` waits until the kernel has all of it: then there is another way
    try:
        while waiting or at < end:
            if not waiting:
                upto = min(end, at + PIECE_BYTES)
                waiting.extend(await store.read(_read, source, store.reader, at, upto))
                at = upto
            piece = memoryview(waiting.popleft())
            await response.write(piece[:WRITE_BYTES])
            if len(piece) > WRITE_BYTES:
                waiting.appendleft(piece[WRITE_BYTES:])
            way = straight(transport, partial(source.read, store.reader), PIECE_BYTES)
            if way is not None:
                try:
                    return await way.send(store, waiting, at, end)
                finally:
                    way.close()
    finally:
        if transport is not None:
            transport.set_write_buffer_limits()


def _first(source: Source, reader: Reader, start: int, end: int) -> Pieces:
    return list(islice(source.read(reader, start, min(end, start + PIECE_BYTES)), FIRST_PIECES))


def _read(source: Source, reader: Reader, start: int, end: int) -> Pieces:
    return list(source.read(reader, start, end))
