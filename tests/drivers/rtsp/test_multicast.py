"""Groups on the loopback interface: joined where the camera says, from whom it says, and left at the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rtsp_rig import RigHost, RigSink, address, playing
from scripted_camera import IDR, PPS, SDP, SPS, picture, running
from udp_camera import UdpCamera, udp_socket

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported, DriverError
from recorderd.driverapi.udp import UdpRequest, interface_index, open_pair
from recorderd.driverkit import rtsp_stream
from recorderd.media.nal import join_units
from recorderd.wire.multicast import Group, find_group
from recorderd.wire.rtsp_reply import SetupReply, parse_transport
from recorderd.wire.sdp import parse_sdp

MULTICAST = RtspSettings(transport=Transport.MULTICAST)
ANY_SOURCE, ONE_SOURCE = "239.77.0.5", "232.77.0.5"


def free_port() -> int:
    """An even port that is free with the next one, as far as can be told."""
    pair = open_pair(UdpRequest("127.0.0.1"))
    port = pair.ports[0]
    pair.close()
    return port


def memberships(group: str) -> int:
    """How often this machine is in the group, on any interface (/proc/net/igmp, addresses in host order)."""
    word = socket.inet_aton(group)[::-1].hex().upper()
    rows = [line.split() for line in Path("/proc/net/igmp").read_text().splitlines()]
    return sum(int(row[1]) for row in rows if row and row[0] == word)


@asynccontextmanager
async def receiving(
    camera: UdpCamera, sink: RigSink, settings: RtspSettings = MULTICAST, host: RigHost | None = None
) -> AsyncIterator[Any]:
    try:
        async with (
            asyncio.timeout(30),
            running(camera),
            playing(address(camera.port), sink, host, settings=settings) as (_, stream),
        ):
            yield stream
    finally:
        camera.close()


@pytest.mark.parametrize("group", [ANY_SOURCE, ONE_SOURCE])
async def test_a_group_is_joined_received_reported_to_and_left(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "REPORT_US", 20_000)
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    camera, sink = UdpCamera(group=(group, free_port())), RigSink()
    async with receiving(camera, sink) as stream:
        assert memberships(group) == 2, "RTP and RTCP"
        for number in (0, 1, 3):
            camera.send(picture(number))
        await sink.until_video(3)
        assert stream.stats()["packets"] == 9
    assert memberships(group) == 0
    assert [unit.lost_packets for unit in sink.video] == [0, 0, 3]
    assert sink.video[0].data == join_units([SPS, PPS, IDR])
    assert [one.headers.get("Transport") for one in camera.requests if one.method == "SETUP"] == ["RTP/AVP;multicast"]


async def test_a_source_filter_keeps_others_out_in_the_kernel() -> None:
    """Two hosts send to the group; only the one the description names comes through."""
    group = (ANY_SOURCE, free_port())
    sdp = SDP + f"a=source-filter: incl IN IP4 {ANY_SOURCE} 127.0.0.9\r\n"
    camera, sink = UdpCamera(group=group, sdp=sdp), RigSink()
    named = udp_socket("127.0.0.9")
    named.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    async with receiving(camera, sink) as stream:
        camera.send(picture(7))
        camera.send([packet for number in (0, 1) for packet in picture(number)], through=named)
        await sink.until_video(2)
        assert stream.stats()["packets"] == 6
    named.close()


async def test_the_interface_is_the_users_choice() -> None:
    for name in ("lo", "127.0.0.1"):
        camera, sink = UdpCamera(group=(ANY_SOURCE, free_port())), RigSink()
        settings = RtspSettings(transport=Transport.MULTICAST, multicast_interface=name)
        async with receiving(camera, sink, settings):
            camera.send(picture(0))
            await sink.until_video(1)


WRONG_GROUPS: dict[str, tuple[tuple[str, int], RtspSettings, type[DriverError]]] = {
    "no group": (("192.0.2.1", 5000), MULTICAST, DeviceUnsupported),
    "no address": (("camera", 5000), MULTICAST, DeviceUnsupported),
    "no port": ((ANY_SOURCE, 0), MULTICAST, DeviceUnsupported),
    "no interface": (
        (ANY_SOURCE, 5000), RtspSettings(transport=Transport.MULTICAST, multicast_interface="nic9"), DeviceUnsupported
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_GROUPS)
async def test_a_group_that_cannot_be_joined_is_typed(name: str) -> None:
    group, settings, error = WRONG_GROUPS[name]
    camera = UdpCamera(group=group)
    with pytest.raises(error) as failed:
        async with receiving(camera, RigSink(), settings):
            pass
    assert failed.value.reason == "multicast"
    assert camera.methods()[-1] == "TEARDOWN"
    if name == "no interface":
        assert "lo (127.0.0.1)" in str(failed.value)


async def test_a_taken_port_is_typed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((ANY_SOURCE, 0))
        port = taken.getsockname()[1]
        camera = UdpCamera(group=(ANY_SOURCE, port))
        with pytest.raises(DeviceUnavailable) as failed:
            async with receiving(camera, RigSink()):
                pass
    assert failed.value.reason == "multicast"


BASE = "v=0\r\ns=x\r\nc=IN IP4 239.1.1.1/16\r\n{}m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{}"
GROUPS = {
    "only the description": ("", "", "", Group("239.1.1.1", (5004, 5005), "", 16)),
    "media wins": ("", "c=IN IP4 239.2.2.2/3\r\n", "", Group("239.2.2.2", (5004, 5005), "", 16)),
    "the answer wins": (
        "", "", "RTP/AVP;multicast;destination=239.3.3.3;port=6000-6001;ttl=4", Group("239.3.3.3", (6000, 6001), "", 4)
    ),
    "filter of the session": (
        "a=source-filter: incl IN IP4 * 192.0.2.8\r\n", "", "", Group("239.1.1.1", (5004, 5005), "192.0.2.8", 16)
    ),
    "filter of another group": (
        "", "a=source-filter: incl IN IP4 239.9.9.9 192.0.2.8\r\n", "", Group("239.1.1.1", (5004, 5005), "", 16)
    ),
    "source-specific range": (
        "", "c=IN IP4 232.2.2.2\r\n", "", Group("232.2.2.2", (5004, 5005), "192.0.2.7", 16)
    ),
    "source-specific range, source in the answer": (
        "", "", "RTP/AVP;multicast;destination=232.1.1.1;source=192.0.2.9",
        Group("232.1.1.1", (5004, 5005), "192.0.2.9", 16),
    ),
}  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize("name", GROUPS)
def test_which_group_it_is(name: str) -> None:
    session_line, media_line, transport, wanted = GROUPS[name]
    description = parse_sdp(BASE.format(session_line, media_line))
    reply = parse_transport(transport) if transport else SetupReply()
    assert find_group(reply, description.media[0], description, "192.0.2.7") == wanted


@pytest.mark.fast
def test_interfaces_by_name_and_address() -> None:
    assert interface_index("lo") == interface_index("127.0.0.1") == socket.if_nametoindex("lo")
