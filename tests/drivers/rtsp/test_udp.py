"""Cameras that send datagrams: order, loss, strangers, silence, and what is said when the way is wrong."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from rtsp_rig import RigHost, RigSink, address, playing
from scripted_camera import IDR, PPS, SPS, Camera, picture, running
from udp_camera import LOOPBACK, UdpCamera, udp_socket

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.driverapi import udp
from recorderd.driverapi.errors import DeviceUnsupported, StreamLost
from recorderd.driverkit import rtsp_stream
from recorderd.media.access_unit import AccessUnit
from recorderd.media.nal import join_units
from recorderd.wire.rtp_send import h264_payloads

UDP = RtspSettings(transport=Transport.UDP)
AUTO = RtspSettings(transport=Transport.AUTO)
WHOLE = join_units([SPS, PPS, IDR])


@asynccontextmanager
async def watching(
    camera: UdpCamera, sink: RigSink, settings: RtspSettings = UDP, host: RigHost | None = None
) -> AsyncIterator[object]:
    """A running stream of the camera, which plays."""
    try:
        async with (
            asyncio.timeout(30),
            running(camera),
            playing(address(camera.port), sink, host, settings=settings) as (_, stream),
        ):
            yield stream
    finally:
        camera.close()


def pictures(count: int, first: int = 0) -> list[bytes]:
    return [packet for number in range(first, first + count) for packet in picture(number)]


async def eventually(ready: Callable[[], bool]) -> None:
    """Let the loop run until something is so; the test's own time limit ends it."""
    while not ready():  # noqa: ASYNC110 - counters tell nobody
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("gather_us", [0, 5_000])
async def test_pictures_arrive_and_the_way_back_is_opened(gather_us: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "REPORT_US", 20_000)
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    camera, sink = UdpCamera(), RigSink()
    async with watching(camera, sink, host=RigHost(gather_us)) as stream:
        assert camera.client[0] % 2 == 0
        assert len(await camera.hears(camera.media)) == 12, "an empty RTP packet opens firewalls"
        assert (await camera.hears(camera.control))[1] == 201
        camera.send(pictures(3))
        await sink.until_video(3)
        while (await camera.hears(camera.control))[0] & 0x1F != 1:
            pass  # empty reports from before the first packet
        stats = stream.stats()
    assert [unit.data for unit in sink.video] == [WHOLE] * 3
    assert stats["packets"] == 9
    assert stats["receive_buffer_bytes"] > 0
    assert camera.methods()[-1] == "TEARDOWN"
    assert [one.headers.get("Transport")[:18] for one in camera.requests if one.method == "SETUP"] == [
        "RTP/AVP;unicast;cl"
    ]


async def test_session_is_kept_alive_on_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    camera, sink = UdpCamera(session="1;timeout=1"), RigSink()
    async with watching(camera, sink):
        await eventually(lambda: camera.methods()[-1] == "OPTIONS" and camera.methods().count("OPTIONS") >= 3)


def long_pictures(count: int, rng: random.Random) -> list[list[bytes]]:
    """RTP packets per picture, about 1 to 30 each; every picture is a key."""
    sequence, out = 65_400, []
    for number in range(count):
        slice_nal = b"\x65\x88" + rng.randbytes(rng.randrange(200, 30_000))
        payloads = [SPS, PPS, *h264_payloads(slice_nal)]
        packets = []
        for at, payload in enumerate(payloads):
            marker = (at == len(payloads) - 1) << 7
            head = struct.pack(">BBHII", 0x80, 96 | marker, sequence & 0xFFFF, number * 3600, 7)
            packets.append(head + payload)
            sequence += 1
        out.append(packets)
    return out


@pytest.mark.parametrize("seed", range(3))
async def test_a_bad_network_is_put_right_or_counted_exactly_once(seed: int) -> None:
    """Loss, repetitions and swaps of packets, by a seeded network; the last picture comes through whole."""
    rng = random.Random(seed)
    sent = long_pictures(120, rng)
    line: list[tuple[float, bytes]] = []
    lost: set[tuple[int, int]] = set()
    at = repeated = 0
    for number, packets in enumerate(sent):
        for index, packet in enumerate(packets):
            at += 1
            inside = 0 < number < len(sent) - 1
            if inside and rng.random() < 0.01:
                lost.add((number, index))
                continue
            line.append((at + (inside and rng.random() < 0.05) * rng.uniform(1, 20), packet))
            if inside and rng.random() < 0.02:
                line.append((at + rng.uniform(0, 30), packet))
                repeated += 1
    line.sort(key=lambda entry: entry[0])
    camera, sink = UdpCamera(), RigSink()
    async with watching(camera, sink) as stream:
        for start in range(0, len(line), 50):
            camera.send([packet for _, packet in line[start : start + 50]])
            await asyncio.sleep(0)
        await eventually(lambda: bool(sink.video) and sink.video[-1].pts - sink.video[0].pts == 3600 * (len(sent) - 1))
        await eventually(lambda: stream.stats()["duplicate_packets"] == repeated)
        stats = stream.stats()
    assert lost, "the network did lose something"
    assert sum(unit.lost_packets for unit in sink.video) + sum(n for _, n in sink.losses) == len(lost)
    assert stats["lost_packets"] == len(lost)
    assert stats["reordered_packets"] > 0
    assert stats["late_packets"] == 0
    hurt = {number for number, _ in lost}
    check_whole(sink.video, [number for number in range(len(sent)) if number not in hurt], sent)


def check_whole(units: list[AccessUnit], whole: list[int], sent: list[list[bytes]]) -> None:
    """Every picture that lost nothing is there, unhurt and equal."""
    by_number = {(unit.pts - units[0].pts) // 3600: unit for unit in units}
    for number in whole:
        unit = by_number[number]
        assert len(unit.data) == picture_bytes(sent[number]), f"picture {number}"
    assert [unit.pts for unit in units] == sorted(unit.pts for unit in units)


def picture_bytes(packets: list[bytes]) -> int:
    """Bytes of the picture in 4-byte-length form: SPS, PPS and the slice, one packet or FU-A fragments."""
    slices = packets[2:]
    whole = len(slices[0]) - 12 if len(slices) == 1 else 1 + sum(len(one) - 14 for one in slices)
    return 4 + len(SPS) + 4 + len(PPS) + 4 + whole


async def test_only_the_camera_is_listened_to() -> None:
    camera, sink, stranger = UdpCamera(), RigSink(), udp_socket("127.0.0.2")
    async with watching(camera, sink) as stream:
        camera.send(pictures(2, first=500), through=stranger)
        stranger.sendto(b"\x80\xc9\0\1\0\0\0\0", (LOOPBACK, camera.client[1]))
        camera.send(pictures(2))
        await sink.until_video(2)
        await eventually(lambda: stream.stats()["foreign_packets"] == 7)
        assert len(sink.video) == 2
        assert stream.stats()["packets"] == 6
    stranger.close()


async def test_quirk_20_the_camera_may_change_its_port() -> None:
    """Address translation forgets: the same camera, another port."""
    camera, sink, other = UdpCamera(names_ports=False), RigSink(), udp_socket()
    async with watching(camera, sink):
        camera.send(pictures(2))
        camera.send(pictures(2, first=2), through=other)
        await sink.until_video(4)
    other.close()
    assert not any(unit.lost_packets or unit.discontinuity for unit in sink.video)


async def test_quirk_20_datagrams_above_any_mtu() -> None:
    nal = b"\x65\x88" + b"\x33" * 60_000
    head = struct.pack(">BBHII", 0x80, 0x80 | 96, 3, 3600, 7)
    camera, sink = UdpCamera(), RigSink()
    async with watching(camera, sink):
        camera.send([*pictures(1), head + nal])
        await sink.until_video(2)
    assert sink.video[1].data[4:] == nal


async def test_quirk_20_media_after_goodbye_go_on_and_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    camera, sink = UdpCamera(), RigSink()
    async with watching(camera, sink) as stream:
        camera.send(pictures(1))
        camera.send_control(struct.pack(">BBHI", 0x81, 203, 1, 7))
        camera.send(pictures(1, first=1))
        await sink.until_video(2)
        monkeypatch.setattr(rtsp_stream, "BYE_PATIENCE_US", 50_000)
        with pytest.raises(StreamLost, match="goodbye"):
            await stream.wait()
    assert [unit.lost_packets for unit in sink.video] == [0, 0]


async def test_auto_takes_udp_where_tcp_is_refused() -> None:
    for refusal in ("461", "400", ""):
        camera, sink, host = UdpCamera(refuses_tcp=refusal), RigSink(), RigHost()
        async with watching(camera, sink, AUTO, host):
            camera.send(pictures(2))
            await sink.until_video(2)
        assert camera.methods().count("SETUP") == 2
        assert camera.methods().count("TEARDOWN") == (1 if refusal else 2), "a session half set up is ended"
        assert ("info", "transport-refused") in [entry[:2] for entry in host.log.entries]


REFUSALS = {
    "tcp refused": (UdpCamera, RtspSettings(), "461", 'set transport to "udp" or "multicast"'),
    "quirk 7 udp answered to tcp": (UdpCamera, RtspSettings(), "", 'set transport = "udp"'),
    "tcp answered to udp": (Camera, UDP, "", 'set transport = "tcp"'),
    "unicast answered to multicast": (UdpCamera, RtspSettings(transport=Transport.MULTICAST), "", '= "udp"'),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refused_transport_names_what_to_set(name: str) -> None:
    make, settings, refusal, advice = REFUSALS[name]
    camera = make(refuses_tcp=refusal) if make is UdpCamera else Camera(transport="RTP/AVP/TCP;interleaved=0-1")
    async with running(camera):
        with pytest.raises(DeviceUnsupported) as refused:
            async with playing(address(camera.port), RigSink(), settings=settings):
                pass
    assert refused.value.reason == "transport"
    assert advice in str(refused.value)
    if isinstance(camera, UdpCamera):
        camera.close()


@pytest.mark.parametrize("strangers", [0, 3])
async def test_silence_names_the_firewall_or_the_stranger(strangers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    camera, sink, other = UdpCamera(), RigSink(), udp_socket("127.0.0.3")
    async with watching(camera, sink) as stream:
        camera.send(pictures(1)[:strangers], through=other)
        await eventually(lambda: stream.stats()["foreign_packets"] == strangers)
        monkeypatch.setattr(rtsp_stream, "FIRST_UNIT_US", 20_000)
        with pytest.raises(StreamLost, match='set transport = "tcp"') as lost:
            await stream.wait()
    other.close()
    assert lost.value.reason == "no-packets"
    assert ("127.0.0.3" in str(lost.value)) == bool(strangers)


async def test_what_the_kernel_dropped_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads while a hundred packets come into a tiny buffer: lost, but not by the network."""
    monkeypatch.setattr(udp, "RECEIVE_BYTES", 8192)
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    camera, sink = UdpCamera(), RigSink()
    async with watching(camera, sink) as stream:
        camera.send(pictures(100))
        await eventually(lambda: len(sink.video) >= 2)
        camera.send(pictures(1, first=100))
        await eventually(lambda: stream.stats()["lost_packets"] > 0)
        stats = stream.stats()
    assert stats["kernel_drops"] == stats["lost_packets"] > 100
    told = [params for code, params in sink.events if code == "receive-overflow"]
    assert sum(int(str(one["packets"])) for one in told) == stats["kernel_drops"]
    assert {one["kind"] for one in told} == {"video"}
    assert sum(unit.lost_packets for unit in sink.video) == stats["lost_packets"]
    assert sink.losses == []


async def test_sockets_are_closed_with_the_session() -> None:
    camera, host = UdpCamera(), RigHost()
    async with running(camera), playing(address(camera.port), RigSink(), host, settings=UDP):
        assert [pair.closed for pair in host.pairs] == [False]
    assert all(pair.closed for pair in host.pairs)
    camera.close()


@pytest.mark.parametrize("host", [LOOPBACK, "::1", "::ffff:127.0.0.1"])
def test_a_pair_of_either_address_family(host: str) -> None:
    pair = udp.open_pair(udp.UdpRequest(host))
    with socket.socket(pair.media.family, socket.SOCK_DGRAM) as camera:
        target = host.removeprefix("::ffff:")
        camera.bind((target, 0))
        camera.sendto(b"x", (target, pair.ports[0]))
        assert pair.media.recvfrom(10)[1][0] in pair.senders
    assert pair.ports == (pair.ports[0] & ~1, pair.ports[0] | 1)
    pair.close()
    assert pair.closed
