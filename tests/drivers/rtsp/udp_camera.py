"""A scripted camera that answers SETUP with UDP or a multicast group; a test sends its datagrams by hand."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass, field

from scripted_camera import Answer, Camera

from recorderd.wire.rtsp_message import RtspRequest, RtspResponse

LOOPBACK = "127.0.0.1"


def udp_socket(address: str = LOOPBACK, port: int = 0) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((address, port))
    one.setblocking(False)
    return one


@dataclass
class UdpCamera(Camera):
    """One track. `refuses_tcp`: with "461", or "" to answer UDP whatever was asked. `names_ports`: says where it
    sends from. `group`: multicast instead, as (address, port)."""

    pictures: int = 0
    refuses_tcp: str = "461"
    names_ports: bool = True
    group: tuple[str, int] | None = None
    more: str = ""  # behind the Transport of the answer
    client: tuple[int, int] = (0, 0)
    playing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.media, self.control = udp_socket(), udp_socket()
        for one in (self.media, self.control):
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))

    def answer(self, request: RtspRequest, nonce: str) -> Answer:
        asked = request.headers.get("Transport")
        if request.method == "SETUP":
            if "TCP" in asked and self.refuses_tcp:
                return RtspResponse(int(self.refuses_tcp), "no", request.headers)
            found = re.search(r"client_port=(\d+)-(\d+)", asked)
            self.client = (int(found[1]), int(found[2])) if found else (0, 0)
            self.transport = self._transport()
        elif request.method == "PLAY":
            self.playing.set()
        return super().answer(request, nonce)

    def _transport(self) -> str:
        if self.group is not None:
            group, port = self.group
            return f"RTP/AVP;multicast;destination={group};port={port}-{port + 1};ttl=1{self.more}"
        mine = f";server_port={self.port_of(self.media)}-{self.port_of(self.control)}" if self.names_ports else ""
        return f"RTP/AVP;unicast;client_port={self.client[0]}-{self.client[1]}{mine}{self.more}"

    def send(self, packets: list[bytes], through: socket.socket | None = None) -> None:
        """Datagrams to the receiver's media port, in this order."""
        target = self.group or (LOOPBACK, self.client[0])
        for packet in packets:
            (through or self.media).sendto(packet, target)

    def send_control(self, packet: bytes) -> None:
        address, port = self.group or (LOOPBACK, self.client[0])
        self.control.sendto(packet, (address, port + 1))

    async def hears(self, one: socket.socket) -> bytes:
        """The next datagram that comes to a socket of this camera."""
        return await asyncio.get_running_loop().sock_recv(one, 65536)

    @staticmethod
    def port_of(one: socket.socket) -> int:
        return int(one.getsockname()[1])

    def close(self) -> None:
        self.media.close()
        self.control.close()
