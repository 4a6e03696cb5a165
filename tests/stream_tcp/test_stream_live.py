"""`live`: heads shared by all viewers, slow readers, credit, resuming, `sealed`."""

from __future__ import annotations

from dataclasses import replace

from recorderd.media.access_unit import AccessUnit, MediaKind, TimeQuality, UnitType
from recorderd.server.stream_tcp.live_share import TURN
from recorderd.wire.stream.messages import Message
from tests.server.server_scene import T0, S, audio_clip, record, units, video_clip
from tests.stream_tcp.raw_peer import (
    CONFIG,
    CREDIT,
    DAMAGED,
    DISCONTINUITY,
    ENDED,
    KEY,
    LIVE,
    OK,
    PING,
    PONG,
    SEALED,
    SKIPPED,
    STOP,
    UNIT,
    Got,
    becomes,
)
from tests.stream_tcp.stream_scene import StreamScene, camera_id

CONFIG_OF_VIDEO = video_clip().config


def big(number: int, size: int) -> AccessUnit:
    """A unit that tells its number, a key every five."""
    kind, ticks = UnitType.DELTA if number % 5 else UnitType.IDR, number * 3600
    data, at_us = number.to_bytes(4, "big") * (size // 4), number * 40_000
    return AccessUnit(data, ticks, ticks, kind, T0 + at_us, at_us, CONFIG_OF_VIDEO)


async def test_units_come_as_they_are(scene: StreamScene) -> None:
    source, peer = scene.source(), await scene.peer()
    source.gop = units(video_clip(), 0, 2)
    peer.send(LIVE, 9, camera=str(camera_id()), audio=True, id=1)
    ok, config, first, second = [await peer.next() for _ in range(4)]
    assert (ok.type, ok.head, config.type, first.type) == (OK, {"id": 1}, CONFIG, UNIT)
    assert {got.sub for got in (ok, config, first, second)} == {9}
    assert config.payload[4:8] == b"avc1"
    assert (config.head["kind"], config.head["timebase_hz"], config.head["width"]) == ("video", 90_000, 160)
    unit = source.gop[0][1]
    assert first.payload == unit.data
    assert first.flags == KEY
    assert first.head == {
        "kind": "video", "cfg": config.head["config"], "pts": unit.pts, "dts": unit.dts, "type": 1,
        "recv_us": unit.recv_us, "time_us": unit.recv_us,
    }  # fmt: skip
    sound = units(audio_clip(), 0, 1, MediaKind.AUDIO)[0][1]
    source.push(MediaKind.AUDIO, sound)
    marked = AccessUnit(
        b"abcd", 4500, 0, UnitType.DELTA, T0, 5, unit.config, cam_us=T0 - 7, cam_quality=TimeQuality.SENDER_REPORT,
        lost_packets=3, damaged=True, discontinuity=True,
    )  # fmt: skip
    source.push(MediaKind.VIDEO, marked)
    config, heard, seen = [await peer.next() for _ in range(3)]
    assert (config.head["kind"], config.payload[4:8]) == ("audio", b"mp4a")
    assert (heard.payload, heard.head["cfg"], heard.flags) == (sound.data, config.head["config"], KEY)
    assert seen.flags == DISCONTINUITY | DAMAGED
    assert (seen.head["cam_us"], seen.head["cam_q"], seen.head["lost"]) == (T0 - 7, 2, 3)
    assert seen.head["time_us"] == T0 + 50_000
    other = replace(unit.config, codec_string="avc1.64001f", width=320)
    source.push(*units(video_clip(), 0, 1, config=other)[0])
    config, key = await peer.next(), await peer.next()
    assert (config.type, config.head["width"], key.head["cfg"]) == (CONFIG, 320, config.head["config"])


async def test_all_viewers_get_the_same_bytes_from_one_subscription(scene: StreamScene) -> None:
    source = scene.source()
    source.gop = units(video_clip(), 0, 1)
    peers = [await scene.peer() for _ in range(3)]
    for number in range(1, 44):
        for peer in peers:
            peer.send(LIVE, number, camera="gate")
    await becomes(lambda: scene.engine.live.viewers(camera_id()) == 43 * 3)
    assert TURN < 43 * 3
    assert len(source.channel.viewers) == 1
    for kind, unit in units(video_clip(), 1, 4):
        source.push(kind, unit)
    for peer in peers:
        seen: dict[int, list[Got]] = {}
        while sum(map(len, seen.values())) < 43 * 4:
            got = await peer.next()
            if got.type == UNIT:
                seen.setdefault(got.sub, []).append(got)
        assert all([got.head["dts"] for got in row] == [0, 9000, 18_000, 27_000] for row in seen.values())
    for number in range(1, 44):
        for peer in peers:
            peer.send(STOP, number)
    await becomes(lambda: scene.engine.live.viewers(camera_id()) == 0)
    assert not source.channel.viewers
    peers[0].send(LIVE, 1, camera="gate")
    await peers[0].expect(UNIT)


async def test_who_joins_in_the_middle_of_a_turn_misses_nothing(scene: StreamScene) -> None:
    """A unit that was pushed but not sent yet is part of the newest GOP: it must come once, to old and new viewers."""
    source = scene.source()
    old, new = await scene.peer(), await scene.peer()
    items = units(video_clip(), 0, 4)
    source.gop = items[:1]
    old.send(LIVE, 1, camera="gate")
    await old.expect(UNIT)
    session = next(c.session for c in scene.server._shared.connections if not c.session.subscriptions)  # type: ignore[union-attr]
    for item in items[1:3]:  # both in this turn of the loop, before the fan had its own
        source.gop = [*source.gop, item]
        source.push(*item)
    session.message(Message(LIVE, 0, 1, {"camera": "gate"}))
    source.push(*items[3])
    assert [(await old.expect(UNIT)).head["dts"] for _ in range(3)] == [9000, 18_000, 27_000]
    assert [(await new.expect(UNIT)).head["dts"] for _ in range(4)] == [0, 9000, 18_000, 27_000]


async def test_after_a_reconnect_nothing_comes_twice(scene: StreamScene) -> None:
    source, peer = scene.source(), await scene.peer()
    source.gop = units(video_clip(), 0, 5)
    peer.send(LIVE, 1, camera="gate", after_us=source.gop[2][1].recv_us)
    assert [(await peer.expect(UNIT)).head["dts"] for _ in range(2)] == [27_000, 36_000]
    peer.send(LIVE, 2, camera="gate", after_us=T0 + 3600 * S)
    await peer.expect(OK, 2)
    source.push(*units(video_clip(), 5, 6)[0])
    assert (await peer.expect(UNIT, 2)).head["dts"] == 45_000


async def test_credit_is_counted_and_given(scene: StreamScene) -> None:
    source, peer = scene.source(), await scene.peer()
    source.gop = units(video_clip(), 0, 4)
    peer.send(LIVE, 1, camera="gate", credit=1)
    await peer.expect(OK)
    first = await peer.expect(UNIT)
    peer.send(PING)
    assert (await peer.next()).type == PONG  # one message may overshoot, no more
    peer.send(CREDIT, 1, bytes=first.length - 1)  # exactly up to zero
    peer.send(PING)
    assert (await peer.next()).type == PONG
    peer.send(CREDIT, 1, bytes=1)
    assert (await peer.next()).type == UNIT
    peer.send(CREDIT, 1, bytes=1 << 20)
    assert [(await peer.next()).type for _ in range(2)] == [UNIT, UNIT]
    source.push(*units(video_clip(), 4, 5)[0])
    assert (await peer.next()).head["dts"] == 36_000


async def test_a_viewer_without_credit_is_skipped_to_a_key(scene: StreamScene) -> None:
    source, peer, fine = scene.source(), await scene.peer(), await scene.peer()
    peer.send(LIVE, 1, camera="gate", credit=0)
    await peer.expect(OK)
    fine.send(LIVE, 1, camera="gate")
    await fine.expect(OK)
    for number in range(12):
        source.push(MediaKind.VIDEO, big(number, 1_000_000))
        assert (await fine.expect(UNIT)).head["dts"] // 3600 == number
    connection = next(c for c in scene.server._shared.connections if c.session.live_budget.used_bytes)  # type: ignore[union-attr]
    assert connection.session.live_budget.used_bytes <= 6 * 2**20
    peer.send(CREDIT, 1, bytes=1 << 30)
    got = [await peer.expect(UNIT, 1) for _ in range(2)]
    assert [(one.head["dts"] // 3600, one.flags) for one in got] == [(10, KEY | SKIPPED), (11, 0)]
    source.push(MediaKind.VIDEO, big(12, 400))
    assert (await peer.expect(UNIT, 1)).flags == 0


async def test_a_stalled_reader_is_bounded_and_dropped(scene: StreamScene) -> None:
    """It costs at most its budget and the one unit under way, and recording's push never notices."""
    source, stalled, fine = scene.source(), await scene.peer(), await scene.peer()
    stalled.reader._transport.pause_reading()  # type: ignore[attr-defined]
    for number in (1, 2, 3):
        stalled.send(LIVE, number, camera="gate")
    fine.send(LIVE, 1, camera="gate")
    await becomes(lambda: scene.engine.live.viewers(camera_id()) == 4)
    first = next(c for c in scene.server._shared.connections if len(c.session._subscriptions) == 3)  # type: ignore[union-attr]
    worst, number = 0, 0
    while first.session._subscriptions:
        for _ in range(5):
            source.push(MediaKind.VIDEO, big(number, 400_000))
            number += 1
            assert (await fine.expect(UNIT)).head["dts"] == (number - 1) * 3600
        waiting = sum(map(len, first.outlet._waiting)) + first.session.live_budget.used_bytes
        worst = max(worst, waiting)
        assert number < 2_000
    assert 2**20 < worst <= 8 * 2**20
    assert scene.engine.live.viewers(camera_id()) == 1
    stalled.reader._transport.resume_reading()  # type: ignore[attr-defined]
    ended = []
    while len(ended) < 3:
        got = await stalled.next()
        if got.type == ENDED:
            ended.append((got.sub, got.head["reason"]))
    assert sorted(ended) == [(1, "too-slow"), (2, "too-slow"), (3, "too-slow")]


async def test_a_removed_camera_ends_its_viewers(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(LIVE, 1, camera="gate")
    peer.send(LIVE, 2, camera="gate", credit=0)
    await peer.expect(OK, 2)
    scene.engine.live.withdraw(camera_id(), "main", "camera-removed")
    assert {(await peer.expect(ENDED)).sub for _ in range(2)} == {1, 2}
    peer.send(LIVE, 3, camera="gate")
    await peer.refused("not-found")
    scene.engine.live.offer(camera_id(), "main", scene.source())
    peer.send(LIVE, 3, camera="gate")
    await peer.expect(OK, 3)
    scene.source().push(*units(video_clip(), 0, 1)[0])
    await peer.expect(UNIT, 3)


async def test_sealed_tells_what_is_durable(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(LIVE, 1, camera="gate", sealed=True)
    peer.send(LIVE, 2, camera="gate", sealed=True, audio=True)
    await peer.expect(OK, 2)
    await record(scene.store, "gate", shift_us=20 * S, new_run=True)
    sealed = [await peer.expect(SEALED) for _ in range(3)]
    assert [one.sub for one in sealed] == [1, 2, 2]
    assert sealed[0].head == {**sealed[1].head}
    assert sealed[0].head["run"] == scene.store.run
    assert (sealed[0].head["next_seq"], sealed[0].head["until_us"]) == (40, T0 + 30 * S)
    assert sealed[2].head["track"] != sealed[1].head["track"]


async def test_a_viewer_that_goes_away_is_forgotten(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(LIVE, 1, camera="gate", sealed=True)
    await peer.expect(OK)
    peer.writer.transport.abort()
    await becomes(lambda: not scene.engine.live.viewers(camera_id()))
    assert not scene.source().channel.viewers
    assert not scene.engine.listener("main")._watchers
