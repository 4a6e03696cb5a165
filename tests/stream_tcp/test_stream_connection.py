"""Connections of the stream API: hello, limits, bad bytes, ends. The peer is written by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import msgpack
import pytest
from structlog.testing import capture_logs

from recorderd.core.rights import Principal, Right
from recorderd.daemon.compose import SERVE_STOP_S
from recorderd.server.stream_tcp.limits import StreamLimits
from recorderd.server.stream_tcp.listener import ListenFailed, StreamServer
from recorderd.server.stream_tcp.requests import MESSAGES, MessageSpec, MessageTableError, check_messages
from recorderd.wire.stream.messages import CLIENT_TYPES, Type
from tests.server.server_scene import T0, S, units, video_clip
from tests.stream_tcp.raw_peer import (
    ANSWER,
    AUTH,
    BYE,
    CAMERAS,
    COVERAGE,
    CREDIT,
    ENDED,
    EVENT,
    EVENTS,
    HELLO,
    LIVE,
    OK,
    PING,
    PLAY,
    PONG,
    S_BYE,
    S_HELLO,
    SEEK,
    STOP,
    TIMELINE,
    UNIT,
    Peer,
    becomes,
    message,
)
from tests.stream_tcp.stream_scene import StreamScene, stream_scene


async def test_hello_tells_who_and_what_is_allowed(scene: StreamScene) -> None:
    peer = await Peer.connect(scene.server.addresses[0], hello=False)
    peer.send(HELLO, version=1, client="x", limits={"message": 1 << 20})
    hello = await peer.next()
    assert hello.type == S_HELLO
    assert hello.head["version"] == 1
    assert hello.head["server"] == {"id": str(scene.deps.info.id), "name": "hq", "version": "0.1.0"}
    assert hello.head["time_us"] == scene.clock.utc_us()
    assert hello.head["limits"] == {"message": 1 << 20, "client_message": 65536, "subscriptions": 64, "idle_s": 30}
    peer.send(HELLO, version=1, client="again", id=3)
    assert (await peer.refused("bad-request")).head["id"] == 3
    peer.send(AUTH, scheme="local", id=4)
    assert (await peer.next()).head == {"id": 4}
    peer.send(AUTH, scheme="magic", id=5)
    await peer.refused("bad-request")
    peer.send(BYE, reason="done")
    await peer.goodbye("goodbye")
    await peer.close()


NO_MESSAGE = [
    (message(PING), "protocol-error"),
    (message(LIVE, 1, camera="gate"), "protocol-error"),
    (message(HELLO, version=2, client="x"), "unsupported-version"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol-error"),
    (struct.pack(">IBBHII", 2**32 - 1, 1, 0, 4, 0, 0), "protocol-error"),
    (struct.pack(">IBBHII", 65537, 1, 0, 4, 0, 0), "protocol-error"),
    (struct.pack(">IBBHII", 4, 1, 0, 5, 0, 0) + b"abcd", "protocol-error"),
    (message(HELLO, payload=b"x", version=1, client="x"), "protocol-error"),
    (message(HELLO, version=1, client="x") + b"\xff" * 64, "protocol-error"),
    (message(HELLO, version=1, client="x") + message(PING, payload=b"z" * 60_000), "protocol-error"),
]


async def test_what_is_no_message_is_answered_and_closed(scene: StreamScene) -> None:
    for raw, reason in NO_MESSAGE:
        peer = await Peer.connect(scene.server.addresses[0], hello=False)
        peer.writer.write(raw)
        before = await peer.goodbye(reason)
        assert [got.type for got in before] in ([], [S_HELLO]), raw
        await peer.close()


async def test_an_unusable_hello_is_answered_by_bye(scene: StreamScene) -> None:
    bad: list[dict[str, Any]] = [
        {}, {"version": 1}, {"version": "1", "client": "x"}, {"version": True, "client": "x"},
        {"version": 1, "client": ""}, {"version": 1, "client": "x" * 257}, {"version": 1, "client": 5},
        {"version": 1, "client": "x", "limits": []}, {"version": 1, "client": "x", "limits": {"message": 5}},
        {"version": 1, "client": "x", "id": "one"},
    ]  # fmt: skip
    for head in bad:
        peer = await Peer.connect(scene.server.addresses[0], hello=False)
        peer.send(HELLO, **head)
        goodbye = await peer.next()
        assert (goodbye.type, goodbye.head["reason"]) == (S_BYE, "protocol-error"), head
        assert " must be " in goodbye.head["message"], head
        with pytest.raises(EOFError):
            await peer.next()
        await peer.close()


async def test_garbage_in_a_head_is_named(scene: StreamScene) -> None:
    for garbage, cause in (
        (b"\x91" * 2000 + b"\xc0", "deep"),
        (b"\xc1", "begins no value"),
        (b"\x92\x01", "incomplete"),
    ):
        peer = await Peer.connect(scene.server.addresses[0], hello=False)
        peer.writer.write(struct.pack(">IBBHII", len(garbage), 1, 0, len(garbage), 0, 0) + garbage)
        goodbye = await peer.next()
        assert goodbye.head["reason"] == "protocol-error"
        assert cause in goodbye.head["message"], goodbye
        await peer.close()


async def test_unknown_messages_and_members_do_no_harm(scene: StreamScene) -> None:
    peer = await scene.peer()
    for kind in (0x00, 0x11, 0x7F, 0x85, 0xFF):
        peer.send(kind, 9, id=7)
        refused = await peer.refused("unknown-message")
        assert (refused.head["id"], refused.sub) == (7, 9)
    peer.send(PING, id=1, colour="green", more={"a": [1, None, 2.5]})
    pong = await peer.next()
    assert (pong.type, pong.head) == (PONG, {"id": 1, "time_us": scene.clock.utc_us()})
    for number in (-1, 2**32, "1", 1.5, True, [1]):
        peer.send(PING, id=number)
        assert "id" not in (await peer.refused("bad-request")).head


async def test_byte_by_byte_is_as_good_as_at_once(scene: StreamScene) -> None:
    peer = await Peer.connect(scene.server.addresses[0], hello=False)
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in message(HELLO, version=1, client="slow") + message(PING, id=2):
        peer.writer.write(bytes([byte]))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.next()).type == S_HELLO
    assert (await peer.next()).type == PONG
    await peer.close()


async def test_who_never_says_hello_is_sent_away(scene: StreamScene) -> None:
    silent = await Peer.connect(scene.server.addresses[0], hello=False)
    loris = await Peer.connect(scene.server.addresses[0], hello=False)
    loris.writer.write(message(HELLO, version=1, client="x")[:-1])
    await becomes(lambda: len(scene.server._shared.connections) == 2)  # type: ignore[union-attr]
    scene.clock.advance(10 * S)
    scene.server.sweep()
    scene.clock.advance(1)
    scene.server.sweep()
    assert await silent.goodbye("hello-timeout") == []
    assert await loris.goodbye("hello-timeout") == []
    await silent.close()
    await loris.close()


async def test_a_crowd_that_is_sent_away_is_one_line_of_log(scene: StreamScene) -> None:
    crowd = [await Peer.connect(scene.server.addresses[0], hello=False) for _ in range(20)]
    idle = [await scene.peer() for _ in range(3)]
    await becomes(lambda: scene.server.gauges()["stream_connections"] == 23)
    scene.clock.advance(31 * S)
    with capture_logs() as logs:
        scene.server.sweep()
        scene.server.sweep()
    (line,) = [one for one in logs if one["log_level"] != "debug"]
    assert (line["event"], line["reasons"]) == ("peers-refused", {"hello-timeout": 20, "idle": 3})
    assert scene.server.gauges()["stream_refused_total"] == 23
    for peer in crowd:
        assert await peer.goodbye("hello-timeout") == []
        await peer.close()
    for peer in idle:
        await peer.goodbye("idle")


async def test_idle_is_counted_from_whole_messages(scene: StreamScene) -> None:
    busy, loris = await scene.peer(), await scene.peer()
    for _ in range(4):
        scene.clock.advance(10 * S)
        busy.send(PING)
        loris.writer.write(message(PING, id=1)[:4] if _ == 0 else b"\x00")
        assert (await busy.next()).type == PONG
        scene.server.sweep()
    await loris.goodbye("idle")
    busy.send(PING)
    assert (await busy.next()).type == PONG


async def test_a_peer_that_does_not_go_is_cut_off(scene: StreamScene) -> None:
    peer = await Peer.connect(scene.server.addresses[0], hello=False)
    peer.writer.write(b"\xff" * 16)
    await peer.until(0x8F)
    assert len(scene.server._shared.connections) == 1  # type: ignore[union-attr]
    scene.clock.advance(2 * S + 1)
    scene.server.sweep()
    assert not scene.server._shared.connections  # type: ignore[union-attr]
    await peer.close()


async def test_the_number_of_connections_is_limited(tmp_path: Path) -> None:
    async with stream_scene(tmp_path, StreamLimits(connections=3)) as scene:
        held = [await scene.peer() for _ in range(3)]
        beyond = await Peer.connect(scene.server.addresses[0], hello=False)
        await beyond.goodbye("too-many-connections")
        await beyond.close()
        held[0].send(PING)
        assert (await held[0].next()).type == PONG
        held[1].send(BYE, reason="room for others")
        await held[1].goodbye("goodbye")
        await held[1].close()
        await becomes(lambda: len(scene.server._shared.connections) == 2)  # type: ignore[union-attr]
        await scene.peer()


async def test_who_has_not_said_hello_makes_room(tmp_path: Path) -> None:
    async with stream_scene(tmp_path, StreamLimits(connections=4)) as scene:
        held = await scene.peer()
        silent = [await Peer.connect(scene.server.addresses[0], hello=False) for _ in range(7)]
        new = await scene.peer()
        for peer in (held, new):
            peer.send(PING)
            assert (await peer.next()).type == PONG
        assert scene.server.gauges()["stream_connections"] == 4
        assert scene.server.gauges()["stream_refused_total"] == 5
        for peer in silent[:5]:
            assert await peer.goodbye("too-many-connections") == []
        silent[6].send(HELLO, version=1, client="late, but it kept its place")
        assert (await silent[6].next()).type == S_HELLO
        for peer in silent:
            await peer.close()


async def test_who_was_sent_away_and_does_not_go_makes_room(tmp_path: Path) -> None:
    async with stream_scene(tmp_path, StreamLimits(connections=3)) as scene:
        held = await scene.peer()
        stuck = [await Peer.connect(scene.server.addresses[0], hello=False) for _ in range(2)]
        for peer in stuck:
            peer.writer.write(b"\xff" * 16)
            await peer.until(S_BYE)
        new = [await scene.peer(), await scene.peer()]
        for peer in (held, *new):
            peer.send(PING)
            assert (await peer.next()).type == PONG
        assert scene.server.gauges()["stream_connections"] == 3
        for peer in stuck:
            await peer.close()


async def test_the_ok_of_a_stop_comes_before_the_end(scene: StreamScene) -> None:
    peer = await scene.peer()
    for number, kind in ((1, LIVE), (2, EVENTS), (3, PLAY)):
        peer.send(kind, number, **({} if kind == EVENTS else {"camera": "gate", "time_us": T0, "paused": True}))
        await peer.expect(OK, number)
        peer.send(STOP, number, id=number)
        until_end = await peer.until(ENDED)
        assert [(one.type, one.sub, one.head) for one in until_end[-2:]] == [
            (OK, number, {"id": number}),
            (ENDED, number, {"reason": "stopped"}),
        ]
        peer.send(PING)
        assert (await peer.next()).type == PONG


async def test_the_number_of_subscriptions_is_limited(scene: StreamScene) -> None:
    peer = await scene.peer()
    for number in range(1, 65):
        peer.send(LIVE, number, camera="gate", id=number)
        await peer.expect(OK, number)
    peer.send(LIVE, 65, camera="gate")
    await peer.refused("busy")
    peer.send(STOP, 64)
    assert [got.head for got in await peer.until(ENDED)] == [{}, {"reason": "stopped"}]
    peer.send(LIVE, 65, camera="gate")
    await peer.expect(OK, 65)


BAD: list[tuple[int, int, dict[str, Any], str]] = [
    (LIVE, 0, {"camera": "gate"}, "bad-request"),
    (LIVE, 1, {}, "bad-request"),
    (LIVE, 1, {"camera": "nobody"}, "not-found"),
    (LIVE, 1, {"camera": 5}, "bad-request"),
    (LIVE, 1, {"camera": "gate", "stream": "third"}, "not-found"),
    (LIVE, 1, {"camera": "gate", "audio": 1}, "bad-request"),
    (LIVE, 1, {"camera": "gate", "credit": -1}, "bad-request"),
    (LIVE, 1, {"camera": "gate", "credit": 2**31}, "bad-request"),
    (LIVE, 1, {"camera": "gate", "after_us": -1}, "bad-request"),
    (LIVE, 1, {"camera": "gate", "after_us": 2.5}, "bad-request"),
    (CREDIT, 1, {"bytes": 5}, "not-found"),
    (STOP, 1, {}, "not-found"),
    (SEEK, 1, {"mode": "begin"}, "not-found"),
    (TIMELINE, 0, {"camera": "gate", "start_us": 5, "end_us": 5}, "bad-request"),
    (TIMELINE, 0, {"camera": "gate", "start_us": 6, "end_us": 5}, "bad-request"),
    (TIMELINE, 0, {"camera": "gate", "start_us": 0, "end_us": 2**62}, "bad-request"),
    (TIMELINE, 0, {"camera": "gate", "start_us": 0, "end_us": 401 * 86400 * S}, "range-too-long"),
    (TIMELINE, 0, {"camera": "gate", "start_us": "now", "end_us": 5}, "bad-request"),
    (TIMELINE, 0, {"camera": "gate", "start_us": 1, "end_us": 5, "resolution_us": -1}, "bad-request"),
    (COVERAGE, 0, {"cameras": "gate", "start_us": 1, "end_us": 5}, "bad-request"),
    (COVERAGE, 0, {"cameras": ["x"] * 101, "start_us": 1, "end_us": 5}, "bad-request"),
    (COVERAGE, 0, {"cameras": ["nobody"], "start_us": 1, "end_us": 5}, "not-found"),
    (EVENTS, 1, {"after": -1}, "bad-request"),
    (EVENTS, 1, {"newest": 1001}, "bad-request"),
]


async def test_bad_requests(scene: StreamScene) -> None:
    peer = await scene.peer()
    for kind, sub, head, code in BAD:
        peer.send(kind, sub, id=9, **head)
        refused = await peer.refused(code)
        assert (refused.head["id"], refused.sub) == (9, sub), head
    peer.send(PING)
    assert (await peer.next()).type == PONG


async def test_numbers_and_credit(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(LIVE, 7, camera="gate", credit=0)
    await peer.expect(OK)
    peer.send(LIVE, 7, camera="gate")
    await peer.refused("bad-request")
    for bad in (0, -5, 2**31, "x", None):
        peer.send(CREDIT, 7, bytes=bad)
        await peer.refused("bad-request")
    for _ in range(512):
        peer.send(CREDIT, 7, bytes=2**31 - 1)
    peer.send(PING)
    assert (await peer.next()).type == PONG  # 512 × 2^31 is just below 2^40
    peer.send(CREDIT, 7, bytes=2**31 - 1)
    await peer.refused("bad-request")
    peer.send(LIVE, 8, camera="gate")
    await peer.expect(OK)
    peer.send(CREDIT, 8, bytes=1)
    await peer.refused("bad-request")  # it has no credit to add to


async def test_answers(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(CAMERAS, id=1)
    cameras = msgpack.unpackb((await peer.expect(ANSWER)).payload)["cameras"]
    assert [camera["name"] for camera in cameras] == ["away", "gate", "yard"]
    assert cameras[1]["recording"]["since_us"] == T0
    assert cameras[1]["streams"][0]["tracks"][0]["last_committed_us"] == T0 + 9 * S
    peer.send(TIMELINE, id=2, camera="gate", start_us=T0 - S, end_us=T0 + 60 * S)
    timeline = msgpack.unpackb((await peer.expect(ANSWER)).payload)
    assert timeline["tracks"][0]["spans"] == [[T0, T0 + 10 * S]]
    peer.send(COVERAGE, id=3, cameras=["gate", "gate"], start_us=T0, end_us=T0 + 10 * S)
    answer = await peer.expect(ANSWER)
    assert answer.head == {"id": 3}
    (camera,) = msgpack.unpackb(answer.payload)["cameras"]
    assert [(one["start_us"], one["end_us"], one["state"]) for one in camera["intervals"]] == [
        (T0, T0 + 10 * S, "recorded")
    ]
    peer.send(COVERAGE, id=4, start_us=T0, end_us=T0 + 1)
    assert len(msgpack.unpackb((await peer.expect(ANSWER)).payload)["cameras"]) == 3


async def test_events_come_without_a_hole(scene: StreamScene) -> None:
    for number in range(3):
        scene.deps.events.emit("before", params={"n": number})
    peer = await scene.peer()
    peer.send(EVENTS, 4, newest=2, id=1)
    assert (await peer.expect(OK)).head == {"id": 1, "after": 1}
    await peer.expect(EVENT)
    scene.deps.events.emit("after", camera=scene.engine.camera("gate").id, params={"long": "x" * 70_000})
    got = [await peer.expect(EVENT) for _ in range(2)]
    assert [one.head["code"] for one in got] == ["before", "after"]
    assert got[0].head["params"] == {"n": 2}
    assert got[1].head["camera"] == str(scene.engine.camera("gate").id)
    assert "params" not in got[1].head
    assert msgpack.unpackb(got[1].payload) == {"long": "x" * 70_000}
    peer.send(STOP, 4)
    await peer.expect(OK)
    peer.send(EVENTS, 4, after=got[0].head["id"])
    assert (await peer.expect(EVENT)).head["id"] == got[1].head["id"]


async def test_a_flood_of_requests_is_not_read_faster_than_answered(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    peer.writer.write(message(CAMERAS) * 8_000)
    connection = next(iter(scene.server._shared.connections))  # type: ignore[union-attr]
    await becomes(lambda: not connection._reading and not connection._draining)
    held = sum(map(len, connection.outlet._waiting))
    assert 0 < held < 2 * 2**20
    other = await scene.peer()
    other.send(PING)
    assert (await other.next()).type == PONG
    peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(8_000):
        assert (await peer.next()).type == ANSWER


async def test_stop_says_goodbye(tmp_path: Path) -> None:
    async with stream_scene(tmp_path) as scene:
        peer = await scene.peer()
        scene.source().gop = units(video_clip(), 0, 1)
        peer.send(LIVE, 1, camera="gate")
        await peer.expect(UNIT)
        stopping = asyncio.ensure_future(scene.server.stop())
        await peer.goodbye("server-stopping")
        await peer.close()
        await stopping
        assert scene.server.addresses == []
        assert not scene.source().channel.viewers


async def test_a_peer_that_reads_nothing_does_not_hold_up_the_stop(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    peer.writer.write(message(CAMERAS) * 8_000)
    connection = next(iter(scene.server._shared.connections))  # type: ignore[union-attr]
    await becomes(lambda: not connection.outlet.clear)
    async with asyncio.timeout(SERVE_STOP_S):  # what the daemon gives them all together
        await scene.server.stop()


async def test_an_address_in_use_is_a_plain_error(scene: StreamScene) -> None:
    other = StreamServer(scene.deps)
    with pytest.raises(ListenFailed, match="cannot listen"):
        await other.start(scene.server.addresses[0])
    await other.stop()


# -- rights ------------------------------------------------------------------------------------------------------------


def test_every_message_declares_a_right() -> None:
    check_messages(MESSAGES)
    assert set(MESSAGES) == set(CLIENT_TYPES)
    for broken in (
        {kind: spec for kind, spec in MESSAGES.items() if kind is not Type.PULL},
        {**MESSAGES, Type.PULL: MessageSpec(None, MESSAGES[Type.PULL].handler)},  # type: ignore[arg-type]
    ):
        with pytest.raises(MessageTableError, match="PULL"):
            check_messages(broken)


def test_the_document_has_the_same_rights() -> None:
    doc = (Path(__file__).parents[2] / "docs/api/stream.md").read_text()
    for kind, spec in MESSAGES.items():
        assert f"| 0x{kind:02X} | `{kind.name.lower()}` | {spec.right} |" in doc


async def test_nothing_is_done_without_the_right(scene: StreamScene) -> None:
    peer = await scene.peer()
    session = next(iter(scene.server._shared.connections)).session  # type: ignore[union-attr]
    here = scene.engine.camera("yard").id
    everything = {"camera": "gate", "start_us": T0, "end_us": T0 + S, "time_us": T0, "frames": 1, "speed": 1}
    for kind in sorted(kind for kind in CLIENT_TYPES if MESSAGES[kind].right is not Right.PUBLIC):
        session.principal = Principal("guest", frozenset(Right) - {MESSAGES[kind].right})
        peer.send(kind, 1, id=1, cameras=["gate"], **everything)
        await peer.refused("forbidden")
        session.principal = Principal("yard only", frozenset(Right), frozenset({here}))
        if kind in (Type.LIVE, Type.PLAY, Type.PULL, Type.TIMELINE, Type.COVERAGE):
            peer.send(kind, 1, id=1, cameras=["gate"], **everything)
            await peer.refused("forbidden")
    assert not session._subscriptions
    peer.send(CAMERAS)
    shown = msgpack.unpackb((await peer.expect(ANSWER)).payload)["cameras"]
    assert [camera["name"] for camera in shown] == ["yard"]


async def test_a_bug_is_answered_and_takes_nothing_down(scene: StreamScene, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = await scene.peer()
    monkeypatch.setattr(scene.engine, "cameras", lambda: 1 / 0)
    peer.send(CAMERAS, id=3)
    refused = await peer.refused("internal")
    assert refused.head["params"]["incident"]
    peer.send(PING)
    assert (await peer.next()).type == PONG
