"""RTSP inside HTTP: a scripted camera behind a tunnel of two connections, and cameras that have none."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from rtsp_rig import RigHost, RigSink, address, playing
from scripted_camera import IDR, PPS, SPS, Camera

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported, DriverError, StreamLost
from recorderd.driverapi.tls import fingerprint
from recorderd.driverkit import rtsp_stream
from recorderd.media.nal import join_units
from recorderd.wire import http_tunnel
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_url import parse_url

HTTP = RtspSettings(transport=Transport.HTTP)
LOGIN = ("admin", "p@ss")


@dataclass
class Tunnel:
    """`answer`: to GET; `post_answer`: sent down the POST connection at once; `cut`: pieces GET's answer comes in."""

    camera: Camera
    answer: bytes = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\nContent-Length: 5\r\n\r\n"
    post_answer: bytes = b""
    cut: int = 1 << 20
    heads: list[str] = field(default_factory=list)
    port: int = 0
    _down: dict[str, asyncio.StreamWriter] = field(default_factory=dict)
    ways_up: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._half(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left

    async def _half(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        found = re.search(r"x-sessioncookie: (\S+)", head)
        assert found is not None
        if head.startswith("GET"):
            self._down[found[1]] = writer
            for at in range(0, len(self.answer), self.cut):
                writer.write(self.answer[at : at + self.cut])
                await writer.drain()
                await asyncio.sleep(0)
            return
        self.ways_up.append(writer)
        writer.write(self.post_answer)
        plain = asyncio.StreamReader()
        down = asyncio.ensure_future(self.camera.serve(plain, self._down[found[1]]))
        while data := await reader.read(4096):
            while len(data) % 4:
                data += await reader.readexactly(1)
            for at in range(0, len(data), 4):  # each message is padded by itself
                plain.feed_data(base64.b64decode(data[at : at + 4], validate=True))
        plain.feed_eof()
        await down
        writer.close()


@asynccontextmanager
async def tunnelled(tunnel: Tunnel, tls: ssl.SSLContext | None = None) -> AsyncIterator[Tunnel]:
    server = await asyncio.start_server(tunnel.serve, "127.0.0.1", 0, ssl=tls)
    tunnel.port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(30):
            yield tunnel
    finally:
        server.close()


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("gather_us", [0, 5_000])
async def test_a_tunnel_carries_everything(cut: int, gather_us: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    monkeypatch.setattr(rtsp_stream, "REPORT_US", 10_000)
    camera, sink = Camera(login=LOGIN), RigSink()
    async with tunnelled(Tunnel(camera, cut=cut)) as tunnel:
        where = address(tunnel.port, "/cam?x=1", login=LOGIN)
        async with playing(where, sink, RigHost(gather_us), settings=HTTP):
            await sink.until_video(3)
            while not camera.received:  # noqa: ASYNC110 - reports tell nobody
                await asyncio.sleep(0.001)
        assert camera.methods()[-1] == "TEARDOWN"
    assert [unit.data for unit in sink.video] == [join_units([SPS, PPS, IDR])] * 3
    assert camera.received[0].channel == 1
    assert [head.split()[:2] for head in tunnel.heads] == [["GET", "/cam?x=1"], ["POST", "/cam?x=1"]]
    assert not any("authorization" in head.lower() for head in tunnel.heads), "HTTP carries no login"


async def test_a_tunnel_over_tls() -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    pin = fingerprint(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode()))
    sink = RigSink()
    async with tunnelled(Tunnel(Camera()), context) as tunnel:
        settings = RtspSettings(transport=Transport.HTTP, tls_fingerprint=pin)
        async with playing(address(tunnel.port, scheme="rtsps"), sink, settings=settings):
            await sink.until_video(3)


async def test_the_way_up_ends_the_stream() -> None:
    sink = RigSink()
    async with (
        tunnelled(Tunnel(Camera())) as tunnel,
        playing(address(tunnel.port), sink, settings=HTTP) as (_, stream),
    ):
        await sink.until_video(3)
        tunnel.ways_up[0].close()
        with pytest.raises(StreamLost, match="way up") as lost:
            await stream.wait()
    assert lost.value.reason == "closed"


FAILURES: dict[str, tuple[Tunnel, type[DriverError], str, str]] = {
    "not there": (Tunnel(Camera(), b"HTTP/1.1 404 Not Found\r\n\r\n"), DeviceUnsupported, "transport", "404"),
    "login in HTTP": (Tunnel(Camera(), b"HTTP/1.1 401 No\r\n\r\n"), DeviceUnsupported, "transport", "login in HTTP"),
    "POST refused": (
        Tunnel(Camera(), post_answer=b"HTTP/1.1 405 No\r\n\r\n"), DeviceUnsupported, "transport", "405"
    ),
    "no HTTP": (Tunnel(Camera(), b"RTSP/1.0 400 Bad\r\n\r\n"), DeviceUnavailable, "tunnel", "no HTTP"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
async def test_no_tunnel_is_typed(name: str) -> None:
    tunnel, error, reason, words = FAILURES[name]
    host = RigHost()
    async with tunnelled(tunnel):
        with pytest.raises(error, match=words) as failed:
            async with playing(address(tunnel.port), RigSink(), host, settings=HTTP):
                pass
    assert failed.value.reason == reason


@pytest.mark.fast
def test_ports_of_a_tunnel() -> None:
    ports = [parse_url(text).tunnel_port for text in ("rtsp://h/x", "rtsps://h/x", "rtsp://h:8080/x")]
    assert ports == [80, 443, 8080]


@pytest.mark.fast
@given(st.binary(max_size=80))
def test_any_answer_gives_a_status_or_a_typed_error(data: bytes) -> None:
    for head in (data, b"HTTP/1.0 " + data, b"HTTP/1.0 200 OK\r\n\r\n" + data):
        try:
            found = http_tunnel.answer_end(memoryview(head), 0, len(head))
        except ProtocolError:
            continue
        assert found is None or 0 <= found[0] <= 999
    assert http_tunnel.answer_end(b"HTTP/1.0 200 OK\r\n\r\n" + data, 0, 19 + len(data)) == (200, 19)
