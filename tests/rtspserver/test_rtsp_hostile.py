"""Clients that lie, dawdle and flood: they are cut off and counted, and everybody else goes on."""

from __future__ import annotations

import asyncio
import random

import pytest
from rtsp_stage import TCP, Stage, stage, until

from recorderd.daemon.compose import SERVE_STOP_S
from recorderd.rtspserver.server import ServerLimits


@pytest.mark.parametrize(
    "junk",
    [
        b"DESCRIBE rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n",
        b"DESCRIBE rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -5\r\n\r\n",
        b"DESCRIBE rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n123456789",
        b"DESCRIBE rtsp://h/it RTSP/1.0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"A" * 200_000,
        b"\x00\x01\x02",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n\xff\xff",
        b"OPTIONS * RTSP/1.0\r\nCSeq: " + b"9" * 400 + b"\r\n\r\n\x00",
    ],
)
async def test_what_can_never_become_a_request_is_cut(served: Stage, junk: bytes) -> None:
    well = await served.connect()
    await well.set_up()
    bad = await served.connect()
    bad.writer.write(junk)
    rest = await bad.rest()
    assert rest == b"" or all(one[:3] in (b"400", b"404", b"505", b"200") for one in rest.split(b"RTSP/1.0 ")[1:]), rest
    await until(lambda: served.server.tally.ended["protocol-error"] == 1)
    assert await well.status("PLAY") == 200
    for line in (well, bad):
        await line.close()


async def test_thousands_of_requests_at_once_do_not_hold_up_the_others(served: Stage) -> None:
    """They would be worked off in one turn of the loop."""
    bad = await served.connect()
    bad.writer.write(b"OPTIONS rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\n\r\n" * 20_000)
    rest = await bad.rest()
    assert rest.count(b"RTSP/1.0 200") < 2_000
    await until(lambda: served.server.tally.ended["protocol-error"] == 1)
    line = await served.connect()
    line.writer.write(b"OPTIONS rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\n\r\n" * 20)
    line.writer.write_eof()
    assert (await line.rest()).count(b"RTSP/1.0 200") == 20
    for one in (bad, line):
        await one.close()


async def test_interleaved_garbage_is_stepped_over(served: Stage) -> None:
    line = await served.connect()
    await line.set_up()
    await line.ask("PLAY")
    dice = random.Random(5)
    for _ in range(300):
        data = dice.randbytes(dice.randrange(200))
        line.writer.write(bytes([0x24, dice.randrange(256)]) + len(data).to_bytes(2, "big") + data)
    line.writer.write(b"$\x01\x00\x08\x80\xc9\x00\x01\x00\x00\x00\x00")
    assert await line.status("GET_PARAMETER") == 200
    assert (0, b"\x80\xc9\x00\x01\x00\x00\x00\x00") in served.mount.visits[0].reports
    await line.close()


async def test_random_requests_always_get_a_status(served: Stage) -> None:
    dice = random.Random(17)
    line = await served.connect()
    words = [
        "",
        "0",
        "-1",
        "npt=-",
        "clock=-",
        "\u00e4",
        "a" * 3000,
        "RTP/AVP",
        ";;;",
        ",,,",
        "unicast;=",
        "yes",
        "1e9",
    ]
    names = ["Range", "Scale", "Frames", "Rate_Control", "Transport", "Session", "Require", "Accept", "Speed"]
    methods = ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "GET_PARAMETER", "SET_PARAMETER", "RECORD", "X"]
    for _ in range(400):
        headers = {dice.choice(names): dice.choice(words) for _ in range(dice.randrange(4))}
        url = dice.choice([line.url, f"{line.url}/trackID=0", f"{line.url}/trackID=999", "rtsp://[", "*", "rtsp:///"])
        status = await line.status(dice.choice(methods), url, **headers)
        assert status in (200, 400, 403, 404, 405, 406, 451, 454, 455, 457, 459, 461, 501, 551)
    await line.close()


async def test_half_open_and_dawdling_connections_end() -> None:
    async with stage(ServerLimits(connections=50, setup_s=30)) as served:
        well = await served.connect()
        await well.set_up()
        await well.ask("PLAY")
        lines = [await served.connect() for _ in range(49)]
        for line in lines:
            assert await line.status("OPTIONS") == 200
        refused = await served.connect()
        assert await refused.rest() == b""
        await until(lambda: served.server.tally.ended["too-many-connections"] == 1)
        for line in lines:
            line.writer.write(b"DESCRIBE rtsp://h/it RTSP/1.0\r\nCSeq")
        served.clock.advance(31_000_000)
        lines[0].writer.write(b": ")
        assert await well.status("GET_PARAMETER") == 200
        served.server.sweep(served.clock.monotonic_us())
        await until(lambda: served.server.connections == 1)
        assert served.server.tally.ended["timeout"] == 49
        served.clock.advance(69_000_000)
        well.writer.write(b"GET_PARAMETER rtsp")  # a request that never ends keeps nothing alive
        served.server.sweep(served.clock.monotonic_us())
        assert served.server.connections == 1
        served.clock.advance(2_000_000)
        served.server.sweep(served.clock.monotonic_us())
        await until(lambda: served.server.connections == 0)
        assert served.mount.visits[0].calls == ["timeout"]
        for line in [well, refused, *lines]:
            await line.close()


@pytest.mark.parametrize("limits", [ServerLimits(per_address=5), ServerLimits(connections=5)], ids=["address", "all"])
async def test_who_asked_nothing_makes_room(limits: ServerLimits) -> None:
    """The oldest first; who has asked stays, and so does who came last."""
    async with stage(limits) as served:
        well = await served.connect()
        assert await well.status("OPTIONS") == 200
        crowd = [await served.connect() for _ in range(30)]
        for line in crowd:
            line.writer.write(b"$\x00\x00\x01x" + b"OPTIONS rtsp://h/it RTSP/1.0\r\nCSeq")
        fresh = await served.connect()
        assert await fresh.status("OPTIONS") == 200
        for line in crowd[:27]:
            assert await line.rest() == b""
        await until(lambda: served.server.connections == 5)
        assert served.server.tally.ended == {"made-room": 27}
        for line in (well, fresh):
            assert await line.status("OPTIONS") == 200
        for line in crowd[27:]:
            line.writer.write(b": 7\r\n\r\n")
            assert (await line.answer())[0] == 200
        for line in (well, fresh, *crowd):
            await line.close()


async def test_a_crowd_that_is_refused_or_told_off_takes_no_place() -> None:
    async with stage(ServerLimits(per_address=3)) as served:
        lines = [await served.connect() for _ in range(3)]
        for line in lines:
            assert await line.status("OPTIONS") == 200
        refused = [await served.connect() for _ in range(20)]
        for line in refused:
            assert await line.rest() == b""
        await until(lambda: served.server.tally.ended["too-many-of-address"] == 20)
        lines[0].writer.write(b"\x00")  # told off, and it stays without reading: it would linger for a second
        assert (await lines[0].answer())[0] == 400
        fresh = await served.connect()
        assert await fresh.status("OPTIONS") == 200
        assert await lines[1].status("OPTIONS") == 200
        for line in (fresh, *lines, *refused):
            await line.close()


async def test_a_viewer_that_reads_nothing_does_not_hold_up_the_stop(served: Stage) -> None:
    line = await served.connect()
    await line.set_up()
    assert await line.status("PLAY") == 200
    line.reader._transport.pause_reading()  # type: ignore[attr-defined]
    served.mount.visits[0].outlet.send([b"$\x00\xff\xff" + bytes(65_535)] * 256)
    assert served.mount.visits[0].outlet.backlog_bytes
    async with asyncio.timeout(SERVE_STOP_S):  # what the daemon gives them all together
        await served.server.stop()
    assert served.mount.visits[0].calls == ["stopped"]
    await line.close()


async def test_two_lengths_of_one_body_are_refused(served: Stage) -> None:
    line = await served.connect()
    line.writer.write(b"OPTIONS rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n12345")
    assert (await line.rest()).startswith(b"RTSP/1.0 400")
    same = await served.connect()
    same.writer.write(b"OPTIONS rtsp://h/it RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n12345")
    assert (await same.answer())[0] == 200
    for one in (line, same):
        await one.close()


async def test_one_address_and_all_sessions_are_bounded() -> None:
    async with stage(ServerLimits(connections=50, per_address=3), sessions=1) as served:
        lines = [await served.connect() for _ in range(3)]
        for line in lines:
            assert await line.status("OPTIONS") == 200
        lines.append(await served.connect())
        assert await lines[3].rest() == b""
        await until(lambda: served.server.tally.ended["too-many-of-address"] == 1)
        assert await lines[0].status("SETUP", f"{lines[0].url}/trackID=0", Transport=TCP) == 200
        assert await lines[1].status("SETUP", f"{lines[1].url}/trackID=0", Transport=TCP) == 453
        assert await lines[0].status("TEARDOWN") == 200
        assert await lines[1].status("SETUP", f"{lines[1].url}/trackID=0", Transport=TCP) == 200
        await lines[1].close()
        await until(lambda: served.server.tally.sessions == 0)
        for line in lines:
            await line.close()


async def test_who_never_reads_the_answers_is_cut(served: Stage) -> None:
    line = await served.connect()
    line.reader._limit = 1  # type: ignore[attr-defined]  # stops reading at once
    flood = f"OPTIONS {line.url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode() * 2000
    for _ in range(100):
        if served.server.tally.ended["protocol-error"]:
            break
        line.writer.write(flood)
        await asyncio.sleep(0.01)
    await until(lambda: served.server.tally.ended["protocol-error"] == 1)
    await line.close()
