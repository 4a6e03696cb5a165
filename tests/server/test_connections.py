"""Connections that send no HTTP, half of it, too much of it, or that come in crowds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import weakref
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from server_scene import Scene
from structlog.testing import capture_logs

from recorderd.daemon.compose import SERVE_STOP_S
from recorderd.server.http.app import build_app
from recorderd.server.http.connections import Limits
from recorderd.server.http.listeners import HttpServer
from recorderd.server.http.ws_routes import SOCKETS, close_sockets

STATUS = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def http(server: Scene) -> AsyncIterator[HttpServer]:
    made = HttpServer(build_app(server.deps), Limits(connections=4))
    await made.start(("127.0.0.1", 0), None)
    yield made
    await made.stop()


async def exchange(http: HttpServer, data: bytes) -> tuple[bytes, bytes]:
    """(head, body) of all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*http.addresses[0])
    writer.write(data)
    got = await reader.read()
    writer.close()
    head, _, body = got.partition(b"\r\n\r\n")
    return head, body


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes without a word."""
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: secret\r\nConnection: close\r\n\r\n",
        b"GET /" + b"secret" * 3000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"se(cret / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret\r\n\r\n",
        b"\x00" * 20_000,
    ],
    ids=["two-hosts", "long-line", "method", "tls", "nul"],
)  # fmt: skip
async def test_what_is_no_http_gets_a_problem_and_leaves_no_traceback(
    http: HttpServer, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        head, body = await exchange(http, data)
    problem = json.loads(body)
    assert problem["code"] in ("request-rejected", "host-refused")
    assert b"application/problem+json" in head
    assert b"secret" not in body
    assert b"aiohttp" not in head + body
    assert len(body) < 1_000
    assert [one for one in logs if one["log_level"] == "error"] == []
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_head_that_never_ends_is_cut_off_and_a_patient_client_is_not(server: Scene) -> None:
    http = HttpServer(build_app(server.deps), Limits(head_s=0.5))
    await http.start(("127.0.0.1", 0), None)
    half = await asyncio.open_connection(*http.addresses[0])
    half[1].write(STATUS[:30])
    silent = await asyncio.open_connection(*http.addresses[0])
    for reader, writer in (half, silent):
        assert await closed(reader)
        writer.close()
    reader, writer = await asyncio.open_connection(*http.addresses[0])
    for _ in range(2):  # between two requests of one connection the limit of the head does not run
        writer.write(STATUS.replace(b"close", b"keep-alive"))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        await asyncio.sleep(0.7)
    writer.close()
    await http.stop()


async def test_open_connections_are_bounded_and_places_come_free(http: HttpServer) -> None:
    held = []
    for _ in range(4):
        reader, writer = await asyncio.open_connection(*http.addresses[0])
        writer.write(STATUS.replace(b"close", b"keep-alive"))
        await reader.readuntil(b"\r\n\r\n")
        held.append(writer)
    fifth, writer = await asyncio.open_connection(*http.addresses[0])
    assert await closed(fifth)
    writer.close()
    for one in held:
        one.close()
        await one.wait_closed()
    for _ in range(100):  # the server learns of the close on its own time
        head = b""
        with contextlib.suppress(ConnectionError):
            head, _ = await exchange(http, STATUS)
        if head:
            break
        await asyncio.sleep(0.01)
    assert head.startswith(b"HTTP/1.1 200")


async def test_viewers_that_read_nothing_do_not_hold_up_the_stop() -> None:
    """The daemon waits SERVE_STOP_S for all of them together."""
    full = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            write = asyncio.ensure_future(answer.write(bytes(2**20)))
            _, waiting = await asyncio.wait([write], timeout=0.2)
            if waiting:
                full.set()
            await write

    app = web.Application()
    app.router.add_get("/", endless)
    http = HttpServer(app)
    await http.start(("127.0.0.1", 0), None)
    reader, writer = await asyncio.open_connection(*http.addresses[0])
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await full.wait()
    async with asyncio.timeout(SERVE_STOP_S):
        await http.stop()
    writer.close()


async def test_a_page_that_reads_nothing_does_not_hold_up_the_stop() -> None:
    full = asyncio.Event()

    async def endless(request: web.Request) -> web.WebSocketResponse:
        page = web.WebSocketResponse()
        await page.prepare(request)
        request.app[SOCKETS].add(page)
        while True:
            write = asyncio.ensure_future(page.send_bytes(bytes(2**20)))
            _, waiting = await asyncio.wait([write], timeout=0.2)
            if waiting:
                full.set()
            await write

    app = web.Application()
    app[SOCKETS] = weakref.WeakSet()
    app.on_shutdown.append(close_sockets)
    app.router.add_get("/", endless)
    http = HttpServer(app)
    await http.start(("127.0.0.1", 0), None)
    reader, writer = await asyncio.open_connection(*http.addresses[0])
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await full.wait()
    async with asyncio.timeout(SERVE_STOP_S):
        await http.stop()
    writer.close()


async def test_a_body_above_the_limit_is_refused_before_it_comes(http: HttpServer, server: Scene) -> None:
    head, body = await exchange(
        http,
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n",
    )
    assert head.startswith(b"HTTP/1.1 413")
    assert json.loads(body)["code"] == "body-too-large"
    assert server.reloads == []


async def test_the_authority_of_an_absolute_target_counts_as_the_host(http: HttpServer) -> None:
    foreign = STATUS.replace(b"/api", b"http://evil.example/api")
    head, body = await exchange(http, foreign)
    assert head.startswith(b"HTTP/1.1 403")
    assert json.loads(body)["code"] == "host-refused"
    head, _ = await exchange(http, STATUS.replace(b"/api", b"http://localhost:1/api"))
    assert head.startswith(b"HTTP/1.1 200")


async def test_a_crowd_that_asks_nothing_shuts_nobody_out(server: Scene) -> None:
    http = HttpServer(build_app(server.deps), Limits(head_s=60, connections=32))
    await http.start(("127.0.0.1", 0), None)
    held: list[asyncio.StreamWriter] = []
    for number in range(1_000):
        _, writer = await asyncio.open_connection(*http.addresses[0])
        writer.write(STATUS[: number % 30])
        held.append(writer)
        if len(held) > 200:
            held.pop(0).close()
        if number % 250 == 249:
            head, _ = await exchange(http, STATUS)
            assert head.startswith(b"HTTP/1.1 200"), number
    for writer in held:
        writer.close()
    await http.stop()


async def test_a_hundred_thousand_headers_and_endless_ones(http: HttpServer) -> None:
    """Cut off early: the client need not even be done."""
    reader, writer = await asyncio.open_connection(*http.addresses[0])
    writer.write(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 100_000 and not reader.at_eof():
            writer.write(b"".join(b"X-%d: y\r\n" % number for number in range(sent, sent + 1_000)))
            sent += 1_000
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"\r\n")
    got = b""
    with contextlib.suppress(ConnectionError):
        got = await reader.read()
    assert b" 200 " not in got[:20]
    assert not got or json.loads(got.partition(b"\r\n\r\n")[2])["code"] == "request-rejected"
    writer.close()
    assert (await exchange(http, STATUS))[0].startswith(b"HTTP/1.1 200")


async def test_a_body_that_never_comes_is_given_up(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorderd.server.http.bodies.BODY_S", 0.05)
    request = b"POST /api/v1/exports HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection(*http.addresses[0])
    writer.write(request + b"Content-Length: 100\r\n\r\n{")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.startswith(b"HTTP/1.1 400")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert json.loads(await reader.readexactly(length))["code"] == "request-rejected"
    writer.close()
