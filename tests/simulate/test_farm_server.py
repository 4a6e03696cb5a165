"""The farm over real sockets: what arrives is what the log says, and bad clients get a status."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import struct

import pytest
from rtp_reader import Packet, RawClient, parameter_sets_of_sdp, units_of
from small_farm import StartFarm

from recorderd.media.access_unit import Codec
from recorderd.media.marker import find_marker, vcl_crc


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("pacing", ["1", "4"])
async def test_what_arrives_is_what_the_log_says(start_farm: StartFarm, codec: Codec, pacing: str) -> None:
    running = await start_farm("--cameras", "3", "--codec", str(codec), "--pacing", pacing)
    client = await RawClient.connect(running.port, "/cam/2")
    described = await client.ask("DESCRIBE", Accept="application/sdp")
    assert described.status == 200
    await client.start()
    await client.read_units(45)
    reading = asyncio.gather(client.read_to_end())
    (record,) = await running.stop()
    await reading
    await client.close()

    units = units_of(client.video(), codec)
    markers = [find_marker(unit.data, codec) for unit in units]
    assert all(marker is not None for marker in markers)
    found = [marker for marker in markers if marker is not None]
    assert [marker.number for marker in found] == list(range(record["first"], record["last"] + 1))
    assert len(found) == record["sent"] >= 45
    assert record["dropped"] == 0
    assert record["end"] == "stopped"
    assert {marker.camera for marker in found} == {2} == {record["camera"]}
    assert all(marker.crc == vcl_crc(unit.data, codec) for marker, unit in zip(found, units, strict=True))
    assert found[0].key, "a connection starts at a keyframe"
    assert parameter_sets_of_sdp(described.body) <= set(units[0].nals)
    seqs = [packet.seq for packet in client.video()]
    assert all((after - before) % 65536 == 1 for before, after in itertools.pairwise(seqs))
    assert running.totals["dropped"] == 0


@pytest.mark.parametrize("audio", ["aac", "pcmu"])
async def test_audio_is_counted_by_sequence(start_farm: StartFarm, audio: str) -> None:
    running = await start_farm("--audio", audio)
    client = await RawClient.connect(running.port, "/cam/0")
    assert (await client.ask("DESCRIBE")).body.count(b"m=") == 2
    play = await client.start(tracks=2)
    await client.read_units(40)
    reading = asyncio.gather(client.read_to_end())
    (record,) = await running.stop()
    await reading
    await client.close()
    packets = client.audio()
    assert len(packets) == record["audio_sent"] > 20
    assert packets[0].seq == record["audio_first_seq"] & 0xFFFF
    assert packets[-1].seq == record["audio_last_seq"] & 0xFFFF
    step = 1024 if audio == "aac" else 160
    assert {b.timestamp - a.timestamp for a, b in itertools.pairwise(packets)} == {step}
    assert f"trackID=1;seq={packets[0].seq};rtptime={packets[0].timestamp}" in play.headers["rtp-info"]


async def test_play_tells_the_first_packet_and_a_report_comes_first(start_farm: StartFarm) -> None:
    running = await start_farm()
    client = await RawClient.connect(running.port, "/cam/0")
    play = await client.start()
    await client.read_units(3)
    first = client.video()[0]
    assert f"seq={first.seq};rtptime={first.timestamp}" in play.headers["rtp-info"]
    assert play.headers["range"].startswith("clock=2")
    channel, report = client.rtcp[0]
    assert channel == 1
    ssrc, _ntp, timestamp = struct.unpack_from(">IQI", report, 4)
    assert report[:2] == b"\x80\xc8"
    assert (ssrc, timestamp) == (first.ssrc, first.timestamp)
    await client.close()


async def test_the_sub_stream_is_smaller_and_counted_apart(start_farm: StartFarm) -> None:
    running = await start_farm()
    sizes = {}
    for path in ("/cam/0", "/cam/0?stream=sub"):
        client = await RawClient.connect(running.port, path)
        described = (await client.ask("DESCRIBE")).body.decode()
        control = next(line for line in described.splitlines() if line.endswith("trackID=0") or "trackID=0?" in line)
        setup = await client.ask("SETUP", control.removeprefix("a=control:"), Transport="RTP/AVP/TCP;unicast")
        assert setup.status == 200
        assert (await client.ask("PLAY")).status == 200
        await client.read_units(20)
        sizes[path] = sum(len(packet.payload) for packet in client.video()[:40])
        assert (await client.ask("TEARDOWN")).status == 200
        await client.close()
    records = await running.stop()
    assert [(record["stream"], record["end"]) for record in records] == [("main", "teardown"), ("sub", "teardown")]
    assert sizes["/cam/0?stream=sub"] < sizes["/cam/0"]


async def test_pause_and_play_are_two_entries_of_the_log(start_farm: StartFarm) -> None:
    running = await start_farm()
    client = await RawClient.connect(running.port, "/cam/0")
    await client.start()
    await client.read_units(5)
    assert (await client.ask("PAUSE")).status == 200
    before = len(units_of(client.video(), Codec.H264))
    assert (await client.ask("GET_PARAMETER")).status == 200
    assert len(units_of(client.video(), Codec.H264)) == before
    assert (await client.ask("PLAY")).status == 200
    await client.read_units(before + 5)
    assert (await client.ask("TEARDOWN")).status == 200
    await client.close()
    records = await running.stop()
    assert [(one["end"], one["sent"]) for one in records[:1]] == [("pause", before)]
    assert records[1]["end"] == "teardown"
    assert records[1]["first"] > records[0]["last"]


async def test_udp_carries_the_same_pictures(start_farm: StartFarm) -> None:
    running = await start_farm()
    client = await RawClient.connect(running.port, "/cam/0")
    rtp, rtcp = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for one in (rtp, rtcp):
        one.bind(("127.0.0.1", 0))
        one.settimeout(30)
    ports = f"{rtp.getsockname()[1]}-{rtcp.getsockname()[1]}"
    setup = await client.ask("SETUP", f"{client.url}/trackID=0", Transport=f"RTP/AVP;unicast;client_port={ports}")
    assert "server_port=" in setup.headers["transport"]
    assert (await client.ask("PLAY")).status == 200
    loop = asyncio.get_running_loop()
    packets: list[Packet] = []
    while sum(packet.marker for packet in packets) < 20:
        packets.append(Packet.read(0, await loop.run_in_executor(None, rtp.recv, 2000)))
    assert struct.unpack_from(">BB", await loop.run_in_executor(None, rtcp.recv, 2000)) == (0x80, 200)
    markers = [find_marker(unit.data, Codec.H264) for unit in units_of(packets, Codec.H264)]
    numbers = [marker.number for marker in markers if marker is not None]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    for one in (rtp, rtcp):
        one.close()
    await client.close()


async def test_login(start_farm: StartFarm) -> None:
    running = await start_farm("--user", "u", "--password", "geheim", "--fault", "cam/1=auth", "--cameras", "2")
    right = await RawClient.connect(running.port, "/cam/0")
    assert (await right.ask("OPTIONS")).status == 200
    assert (await right.ask("DESCRIBE")).status == 401
    assert (await right.ask("DESCRIBE", url=right.url.replace("cam/0", "none"))).status == 401
    right.login = ("u", "geheim")
    assert (await right.ask("DESCRIBE")).status == 401, "no credentials yet: the challenge"
    assert (await right.ask("DESCRIBE")).status == 200
    assert (await right.ask("DESCRIBE", url=right.url.replace("cam/0", "none"))).status == 404
    wrong = await RawClient.connect(running.port, "/cam/0")
    wrong.login = ("u", "falsch")
    locked = await RawClient.connect(running.port, "/cam/1")
    locked.login = ("u", "geheim")
    for client in (wrong, locked):
        for _ in range(3):
            assert (await client.ask("DESCRIBE")).status == 401
        await client.close()
    await right.close()
    failures = {(r["camera"], r["auth_failures"]) for r in await running.stop()}
    assert failures == {(0, 0), (0, 2), (1, 2)}
    assert "geheim" not in running.log.getvalue()


async def test_statuses(start_farm: StartFarm) -> None:
    running = await start_farm("--audio", "pcmu")
    client = await RawClient.connect(running.port, "/cam/0")
    track = f"{client.url}/trackID=0"
    tcp = "RTP/AVP/TCP;unicast;interleaved=0-1"
    assert (await client.ask("DESCRIBE", url=f"rtsp://127.0.0.1:{running.port}/cam/9")).status == 404
    assert (await client.ask("DESCRIBE", url=f"{client.url}?stream=third")).status == 404
    assert (await client.ask("DESCRIBE", url="http://x/")).status == 400
    assert (await client.ask("DESCRIBE", Accept="text/plain")).status == 406
    assert (await client.ask("DESCRIBE", Require="magic")).status == 551
    assert (await client.ask("PAUSE")).status == 454
    assert (await client.ask("RECORD")).status == 405
    assert (await client.ask("DANCE")).status == 501
    assert (await client.ask("PLAY")).status == 454
    assert (await client.ask("SETUP", track, Transport="RTP/AVP;multicast;port=5000-5001")).status == 461
    assert (await client.ask("SETUP", Transport=tcp)).status == 459
    assert (await client.ask("SETUP", f"{client.url}/trackID=7", Transport=tcp)).status == 404
    assert (await client.ask("SETUP", track, Transport=f"RTP/AVP;unicast, {tcp}")).status == 200
    assert (await client.ask("SETUP", f"{client.url}?stream=sub/trackID=0", Transport=tcp)).status == 459
    assert (await client.ask("PLAY", Session="nonsense")).status == 454
    assert (await client.ask("PLAY")).status == 200
    assert (await client.ask("PLAY")).status == 200, "PLAY again keeps alive"
    assert (await client.ask("SETUP", f"{client.url}/trackID=1", Transport=tcp)).status == 455
    assert (await client.ask("GET_PARAMETER")).headers["session"].endswith("timeout=60")
    assert (await client.ask("GET_PARAMETER", body=b"jitter")).status == 451
    assert (await client.ask("TEARDOWN")).status == 200
    await client.close()


async def test_silent_connections_end_and_reports_keep_alive(start_farm: StartFarm) -> None:
    running = await start_farm()
    idle = await RawClient.connect(running.port, "/cam/0")
    assert (await idle.ask("OPTIONS")).status == 200
    player = await RawClient.connect(running.port, "/cam/0")
    await player.start()
    server = running.farm._server
    assert server.connections == 2
    server.sweep(server.clock.monotonic_us())
    assert server.connections == 2
    heard_before = server.clock.monotonic_us()
    player.writer.write(b"$\x01\x00\x08\x80\xc9\x00\x01\x00\x00\x00\x00")  # an empty receiver report
    assert (await player.ask("GET_PARAMETER")).status == 200
    server.sweep(heard_before + 70_000_000)
    await idle.read_to_end()
    assert (await player.ask("GET_PARAMETER")).status == 200
    server.sweep(heard_before + 200_000_000)
    await player.read_to_end()
    for client in (idle, player):
        await client.close()
    records = {record["end"]: record for record in await running.stop()}
    assert records["timeout"]["receiver_reports"] == 1


async def test_garbage_is_answered_or_cut_and_hurts_nobody(start_farm: StartFarm) -> None:
    running = await start_farm()
    player = await RawClient.connect(running.port, "/cam/0")
    await player.start()
    dice = random.Random(11)
    junk = [
        b"\x00\xff" * 40,
        b"DESCRIBE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"A" * 70_000,
        b"$\x09\xff\xff",
    ]
    junk += [b"SETUP rtsp://h/cam/0 RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n"]
    junk += [dice.randbytes(200) for _ in range(10)]
    for data in junk:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(data)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        assert answer == b"" or answer.startswith((b"RTSP/1.0 400", b"RTSP/1.0 505")), answer
        writer.close()
    await player.read_units(30)
    await player.close()
    records = await running.stop()
    assert [record["dropped"] for record in records if record["sent"]] == [0]


async def test_a_reboot_closes_refuses_and_comes_back(start_farm: StartFarm) -> None:
    running = await start_farm("--fault", "cam/0=reboot:300ms+200ms")
    client = await RawClient.connect(running.port, "/cam/0")
    await client.start()
    await client.read_to_end()
    await client.close()
    before = len(units_of(client.video(), Codec.H264))
    refused = await RawClient.connect(running.port, "/cam/0")
    with pytest.raises(EOFError):
        await refused.ask("DESCRIBE")
    await refused.close()
    while True:
        again = await RawClient.connect(running.port, "/cam/0")
        try:
            await again.ask("DESCRIBE")
            break
        except EOFError:
            await again.close()
    await again.start()
    await again.read_units(3)
    await again.close()
    records = await running.stop()
    assert records[0]["end"] == "reboot"
    assert records[0]["sent"] == before
    assert records[1]["first"] > records[0]["last"] + 10, "numbers go on with the clock"
