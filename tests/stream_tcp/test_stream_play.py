"""`play`: what was recorded comes back frame-equal; seek, step, speed, credit, holes, edges, bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mediadb.types import TrackKind
from recorderd.aio.system_clock import SystemClock
from recorderd.core.clock import FakeClock
from recorderd.engine.stream import track_id
from tests.server.server_scene import T0, S, audio_clip, record, video_clip
from tests.stream_tcp.raw_peer import (
    CONFIG,
    CREDIT,
    ENDED,
    HOLE,
    KEY,
    LIVE,
    OK,
    PING,
    PLAY,
    PONG,
    POSITION,
    PREROLL,
    SEEK,
    SPEED,
    STEP,
    STOP,
    UNIT,
    Got,
    Peer,
)
from tests.stream_tcp.stream_scene import StreamScene, camera_id

FAST = math.inf
VIDEO = track_id(camera_id(), "main", TrackKind.VIDEO)


async def play(peer: Peer, number: int = 1, **head: Any) -> Got:
    """Begin; the position that was found."""
    peer.send(PLAY, number, id=77, camera="gate", **head)
    ok, position = await peer.next(), await peer.next()
    assert (ok.type, position.type, position.head["id"]) == (OK, POSITION, 77), (ok, position)
    return position


async def to_the_end(peer: Peer, kind: str = "video") -> list[Got]:
    got = await peer.until(POSITION, ENDED)
    assert got[-1].head.get("end"), got[-1]
    return [one for one in got if one.type == UNIT and one.head["kind"] == kind]


def numbers(got: list[Got]) -> list[int]:
    return [one.head["dts"] // 9000 for one in got]


async def test_from_a_moment_to_the_end_frame_equal(scene: StreamScene) -> None:
    peer = await scene.peer()
    position = await play(peer, time_us=T0 + 2_550_000, speed=FAST, audio=True)
    assert position.head["time_us"] == T0 + 2_500_000
    got = await peer.until(POSITION)
    assert got[-1].head["end"] == "live"
    video = [one for one in got if one.type == UNIT and one.head["kind"] == "video"]
    assert numbers(video) == list(range(20, 100))
    assert [one.payload for one in video] == [data for data, *_ in video_clip().samples[20:100]]
    assert [bool(one.flags & PREROLL) for one in video] == [n < 25 for n in range(20, 100)]
    assert [one.head["time_us"] for one in video] == [T0 + n * 100_000 for n in range(20, 100)]
    assert [numbers([one]) for one in video if one.flags & KEY] == [[n] for n in range(20, 100, 10)]
    heard = [one for one in got if one.type == UNIT and one.head["kind"] == "audio"]
    first = heard[0].head["dts"] // 1024
    assert [one.payload for one in heard] == [data for data, *_ in audio_clip().samples[first : first + len(heard)]]
    assert 110 < len(heard) < 126
    assert [one.type for one in got].count(CONFIG) == 2


async def test_cut_anywhere_play_goes_on_from_its_cursor(scene: StreamScene) -> None:
    peer = await scene.peer()
    await play(peer, **{"from": "begin"}, speed=FAST)
    whole = await to_the_end(peer)
    for number, cut in enumerate((0, 8, 9, 10, 57, 98), 2):
        last = whole[cut].head
        cursor = f"{VIDEO.hex}:{last['run']:016x}:{last['seq']}:{last['i']}"
        await play(peer, number, cursor=cursor, speed=FAST)
        shown = [one for one in await to_the_end(peer) if not one.flags & PREROLL]
        assert [one.payload for one in shown] == [one.payload for one in whole[cut + 1 :]], cut


async def test_seeks(scene: StreamScene) -> None:
    peer = await scene.peer()
    await play(peer, time_us=T0 + 5_050_000, paused=True)
    assert numbers(await shown(peer)) == [50]
    for head, number in [
        ({"mode": "exact", "time_us": T0 + 3_250_000}, 32), ({"mode": "key", "time_us": T0 + 3_250_000}, 30),
        ({"mode": "next-key"}, 40), ({"mode": "previous-key"}, 30), ({"mode": "begin"}, 0), ({"mode": "end"}, 99),
        ({"mode": "next-key", "time_us": T0 + 1}, 10), ({"time_us": T0}, 0),
    ]:  # fmt: skip
        peer.send(SEEK, 1, id=5, **head)
        assert (await peer.next()).type == OK
        position = await peer.next()
        assert (position.head["id"], position.head["time_us"]) == (5, T0 + number * 100_000), head
        got = await shown(peer)
        assert numbers(got)[-1] == number
        assert all(one.flags & PREROLL for one in got[:-1])
    peer.send(SPEED, 1, speed=FAST)
    assert numbers([one for one in await to_the_end(peer)]) == list(range(1, 100))


async def shown(peer: Peer) -> list[Got]:
    """Units up to the one to show."""
    got = []
    while True:
        one = await peer.expect(UNIT)
        got.append(one)
        if not one.flags & PREROLL:
            return got


async def test_steps_both_ways(scene: StreamScene) -> None:
    peer = await scene.peer()
    await play(peer, time_us=T0 + 2 * S, paused=True)
    await shown(peer)
    at = 20
    for frames in (1, 1, 3, -1, -4, -10, 25):
        peer.send(STEP, 1, frames=frames, id=6)
        assert (await peer.next()).type == OK
        position = await peer.next()
        at += frames
        assert (position.head["id"], position.head["time_us"]) == (6, T0 + at * 100_000)
        assert numbers(await shown(peer))[-1] == at
    for frames, edge, at in ((1000, None, 99), (1, "end", 99), (-1000, None, 0), (-1, "begin", 0)):
        peer.send(STEP, 1, frames=frames, id=abs(frames))
        position = await peer.expect(POSITION)
        while position.head.get("id") != abs(frames):
            position = await peer.expect(POSITION)
        assert (position.head.get("end"), position.head["time_us"]) == (edge, T0 + at * 100_000)
        if edge is None:
            assert numbers(await shown(peer))[-1] == at
    for bad in (0, 1001, -1001, 1.5, "1", None):
        peer.send(STEP, 1, frames=bad)
        await peer.refused("bad-request")


async def test_backwards_group_by_group(scene: StreamScene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SystemClock()
    monkeypatch.setattr(FakeClock, "monotonic_us", lambda self: real.monotonic_us())
    peer = await scene.peer()
    await play(peer, time_us=T0 + 2_950_000, speed=-16)
    keys = await to_the_end(peer)
    assert [n for n in numbers([one for one in keys if not one.flags & PREROLL]) if n % 10 == 0] == [20, 10, 0]


async def test_an_end_and_holes(scene: StreamScene) -> None:
    await record(scene.store, "gate", start=0, end=20, shift_us=30 * S, new_run=True)
    peer = await scene.peer()
    await play(peer, time_us=T0 + 8 * S, speed=FAST, end_us=T0 + 31 * S)
    got = await peer.until(POSITION)
    units = [one for one in got if one.type == UNIT]
    assert numbers(units) == [*range(80, 100), *range(10)]
    (hole,) = [one for one in got if one.type == HOLE]
    assert (hole.head["start_us"], hole.head["end_us"]) == (T0 + 10 * S, T0 + 30 * S)
    assert got.index(hole) == got.index(units[20]) - 1
    assert all(cause["state"] for cause in hole.head["causes"])
    assert got[-1].head["end"] == "end"
    peer.send(SEEK, 1, mode="begin")  # it stays open
    assert [(await peer.next()).type for _ in range(2)] == [OK, POSITION]
    peer.send(STOP, 1)
    assert (await peer.until(ENDED))[-1].head == {"reason": "stopped"}


async def test_without_credit_play_stands_still(scene: StreamScene) -> None:
    peer = await scene.peer()
    await play(peer, time_us=T0, speed=FAST, credit=1)
    first = await peer.expect(UNIT)
    peer.send(PING)
    assert (await peer.next()).type == PONG
    seen = [first]
    while numbers(seen)[-1] < 99:
        peer.send(CREDIT, 1, bytes=2_000)
        paid = first.length - 1
        while paid < 2_000 and numbers(seen)[-1] < 99:
            seen.append(first := await peer.expect(UNIT))
            paid += first.length
    assert numbers(seen) == list(range(100))


async def test_a_speed_that_follows_a_step_waits_until_its_picture_was_sent(scene: StreamScene) -> None:
    peer = await scene.peer()
    await play(peer, time_us=T0 + 2 * S, paused=True, credit=1)
    assert numbers([await peer.expect(UNIT)]) == [20]
    peer.send(STEP, 1, frames=8)
    peer.send(SPEED, 1, speed=FAST)
    peer.send(PING)
    await peer.until(PONG)
    seen: list[Got] = []
    while not seen or numbers(seen)[-1] < 99:
        peer.send(CREDIT, 1, bytes=1_000)
        peer.send(PING)
        seen += [one for one in await peer.until(PONG) if one.type == UNIT]
    assert numbers(seen) == [*range(20, 29), *range(20, 100)]
    assert [bool(one.flags & PREROLL) for one in seen[:9]] == [True] * 8 + [False]


async def test_in_its_own_time(scene: StreamScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real clock: pictures and sound come, due one after the other, and speed can be changed under way."""
    real = SystemClock()
    monkeypatch.setattr(FakeClock, "monotonic_us", lambda self: real.monotonic_us())
    peer = await scene.peer()
    await play(peer, time_us=T0 + S, speed=1, audio=True)
    first = [await peer.expect(UNIT) for _ in range(8)]
    assert {one.head["kind"] for one in first} == {"video", "audio"}
    peer.send(SPEED, 1, speed=4, id=3)
    await peer.until(OK)
    got = [one for one in [await peer.expect(UNIT) for _ in range(12)] if one.head["kind"] == "video"]
    assert numbers(got) == list(range(numbers(got)[0], numbers(got)[0] + len(got)))
    peer.send(SPEED, 1, speed=0)
    await peer.until(OK)
    peer.send(PING)
    assert (await peer.until(PONG))[-1].type == PONG


async def test_bad_input(scene: StreamScene) -> None:
    peer = await scene.peer()
    bad: list[tuple[dict[str, Any], str]] = [
        ({}, "bad-request"),
        ({"time_us": -1}, "bad-request"),
        ({"time_us": 2**63}, "bad-request"),
        ({"time_us": 1.5}, "bad-request"),
        ({"time_us": True}, "bad-request"),
        ({"from": "middle"}, "bad-request"),
        ({"cursor": "nonsense"}, "bad-cursor"),
        ({"cursor": f"{'0' * 32}:{'0' * 16}:0:0"}, "bad-cursor"),
        ({"mode": "sideways", "time_us": T0}, "bad-request"),
        ({"mode": "cursor", "time_us": T0}, "bad-request"),
        ({"time_us": T0, "speed": 17}, "bad-request"),
        ({"time_us": T0, "speed": -16.5}, "bad-request"),
        ({"time_us": T0, "speed": math.nan}, "bad-request"),
        ({"time_us": T0, "speed": "fast"}, "bad-request"),
        ({"time_us": T0, "speed": 1e300}, "bad-request"),
        ({"time_us": T0, "gaps": "fill"}, "bad-request"),
        ({"time_us": T0, "follow": 1}, "bad-request"),
        ({"time_us": T0, "camera": "nobody"}, "not-found"),
        ({"time_us": T0, "stream": "third"}, "not-found"),
    ]
    for head, code in bad:
        peer.send(PLAY, 1, **{"camera": "gate", **head})
        assert (await peer.refused(code)).sub == 1, head
    for head, code in [
        ({"time_us": T0, "camera": "yard"}, "no-footage"),
        ({"cursor": f"{VIDEO.hex}:{'7' * 16}:0:0"}, "bad-cursor"),
        ({"mode": "next-key"}, "bad-request"),
    ]:  # found out when the footage was looked at
        peer.send(PLAY, 2, **{"camera": "gate", **head})
        assert (await peer.next()).type == OK
        await peer.refused(code)
        assert (await peer.next()).head == {"reason": "error"}
    await play(peer, 3, time_us=T0, paused=True)
    await shown(peer)
    for kind, head, code in [
        (SEEK, {"mode": "key"}, "bad-request"), (SEEK, {"time_us": "now"}, "bad-request"),
        (SPEED, {"speed": math.nan}, "bad-request"), (SPEED, {}, "bad-request"), (SPEED, {"speed": 99}, "bad-request"),
    ]:  # fmt: skip
        peer.send(kind, 3, **head)
        await peer.refused(code)
    peer.send(SEEK, 3, id=4, cursor=f"{VIDEO.hex}:{'7' * 16}:0:0")
    assert (await peer.next()).type == OK
    refused = await peer.refused("bad-cursor")  # play stays where it was
    assert refused.sub == 3
    peer.send(STEP, 3, frames=1)
    assert numbers(await shown(peer))[-1] == 1
    peer.send(LIVE, 4, camera="gate")
    await peer.expect(OK, 4)
    for kind, head in ((SEEK, {"mode": "begin"}), (SPEED, {"speed": 1}), (STEP, {"frames": 1})):
        peer.send(kind, 4, **head)
        await peer.refused("bad-request")
