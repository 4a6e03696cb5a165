"""A small RTSP client of these tests: TCP or UDP, extensions read, units put together; independent of the product's."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field

NTP_EPOCH_S = 2_208_988_800


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Stamp:
    """The replay extension."""

    utc_us: int
    clean: bool
    end: bool
    discontinuity: bool
    terminal: bool
    cseq: int


@dataclass
class Packet:
    channel: int
    marker: bool
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes
    stamp: Stamp | None


@dataclass
class Unit:
    """`data`: NAL units behind 4-byte lengths for channel 0, the joined payloads for others."""

    timestamp: int
    data: bytes
    stamp: Stamp | None
    seq: int


def read_packet(channel: int, data: bytes) -> Packet:
    first, second, seq, timestamp, ssrc = struct.unpack_from(">BBHII", data)
    assert first in (0x80, 0x90)
    at, stamp = 12, None
    if first == 0x90:
        profile, words, ntp, flags, cseq, zero = struct.unpack_from(">HHQBBH", data, 12)
        assert (profile, words, zero, flags & 0x0F) == (0xABAC, 3, 0, 0)
        utc_us = ((ntp >> 32) - NTP_EPOCH_S) * 1_000_000 + ((ntp & 0xFFFFFFFF) * 1_000_000 + (1 << 31) >> 32)
        stamp = Stamp(utc_us, bool(flags & 0x80), bool(flags & 0x40), bool(flags & 0x20), bool(flags & 0x10), cseq)
        at = 28
    return Packet(channel, bool(second & 0x80), seq, timestamp, ssrc, data[at:], stamp)


def h264_unit(packets: list[Packet]) -> bytes:
    """The access unit of these packets: single NAL units, STAP-A, FU-A."""
    nals: list[bytes] = []
    fragment = b""
    for payload in (packet.payload for packet in packets):
        kind = payload[0] & 0x1F
        if kind == 24:
            at = 1
            while at < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                nals.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
            assert at == len(payload)
        elif kind == 28:
            assert bool(payload[1] & 0x80) == (not fragment)
            fragment = (fragment or bytes([payload[0] & 0xE0 | payload[1] & 0x1F])) + payload[2:]
            if payload[1] & 0x40:
                nals.append(fragment)
                fragment = b""
        else:
            nals.append(payload)
    assert not fragment
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def without_sets(data: bytes) -> bytes:
    """An access unit without parameter sets."""
    out, at = b"", 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4] & 0x1F not in (7, 8):
            out += data[at : at + 4 + size]
        at += 4 + size
    return out


@dataclass
class Peer:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    url: str
    cseq: int = 0
    session: str = ""
    packets: list[Packet] = field(default_factory=list)
    rtcp: list[tuple[int, bytes]] = field(default_factory=list)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    ended: bool = False
    played: Reply | None = None

    @classmethod
    async def connect(cls, port: int, path: str) -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(reader, writer, f"rtsp://127.0.0.1:{port}{path}")

    async def ask(self, method: str, url: str = "", body: bytes = b"", **headers: str) -> Reply:
        self.cseq += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self.session and "Session" not in headers:
            lines.append(f"Session: {self.session}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        while not isinstance(one := await self._next(), Reply):
            if one is None:
                raise EOFError
        assert one.headers["cseq"] == str(self.cseq)
        if one.status == 200 and method == "SETUP":
            self.session = one.headers["session"].partition(";")[0]
        return one

    async def describe(self, **headers: str) -> list[str]:
        """Control addresses of the tracks."""
        reply = await self.ask("DESCRIBE", Accept="application/sdp", **headers)
        assert reply.status == 200, reply
        return re.findall(r"a=control:(rtsp\S+)", reply.body.decode())

    async def setup(self, udp: bool = False, **headers: str) -> list[Reply]:
        """DESCRIBE and SETUP of every track."""
        replies = []
        for number, control in enumerate(await self.describe(**headers)):
            if udp:
                pair = [self._socket(2 * number), self._socket(2 * number + 1)]
                ports = "-".join(str(one.getsockname()[1]) for one in pair)
                transport = f"RTP/AVP;unicast;client_port={ports}"
            else:
                transport = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            replies.append(await self.ask("SETUP", control, Transport=transport, **headers))
            assert replies[-1].status == 200, replies[-1]
        return replies

    def _socket(self, channel: int) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
        self.sockets[channel] = one
        asyncio.get_running_loop().add_reader(one, self._read_datagrams, one, channel)
        return one

    def _read_datagrams(self, one: socket.socket, channel: int) -> None:
        while True:
            try:
                self._take(channel, one.recv(65536))
            except BlockingIOError:
                return

    def _take(self, channel: int, data: bytes) -> None:
        if channel % 2:
            self.rtcp.append((channel, data))
        else:
            self.packets.append(read_packet(channel, data))

    async def _next(self) -> Reply | bytes | None:
        try:
            first = await self.reader.readexactly(1)
            if first == b"$":
                channel, size = struct.unpack(">BH", await self.reader.readexactly(3))
                data = await self.reader.readexactly(size)
                self._take(channel, data)
                return data
            head = first + await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended = True
            return None
        lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(lines[0].split()[1]), headers, body)

    async def read_until(self, done: object) -> None:
        """Read on (both transports) until `done()` is true."""
        async with asyncio.timeout(30):
            while not done():  # type: ignore[operator]
                if self.sockets:
                    await asyncio.sleep(0.01)
                elif await self._next() is None:
                    raise EOFError

    async def read_units(self, count: int, channel: int = 0) -> list[Unit]:
        """The first `count` units of a channel, read on until they are there."""
        await self.read_until(lambda: sum(p.marker for p in self.packets if p.channel == channel) >= count)
        return self.units(channel)[:count]

    async def read_to_end(self) -> None:
        async with asyncio.timeout(30):
            while await self._next() is not None:
                pass

    async def read_to_bye(self, channel: int = 1) -> None:
        await self.read_until(lambda: any(has_bye(data) for at, data in self.rtcp if at == channel))

    def units(self, channel: int = 0) -> list[Unit]:
        out, run = [], []
        for packet in (p for p in self.packets if p.channel == channel):
            run.append(packet)
            if packet.marker:
                data = h264_unit(run) if channel == 0 else b"".join(one.payload for one in run)
                out.append(Unit(packet.timestamp, data, run[0].stamp, run[0].seq))
                run = []
        return out

    async def close(self) -> None:
        for one in self.sockets.values():
            asyncio.get_running_loop().remove_reader(one)
            one.close()
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # the server was faster


def has_bye(compound: bytes) -> bool:
    at = 0
    while at + 4 <= len(compound):
        if compound[at + 1] == 203:
            return True
        at += 4 * (int.from_bytes(compound[at + 2 : at + 4], "big") + 1)
    return False


def report_of(compound: bytes) -> tuple[int, int] | None:
    """(UTC microseconds, RTP timestamp) of a sender report."""
    if compound[1] != 200:
        return None
    ntp, timestamp = struct.unpack_from(">QI", compound, 8)
    return ((ntp >> 32) - NTP_EPOCH_S) * 1_000_000 + ((ntp & 0xFFFFFFFF) * 1_000_000 >> 32), timestamp
