"""An RTSP server with one mount that sends what tests tell it to, and a raw connection to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from recorderd.core.clock import FakeClock
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.rtspserver.gate import DigestGate
from recorderd.rtspserver.later import Later
from recorderd.rtspserver.mount import PlayStart, Presentation, Track
from recorderd.rtspserver.server import RtspServer, ServerLimits
from recorderd.rtspserver.session import SessionContext
from recorderd.rtspserver.udp import UdpPorts

CONFIG = CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8000, sample_rate=8000, channels=1)
TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


async def until(done: Callable[[], object]) -> None:
    """Wait, patiently, for what the server brings about."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.002)


@dataclass
class FakeMount:
    """Remembers its visits; `answer` is what PLAY gives, maybe a Later."""

    tracks: int = 2
    answer: Any = field(default_factory=lambda: PlayStart(None, ()))
    visits: list[FakeVisit] = field(default_factory=list)

    def presentation(self) -> Presentation:
        return Presentation(tuple(Track(CONFIG, 0, 0x1000 + number) for number in range(self.tracks)))

    def admits(self, user: str) -> bool:
        return True

    def visit(self, outlet: Any) -> FakeVisit:
        self.visits.append(FakeVisit(self, outlet))
        return self.visits[-1]


class FakeVisit:
    def __init__(self, mount: FakeMount, outlet: Any) -> None:
        self.mount, self.outlet = mount, outlet
        self.wishes: list[Any] = []
        self.calls: list[Any] = []
        self.reports: list[tuple[int, bytes]] = []

    def play(self, wish: Any) -> PlayStart | Later[PlayStart]:
        self.wishes.append(wish)
        if isinstance(self.mount.answer, Exception):
            raise self.mount.answer
        return self.mount.answer  # type: ignore[no-any-return]

    def pause(self) -> int | None:
        self.calls.append("pause")
        return 1_790_000_000_000_000

    def stop(self) -> None:
        self.calls.append("stop")

    def auth_failed(self) -> None:
        self.calls.append("auth_failed")

    def receiver_report(self, track: int, data: bytes) -> None:
        self.reports.append((track, data))

    def closed(self, cause: str) -> None:
        self.calls.append(cause)


@dataclass
class Stage:
    mount: FakeMount
    server: RtspServer
    clock: FakeClock
    port: int

    async def connect(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.port), f"rtsp://127.0.0.1:{self.port}/it")

    def find(self, path: str, query: str) -> FakeMount | None:
        return self.mount if path == "/it" else None


@dataclass
class Line:
    """One connection, raw."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    url: str
    cseq: int = 0
    session: str = ""

    def send(self, method: str, url: str = "", body: bytes = b"", **headers: str) -> None:
        self.cseq += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self.session and "Session" not in headers:
            lines.append(f"Session: {self.session}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(30):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            await self.reader.readexactly(int(headers.get("content-length", "0")))
        if found := re.match(r"([0-9a-f]+)", headers.get("session", "")):
            self.session = found[1]
        return int(lines[0].split()[1]), headers

    async def ask(self, method: str, url: str = "", body: bytes = b"", **headers: str) -> tuple[int, dict[str, str]]:
        self.send(method, url, body, **headers)
        return await self.answer()

    async def status(self, method: str, url: str = "", body: bytes = b"", **headers: str) -> int:
        return (await self.ask(method, url, body, **headers))[0]

    async def set_up(self) -> None:
        for track in range(2):
            assert await self.status("SETUP", f"{self.url}/trackID={track}", Transport=TCP) == 200

    async def rest(self) -> bytes:
        """Everything to the end of the connection."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # the server was faster


@asynccontextmanager
async def stage(
    limits: ServerLimits | None = None, *, sessions: int = 100, udp: UdpPorts | None = None, gate: Any = None
) -> AsyncIterator[Stage]:
    clock = FakeClock(1_790_000_000_000_000)
    made = Stage(FakeMount(), None, clock, 0)  # type: ignore[arg-type]
    context = SessionContext(
        made, gate or DigestGate("it", {}, b"key"), features=frozenset({"onvif-replay"}), max_sessions=sessions
    )  # fmt: skip
    made.server = RtspServer(context, clock, limits or ServerLimits(), udp or UdpPorts())
    made.port = await made.server.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.server.stop()
