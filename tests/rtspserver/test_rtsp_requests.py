"""What the server answers: states, features, transports, ranges, logins; and that every refusal is counted."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket

import pytest
from rtsp_stage import TCP, Line, Stage, stage, until

from recorderd.core.secret import Secret
from recorderd.rtspserver.gate import MD5, SHA_256, DigestGate
from recorderd.rtspserver.later import Later
from recorderd.rtspserver.mount import PlayStart
from recorderd.rtspserver.statuses import Refused
from recorderd.rtspserver.udp import UdpPorts
from recorderd.rtspserver.wishes import PlayRange, clock_text, read_range


async def test_states(served: Stage) -> None:
    line = await served.connect()
    assert await line.status("PLAY") == 454
    assert await line.status("PAUSE") == 454
    assert await line.status("TEARDOWN") == 454
    assert await line.status("SETUP", Transport=TCP) == 459
    await line.set_up()
    assert await line.status("SETUP", f"{line.url}/trackID=0", Transport=TCP) == 455
    assert await line.status("PAUSE") == 200
    assert await line.status("PLAY", Session="0000") == 454
    assert await line.status("PLAY") == 200
    assert await line.status("SETUP", f"{line.url}/trackID=1", Transport=TCP) == 455
    assert (await line.ask("PAUSE"))[1]["range"] == "clock=20260921T141320.000000Z-"
    assert await line.status("PLAY") == 200
    assert await line.status("SET_PARAMETER") == 200
    assert await line.status("SET_PARAMETER", body=b"volume: 3") == 451
    assert await line.status("TEARDOWN") == 200
    assert served.mount.visits[0].calls == ["pause", "stop"]
    line.session = ""
    await line.set_up()
    await line.close()
    counted = served.server.tally.answers
    assert (counted[454], counted[455], counted[459], counted[451]) == (4, 2, 1, 1)


async def test_a_session_is_of_its_own_connection_only(served: Stage) -> None:
    line, other = await served.connect(), await served.connect()
    await line.set_up()
    assert await other.status("PLAY", Session=line.session) == 454
    assert await other.status("TEARDOWN", Session=line.session) == 454
    assert await line.status("PLAY") == 200
    await line.close()
    await other.close()


async def test_features(served: Stage) -> None:
    line = await served.connect()
    status, headers = await line.ask("DESCRIBE", Require="onvif-replay, magic", Proxy_Require="more")
    assert (status, headers["unsupported"]) == (551, "magic, more")
    assert await line.status("DESCRIBE", Require="onvif-replay") == 200
    assert await line.status("DESCRIBE", Accept="text/html") == 406
    await line.set_up()
    await line.ask("PLAY", Rate_Control="no", Frames="intra/500", Immediate="yes", Scale="-40", Range="npt=now-")
    (wish,) = served.mount.visits[-1].wishes
    assert wish.replay
    assert not wish.rate_control
    assert wish.immediate
    assert (wish.frames, wish.frames_every_us, wish.scale) == ("intra", 500_000, -16.0)
    assert wish.range == PlayRange("npt", None)
    assert (wish.tracks, wish.cseq) == (frozenset({0, 1}), line.cseq)
    for header, value in (("Scale", "0"), ("Scale", "fast"), ("Frames", "some"), ("Rate_Control", "maybe"),
                          ("Immediate", "now"), ("Frames", "all/500"), ("Scale", "nan")):  # fmt: skip
        assert await line.status("PLAY", **{header: value}) == 400, (header, value)
    await line.close()


async def test_requests_behind_a_slow_answer_wait_their_turn(served: Stage) -> None:
    served.mount.answer = Later()
    line = await served.connect()
    await line.set_up()
    line.send("PLAY", Range="npt=0-")
    line.send("GET_PARAMETER")
    line.send("PAUSE")
    await until(lambda: served.mount.visits[0].wishes)
    assert served.mount.visits[0].calls == []
    served.mount.answer.resolve(PlayStart(1_790_000_000_500_000, (), end_us=1_790_000_001_000_000, scale=2.0))
    status, headers = await line.answer()
    assert (status, headers["range"]) == (200, "clock=20260921T141320.500000Z-20260921T141321.000000Z")
    assert headers["scale"] == "2"
    assert [(await line.answer())[0] for _ in range(2)] == [200, 200]
    assert served.mount.visits[0].calls == ["pause"]
    served.mount.answer = Later()
    line.send("PLAY", Range="npt=0-")
    await until(lambda: len(served.mount.visits[0].wishes) == 2)
    served.mount.answer.refuse(Refused(457))
    assert (await line.answer())[0] == 457
    await line.close()


@pytest.mark.parametrize(
    ("transport", "status"),
    [
        ("RTP/AVP;unicast;client_port=5000-5001;destination=192.0.2.1", 403),
        ("RTP/AVP;unicast;client_port=53-54", 403),
        ("RTP/AVP;unicast;client_port=6000-80", 403),
        ("RTP/AVP;unicast;client_port=6000-6000", 403),
        ("RTP/AVP;unicast;client_port=70000-70001", 403),
        ("RTP/AVP;unicast;client_port=6000-x", 461),
        ("RTP/AVP;unicast;client_port=", 461),
        ("RTP/AVP;unicast", 461),
        ("RTP/AVP;multicast;client_port=6000-6001", 461),
        ("RTP/SAVP;unicast;client_port=6000-6001", 461),
        ('RTP/AVP/TCP;unicast;interleaved=0-1;mode="RECORD"', 461),
        ("", 461),
        (",".join(["RTP/AVP;multicast"] * 500), 461),
    ],
)
async def test_transports_that_are_refused(served: Stage, transport: str, status: int) -> None:
    line = await served.connect()
    assert await line.status("SETUP", f"{line.url}/trackID=0", Transport=transport) == status
    assert served.server.tally.sessions == 0
    assert served.server.tally.answers[status] == 1
    await line.close()


async def test_udp_goes_to_the_peer_only_and_reports_keep_it_alive() -> None:
    async with stage(udp=UdpPorts(20_001, 40_000, pairs=2)) as served:
        rtp, rtcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
        for one in (rtp, rtcp):
            one.bind(("127.0.0.1", 0))
            one.settimeout(30)
        line = await served.connect()
        ports = f"{rtp.getsockname()[1]}-{rtcp.getsockname()[1]}"
        offer = f"RTP/AVP;unicast;destination=127.0.0.1;client_port={ports}"
        status, headers = await line.ask("SETUP", f"{line.url}/trackID=0", Transport=offer)
        assert status == 200
        server = re.search(r"server_port=(\d+)-(\d+)", headers["transport"])
        assert int(server[1]) % 2 == 0
        assert int(server[2]) == int(server[1]) + 1
        assert await line.status("SETUP", f"{line.url}/trackID=1", Transport=TCP) == 461, "one transport a session"
        assert await line.status("PLAY") == 200
        visit = served.mount.visits[0]
        packets = [b"$\x00\x00\x05" + b"%05d" % number for number in range(100)]
        visit.outlet.send([b"".join(packets[:50]), *packets[50:], b"$\x01\x00\x04RTCP", b"$\x02\x00\x04nope"])
        loop = asyncio.get_running_loop()
        got = [await loop.run_in_executor(None, rtp.recv, 100) for _ in range(100)]
        assert got == [packet[4:] for packet in packets]
        assert await loop.run_in_executor(None, rtcp.recv, 100) == b"RTCP"
        served.clock.advance(60_000_000)
        report = b"\x80\xc9\x00\x01\x00\x00\x00\x00"
        foreign = socket.socket(type=socket.SOCK_DGRAM)
        foreign.sendto(report, ("127.0.0.1", int(server[2])))
        rtcp.sendto(b"no report", ("127.0.0.1", int(server[2])))
        rtcp.sendto(report, ("127.0.0.1", int(server[2])))
        await until(lambda: visit.reports)
        assert visit.reports == [(0, report)]
        served.clock.advance(60_000_000)
        served.server.sweep(served.clock.monotonic_us())
        assert await line.status("GET_PARAMETER") == 200
        assert await line.status("TEARDOWN") == 200
        line.session = ""
        assert await line.status("SETUP", f"{line.url}/trackID=0", Transport=offer) == 200
        assert await line.status("SETUP", f"{line.url}/trackID=1", Transport=offer) == 200
        more = await served.connect()
        assert await more.status("SETUP", f"{line.url}/trackID=0", Transport=offer) == 503, "no pair is left"
        for one in (rtp, rtcp, foreign):
            one.close()
        await line.close()
        await more.close()


async def answer_challenge(line: Line, algorithm: str, user: str, password: str) -> int:
    status, headers = await line.ask("DESCRIBE")
    assert status == 401
    hashed = {MD5: hashlib.md5, SHA_256: hashlib.sha256}[algorithm]

    def digest(text: str) -> str:
        return hashed(text.encode()).hexdigest()

    nonce = re.search(r'nonce="([^"]+)"', headers["www-authenticate"])[1]
    middle = f"{nonce}:00000001:abc:auth"
    response = digest(f"{digest(f'{user}:it:{password}')}:{middle}:{digest(f'DESCRIBE:{line.url}')}")
    return await line.status("DESCRIBE", Authorization=(
        f'Digest username="{user}", realm="it", nonce="{nonce}", uri="{line.url}", response="{response}", '
        f'algorithm={algorithm}, qop=auth, nc=00000001, cnonce="abc"'
    ))  # fmt: skip


async def test_both_digests_are_offered_and_understood() -> None:
    gate = DigestGate("it", {"u": Secret("p")}, b"key", (SHA_256, MD5))
    assert [re.search("algorithm=(.*)", one)[1] for one in gate.challenges(0, False)] == [SHA_256, MD5]
    async with stage(gate=gate) as served:
        for algorithm in (MD5, SHA_256):
            for password, status in (("p", 200), ("q", 401)):
                line = await served.connect()
                assert await answer_challenge(line, algorithm, "u", password) == status
                await line.close()
    only = DigestGate("it", {"u": Secret("p")}, b"key")
    async with stage(gate=only) as served:
        line = await served.connect()
        assert await answer_challenge(line, SHA_256, "u", "p") == 401, "it was not offered"
        await line.close()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clock=19961108T143720.25Z-", PlayRange("clock", 847_463_840_250_000)),
        ("clock=20260921T141320Z-20260921T141321.5Z", PlayRange("clock", 1_790_000_000_000_000, 1_790_000_001_500_000)),
        ("clock = 20260921T141320Z - ;time=19970123T143720Z", PlayRange("clock", 1_790_000_000_000_000)),
        ("npt=0.000-", PlayRange("npt", 0)),
        ("npt=1:00:01.5-", PlayRange("npt", 3_601_500_000)),
        ("npt=now-", PlayRange("npt", None)),
        ("npt=-30", PlayRange("npt", 0, 30_000_000)),
    ],
)
def test_ranges(text: str, expected: PlayRange) -> None:
    assert read_range(text) == expected


@pytest.mark.fast
def test_clock_text() -> None:
    assert clock_text(847_463_840_250_000) == "19961108T143720.250000Z"
