"""A small RTSP client of the tests' own: independent of the product's, strict about what it reads."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
from dataclasses import dataclass, field

from recorderd.media.access_unit import Codec


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Packet:
    """One interleaved RTP packet, header read with care."""

    channel: int
    marker: bool
    payload_type: int
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes

    @classmethod
    def read(cls, channel: int, data: bytes) -> Packet:
        first, second, seq, timestamp, ssrc = struct.unpack_from(">BBHII", data)
        assert first == 0x80, "version 2, no padding, no extension, no CSRC"
        return cls(channel, bool(second & 0x80), second & 0x7F, seq, timestamp, ssrc, data[12:])


@dataclass
class Unit:
    timestamp: int
    nals: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return b"".join(len(nal).to_bytes(4, "big") + nal for nal in self.nals)


def split_interleaved(data: bytes) -> list[tuple[int, bytes]]:
    """(channel, data) of a byte string that holds nothing but whole interleaved frames."""
    found, pos = [], 0
    while pos < len(data):
        assert data[pos] == 0x24, f"no $ at {pos}"
        size = int.from_bytes(data[pos + 2 : pos + 4], "big")
        assert pos + 4 + size <= len(data), "the last packet is cut off"
        found.append((data[pos + 1], data[pos + 4 : pos + 4 + size]))
        pos += 4 + size
    return found


def units_of(packets: list[Packet], codec: Codec) -> list[Unit]:
    """Access units out of packets without loss: FU-A and FU are joined, the marker bit ends a unit."""
    units: list[Unit] = []
    open_unit: Unit | None = None
    fragment = b""
    for packet in packets:
        if open_unit is None:
            open_unit = Unit(packet.timestamp)
        assert packet.timestamp == open_unit.timestamp
        payload = packet.payload
        if codec is Codec.H264:
            is_fragment, skip = payload[0] & 0x1F == 28, 2
            flags = payload[1]
            header = bytes([payload[0] & 0xE0 | payload[1] & 0x1F])
        else:
            is_fragment, skip = payload[0] >> 1 & 0x3F == 49, 3
            flags = payload[2]
            header = bytes([payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1]])
        if not is_fragment:
            assert not fragment
            open_unit.nals.append(payload)
        else:
            assert bool(flags & 0x80) == (not fragment), "start bit on the first fragment only"
            fragment = (fragment or header) + payload[skip:]
            if flags & 0x40:
                open_unit.nals.append(fragment)
                fragment = b""
        if packet.marker:
            assert not fragment
            units.append(open_unit)
            open_unit = None
    return units


class RawClient:
    """One connection; keeps RTP packets and RTCP by channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader, self.writer, self.url = reader, writer, url
        self.cseq = 0
        self.session = ""
        self.login: tuple[str, str] | None = None
        self.challenge: dict[str, str] = {}
        self.packets: list[Packet] = []
        self.rtcp: list[tuple[int, bytes]] = []

    @classmethod
    async def connect(cls, port: int, path: str) -> RawClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(reader, writer, f"rtsp://127.0.0.1:{port}{path}")

    async def ask(self, method: str, url: str | None = None, body: bytes = b"", **headers: str) -> Reply:
        url = url or self.url
        self.cseq += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self.session and "Session" not in headers:
            lines.append(f"Session: {self.session}")
        if self.login and self.challenge:
            lines.append(self._authorization(method, url))
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        reply = await self.reply()
        assert reply.headers["cseq"] == str(self.cseq)
        if reply.status == 401 and self.login:
            values = re.findall(r'(\w+)="([^"]*)"', reply.headers["www-authenticate"])
            self.challenge = dict(values)
        if reply.status == 200 and "session" in reply.headers:
            self.session = reply.headers["session"].partition(";")[0]
        return reply

    def _authorization(self, method: str, url: str) -> str:
        assert self.login
        user, password = self.login

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        realm, nonce = self.challenge["realm"], self.challenge["nonce"]
        response = md5(f"{md5(f'{user}:{realm}:{password}')}:{nonce}:{md5(f'{method}:{url}')}")
        return (
            f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{url}", '
            f'response="{response}"'
        )

    async def reply(self) -> Reply:
        """The next response; media on the way is kept."""
        while (frame := await self._next()) is not None:
            if isinstance(frame, Reply):
                return frame
        raise EOFError

    async def _next(self) -> Reply | bytes | None:
        try:
            first = await self.reader.readexactly(1)
            if first == b"$":
                channel, size = struct.unpack(">BH", await self.reader.readexactly(3))
                data = await self.reader.readexactly(size)
                if channel % 2:
                    self.rtcp.append((channel, data))
                else:
                    self.packets.append(Packet.read(channel, data))
                return data
            head = first + await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(lines[0].split()[1]), headers, body)

    async def start(self, tracks: int = 1) -> Reply:
        """SETUP and PLAY."""
        for track in range(tracks):
            reply = await self.ask("SETUP", f"{self.url}/trackID={track}", Transport="RTP/AVP/TCP;interleaved=0-1")
            assert reply.status == 200
        reply = await self.ask("PLAY")
        assert reply.status == 200
        return reply

    async def read_units(self, count: int) -> None:
        """Read on until `count` marker bits of video have come."""
        while sum(packet.marker and packet.channel == 0 for packet in self.packets) < count:
            if await self._next() is None:
                raise EOFError

    async def read_to_end(self) -> None:
        while await self._next() is not None:
            pass

    def video(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.channel == 0]

    def audio(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.channel == 2]

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # the server was faster


def parameter_sets_of_sdp(body: bytes) -> set[bytes]:
    """Every sprop value, decoded."""
    found = re.findall(rb"sprop-[a-z-]+=([A-Za-z0-9+/=,]+)", body)
    return {base64.b64decode(item) for value in found for item in value.split(b",")}
