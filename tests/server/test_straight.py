"""Long answers leave by a second handle on the socket: nothing lost, nothing of another connection touched."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer

from mediadb.errors import ChunkCorrupt
from recorderd.server.http import byte_answer
from recorderd.server.http import straight as straight_module
from recorderd.server.http.straight import Straight

LENGTH = 9_000_001


def content(start: int, end: int) -> bytes:
    """Every four bytes say where they are."""
    first = start // 4
    words = b"".join(number.to_bytes(4, "big") for number in range(first, -(-end // 4)))
    return words[start - first * 4 : end - first * 4]


class Store:
    reader = None

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)

    async def read(self, call: Callable[..., Any], *args: object) -> Any:
        return await self.read_ahead(call, *args)

    def read_ahead(self, call: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self.pool, call, *args)


class Source:
    total_bytes = LENGTH
    broken_at: int | None = None

    def __init__(self) -> None:
        self.upto = 0

    def read(self, reader: object, start: int, end: int) -> Iterator[bytes | memoryview]:
        for at in range(start, end, 100_000):
            if self.broken_at is not None and at >= self.broken_at:
                raise ChunkCorrupt("damaged", file="x", offset=0)
            self.upto = min(at + 100_000, end)
            yield memoryview(content(at, self.upto))


@asynccontextmanager
async def served(source: Source) -> AsyncIterator[tuple[str, list[str], asyncio.Event]]:
    """(URL, how answers ended, set when one did)."""
    ended: list[str] = []
    over = asyncio.Event()
    store = Store()

    async def handler(request: web.Request) -> web.StreamResponse:
        what = byte_answer.Bytes(source, '"x"', {}, lambda error: ended.append(type(error).__name__))
        try:
            return await byte_answer.send_bytes(request, cast(Any, store), what)
        finally:
            over.set()

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/")), ended, over
    store.pool.shutdown()


async def test_answers_behind_one_another_on_one_connection() -> None:
    async with served(Source()) as (url, ended, _), ClientSession() as session:
        for start, end in ((0, LENGTH), (5, LENGTH - 3), (7, 70), (0, LENGTH)):
            async with session.get(url, headers={"Range": f"bytes={start}-{end - 1}"}) as answer:
                assert await answer.read() == content(start, end)
        assert ended == []


async def test_a_peer_that_reads_slowly_misses_nothing_and_is_not_read_far_ahead_of() -> None:
    source = Source()
    source.total_bytes = 80_000_000
    async with served(source) as (url, ended, over):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")), limit=65_536)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        at = 0
        while at < 3_000_000:
            part = await reader.read(65_536)
            assert part == content(at, at + len(part))
            at += len(part)
        assert source.upto < 60_000_000  # the sockets' buffers and two pieces
        writer.close()
        await asyncio.wait_for(over.wait(), 30)
        assert ended == []  # who leaves is nothing to tell


async def test_what_cannot_be_read_ends_the_answer_there() -> None:
    source = Source()
    source.broken_at = 5_000_000
    got = bytearray()
    async with served(source) as (url, ended, _), ClientSession() as session:
        async with session.get(url) as answer:
            with pytest.raises(ClientPayloadError):
                await _take(answer, got)
        assert ended == ["ChunkCorrupt"]
    assert bytes(got) == content(0, len(got))
    assert len(got) < LENGTH


async def _take(answer: ClientResponse, got: bytearray) -> None:
    async for part in answer.content.iter_any():
        got += part


class Open:
    """A transport that is not closing."""

    def is_closing(self) -> bool:
        return False


async def test_the_handle_is_not_closed_under_a_thread_that_uses_it() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reading, go_on = threading.Event(), threading.Event()

    def read(start: int, end: int) -> Iterator[bytes]:
        reading.set()
        assert go_on.wait(30)
        yield b"x" * (end - start)

    way = Straight(cast(Any, Open()), ours, read, 1000)
    store = Store()
    task = asyncio.ensure_future(way.send(cast(Any, store), deque(), 0, 1000))
    await asyncio.to_thread(reading.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    way.close()
    assert ours.fileno() >= 0
    go_on.set()
    await asyncio.to_thread(store.pool.shutdown)
    await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert ours.fileno() < 0
    theirs.close()


async def test_a_peer_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place would else be gone for as long as its kernel keeps the connection alive."""
    monkeypatch.setattr(straight_module, "LOOK_S", 0.05)
    monkeypatch.setattr(straight_module, "LOOKS", 2)
    source = Source()
    async with served(source) as (url, _, over):
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        await asyncio.get_running_loop().sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(30):
            await over.wait()
        assert source.upto < LENGTH
        sock.close()
