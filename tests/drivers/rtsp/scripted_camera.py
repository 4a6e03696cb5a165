"""A camera by script: an RTSP server whose every answer a test can bend. Media is a few small pictures."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import Headers, InterleavedFrame, MessageDecoder, RtspRequest, RtspResponse

SPS = bytes.fromhex("6764000cacd941419f9f011000000300100000030320f1429960")
PPS = bytes.fromhex("68ef8fcb")
IDR = b"\x65\x88" + b"\x33" * 50
SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)
AUDIO_SDP = "m=audio 0 RTP/AVP 0\r\na=control:track2\r\n"


def picture(number: int) -> list[bytes]:
    """RTP packets of picture `number`: parameter sets and one slice, marker on the last."""
    nals = (SPS, PPS, IDR)
    return [
        struct.pack(">BBHII", 0x80, 96 | (at == 2) << 7, (3 * number + at) & 0xFFFF, number * 3600 & 0xFFFFFFFF, 7)
        + nal
        for at, nal in enumerate(nals)
    ]


Answer = RtspResponse | bytes | None  # None: silence


@dataclass
class Camera:
    """What the camera does. `bend` sees (request, answer) and gives what is sent instead."""

    sdp: str = SDP
    content_base: str | None = "{url}/"
    content_type: bool = True
    session: str = "12345;timeout=60"
    transport: str = "RTP/AVP/TCP;unicast;interleaved={channels}"
    play_headers: list[tuple[str, str]] = field(default_factory=list)
    login: tuple[str, str] | None = None
    challenges: list[str] = field(default_factory=lambda: ['Digest realm="cam", nonce="{nonce}"'])
    nonce_per_request: bool = False
    bend: Callable[[RtspRequest, RtspResponse], Answer] = lambda request, answer: answer
    before_play: bytes = b""  # sent in front of PLAY's answer
    pictures: int = 3
    wrap: Callable[[bytes], bytes] = lambda packet: InterleavedFrame(0, packet).encode()
    after_media: str = "wait"  # or "close"
    requests: list[RtspRequest] = field(default_factory=list)
    refused_with_credentials: int = 0
    connections: int = 0
    received: list[InterleavedFrame] = field(default_factory=list)
    port: int = 0

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def answer(self, request: RtspRequest, nonce: str) -> Answer:
        headers = Headers([("CSeq", request.headers.get("CSeq"))])
        answer = RtspResponse(200, "OK", headers)
        if self.login is not None and not self._authorised(request, nonce):
            self.refused_with_credentials += "Authorization" in request.headers
            answer = RtspResponse(401, "Unauthorized", headers)
            for challenge in self.challenges:
                headers.add("WWW-Authenticate", challenge.replace("{nonce}", nonce))
        elif request.method == "OPTIONS":
            headers.add("Public", "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif request.method == "DESCRIBE":
            if self.content_base is not None:
                headers.add("Content-Base", self.content_base.replace("{url}", request.url))
            if self.content_type:
                headers.add("Content-Type", "application/sdp")
            answer.body = self.sdp.encode()
        elif request.method == "SETUP":
            found = re.search(r"interleaved=(\S+)", request.headers.get("Transport"))
            headers.add("Transport", self.transport.replace("{channels}", found[1] if found else ""))
            headers.add("Session", self.session)
        elif request.method == "PLAY":
            headers.items.extend(self.play_headers)
        return self.bend(request, answer)

    def _authorised(self, request: RtspRequest, nonce: str) -> bool:
        user, password = self.login or ("", "")
        header = request.headers.get("Authorization")
        if header.startswith("Basic "):
            return any(one.startswith("Basic") for one in self.challenges)
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', header))
        if not header or fields.get("nonce") != nonce or fields.get("uri") != request.url:
            return False
        one = md5(f"{user}:{fields['realm']}:{password}")
        two = md5(f"{request.method}:{request.url}")
        middle = f"{nonce}:{fields['nc']}:{fields['cnonce']}:auth" if "qop" in fields else nonce
        return fields.get("response") == md5(f"{one}:{middle}:{two}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        decoder, count = MessageDecoder(), 0
        try:
            while data := await reader.read(65536):
                for message in decoder.feed(data):
                    if isinstance(message, InterleavedFrame):
                        self.received.append(message)
                    elif isinstance(message, RtspRequest):
                        count += 1
                        self.requests.append(message)
                        nonce = f"{self.connections}-{count // 2 if self.nonce_per_request else 0}"
                        if not await self._reply(message, self.answer(message, nonce), writer):
                            return
        except (ConnectionError, ProtocolError):
            pass  # the client left, or speaks something else
        finally:
            writer.close()

    async def _reply(self, request: RtspRequest, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        if answer is None:
            return True
        if request.method == "PLAY":
            writer.write(self.before_play)
        writer.write(answer if isinstance(answer, bytes) else answer.encode())
        if request.method == "PLAY" and not (isinstance(answer, RtspResponse) and answer.status != 200):
            for number in range(self.pictures):
                writer.write(b"".join(map(self.wrap, picture(number))))
            if self.after_media == "close":
                await writer.drain()
                return False
        return request.method != "TEARDOWN"


def md5(text: str) -> str:
    return hashlib.md5(text.encode("latin-1"), usedforsecurity=False).hexdigest()


@asynccontextmanager
async def running(camera: Camera, tls: ssl.SSLContext | None = None) -> AsyncIterator[Camera]:
    """The camera, listening on `camera.port`."""
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0, ssl=tls)
    camera.port = server.sockets[0].getsockname()[1]
    try:
        yield camera
    finally:
        server.close()
