"""Recorded footage over RTSP: ranges, directions, pauses, holes, replay stamps."""

from __future__ import annotations

import itertools

import pytest
from rtsp_peer import Peer, Unit, has_bye, without_sets
from rtsp_scene import RtspScene, until

from tests.server.server_scene import T0, S, audio_clip, record, video_clip

FRAME = S // 10
REPLAY = {"Require": "onvif-replay", "Rate_Control": "no"}


def clock(time_us: int) -> str:
    seconds, us = divmod(time_us - T0, S)
    return f"20260921T1413{20 + seconds:02d}.{us:06d}Z"


def pictures(units: list[Unit]) -> list[int]:
    """Numbers of the clip's pictures."""
    known = {data: number for number, (data, *_) in enumerate(video_clip().samples)}
    return [known[without_sets(unit.data)] for unit in units]


async def replay(out: RtspScene, wanted: str, count: int | None, path: str = "/recorded/gate", **headers: str) -> Peer:
    """A replay at full speed, read to the n-th picture or to its goodbye."""
    peer = await Peer.connect(out.port, path)
    await peer.setup(Require="onvif-replay")
    reply = await peer.ask("PLAY", Range=wanted, **REPLAY, **headers)
    assert reply.status == 200, reply
    peer.played = reply
    if count is None:
        await peer.read_to_bye()
    else:
        await peer.read_units(count)
    return peer


async def test_a_closed_range_comes_whole_with_its_true_times(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await replay(out, f"clock={clock(T0 + 2 * S)}-{clock(T0 + 5 * S)}", None)
    units = peer.units()
    assert pictures(units) == list(range(20, 50))
    stamps = [unit.stamp for unit in units]
    assert all(stamps)
    assert [stamp.utc_us for stamp in stamps] == [T0 + number * FRAME for number in range(20, 50)]
    assert [n for n, stamp in enumerate(stamps) if stamp.clean] == [0, 10, 20]
    assert [n for n, stamp in enumerate(stamps) if stamp.discontinuity] == [0]
    assert [n for n, stamp in enumerate(stamps) if stamp.terminal or stamp.end] == [29]
    assert {stamp.cseq for stamp in stamps} == {peer.cseq}
    assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(units)} == {9000}
    assert all(packet.stamp for packet in peer.packets)
    assert not any(data[1] == 200 for _, data in peer.rtcp), "no rate control, no sender reports"
    assert peer.played.headers["rate-control"] == "no"
    assert peer.played.headers["range"] == f"clock={clock(T0 + 2 * S)}-{clock(T0 + 5 * S)}"
    assert f"seq={units[0].seq};rtptime={units[0].timestamp}" in peer.played.headers["rtp-info"]
    sounds = peer.units(2)
    first = round(2 * 16_000 / 1024)
    known = [data for data, *_ in audio_clip().samples]
    assert [sound.data[4:] for sound in sounds[:40]] == known[first + 1 : first + 41]
    assert has_bye(peer.rtcp[-1][1])
    await peer.close()


async def test_a_range_begins_with_the_key_before(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await replay(out, f"clock={clock(T0 + 27 * FRAME)}-", 10)
    assert pictures(peer.units())[:10] == list(range(20, 30))
    assert peer.played.headers["range"].startswith(f"clock={clock(T0 + 2 * S)}-")
    await peer.close()


async def test_backwards_plays_groups_in_reverse(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await replay(out, f"clock={clock(T0 + 39 * FRAME)}-{clock(T0 + 15 * FRAME)}", None, Scale="-1.0")
    units = peer.units()
    assert pictures(units) == [*range(30, 40), *range(20, 30), *range(10, 20)]
    seqs = [unit.seq for unit in units]
    assert all(b - a & 0xFFFF < 100 for a, b in itertools.pairwise(seqs)), "sequence numbers rise"
    assert units[-1].stamp.terminal
    assert peer.played.headers["scale"] == "-1"
    await peer.close()


async def test_backwards_from_deep_inside_a_group_gives_nothing_forwards(
    out: RtspScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many reads it takes to come to the picture."""
    monkeypatch.setattr("recorderd.services.playback.player.AT_ONCE", 4)
    await record(out.store, "gate")
    peer = await replay(out, f"clock={clock(T0 + 37 * FRAME)}-{clock(T0 + 15 * FRAME)}", None, Scale="-1.0")
    assert pictures(peer.units()) == [*range(30, 40), *range(20, 30), *range(10, 20)]
    await peer.close()


async def test_a_hole_is_marked_on_both_sides(out: RtspScene) -> None:
    await record(out.store, "gate", start=0, end=20)
    await record(out.store, "gate", start=20, end=40, shift_us=30 * S, new_run=True)
    peer = await replay(out, f"clock={clock(T0)}-{clock(T0 + 38 * S)}", None)
    units = peer.units()
    assert pictures(units) == list(range(40))
    assert [n for n, unit in enumerate(units) if unit.stamp.end] == [19, 39]
    assert [n for n, unit in enumerate(units) if unit.stamp.discontinuity] == [0, 20]
    assert [n for n, unit in enumerate(units) if unit.stamp.terminal] == [39]
    step = units[20].timestamp - units[19].timestamp & 0xFFFFFFFF
    assert step == 9000 * 301, "sampling times, the hole included"
    await peer.close()


async def test_a_start_inside_a_hole_goes_on_behind_it(out: RtspScene) -> None:
    await record(out.store, "gate", start=0, end=20)
    await record(out.store, "gate", start=20, end=40, shift_us=30 * S, new_run=True)
    peer = await replay(out, f"clock={clock(T0 + 15 * S)}-", 5)
    assert pictures(peer.units())[:5] == list(range(20, 25))
    await peer.close()
    peer = await replay(out, f"clock={clock(T0 + 15 * S)}-", 5, Scale="-1")
    assert pictures(peer.units())[:5] == list(range(10, 15))
    await peer.close()


async def test_frames_intra_and_their_distance(out: RtspScene) -> None:
    await record(out.store, "gate")
    whole = f"clock={clock(T0)}-{clock(T0 + 10 * S)}"
    peer = await replay(out, whole, None, Frames="intra")
    assert pictures(peer.units()) == list(range(0, 100, 10))
    await peer.close()
    peer = await replay(out, whole, None, Frames="intra/3000")
    assert pictures(peer.units()) == [0, 30, 60, 90]
    assert peer.units(2) == []
    await peer.close()


async def test_pause_and_play_go_on_frame_exact(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate")
    await peer.setup()
    assert (await peer.ask("PLAY", Range="npt=0-", Scale="8")).status == 200
    await peer.read_units(3)
    await peer.ask("PAUSE")
    await peer.ask("PLAY", Range="npt=2-", Scale="4")
    before = len(peer.units())
    await peer.read_units(before + 8)
    paused = await peer.ask("PAUSE")
    sent = len(peer.units())
    assert (await peer.ask("GET_PARAMETER")).status == 200
    assert len(peer.units()) == sent, "nothing while paused"
    assert (await peer.ask("PLAY")).status == 200
    await peer.read_units(sent + 20)
    units = peer.units()[before : sent + 20]
    assert pictures(units) == list(range(20, 20 + len(units)))
    last = pictures(peer.units()[sent - 1 : sent])[0]
    assert paused.headers["range"] == f"clock={clock(T0 + last * FRAME)}-"
    assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(units)} == {9000 // 4}
    await peer.close()


@pytest.mark.parametrize("headers", [{}, {"Require": "onvif-replay"}])
async def test_another_scale_goes_on_from_the_very_place(out: RtspScene, headers: dict[str, str]) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate?audio=0")
    await peer.setup(**headers)
    assert (await peer.ask("PLAY", Range=f"clock={clock(T0)}-{clock(T0 + 8 * S)}", Scale="4")).status == 200
    await peer.read_units(13)
    assert (await peer.ask("PAUSE")).status == 200
    sent = len(peer.units())
    reply = await peer.ask("PLAY", Scale="2")
    assert (reply.status, reply.headers["scale"]) == (200, "2")
    assert reply.headers["range"].endswith(f"-{clock(T0 + 8 * S)}")
    await peer.read_to_bye()
    assert pictures(peer.units()) == list(range(80))
    steps = {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(peer.units()[sent:])}
    assert steps == {4500}
    await peer.close()


async def test_another_place_at_once(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate?audio=0")
    await peer.setup(Require="onvif-replay")
    await peer.ask("PLAY", Range=f"clock={clock(T0)}-", Require="onvif-replay")
    await peer.read_units(2)
    reply = await peer.ask("PLAY", Range=f"clock={clock(T0 + 7 * S)}-", Immediate="yes", Require="onvif-replay")
    first_seq = int(reply.headers["rtp-info"].partition("seq=")[2].partition(";")[0])
    await peer.read_until(lambda: any(unit.seq == first_seq for unit in peer.units()))
    found = [unit for unit in peer.units() if unit.stamp.cseq == peer.cseq]
    assert pictures(found)[0] == 70
    assert found[0].stamp.discontinuity
    assert found[0].seq == first_seq
    await peer.close()


async def test_follow_goes_on_when_more_is_recorded(out: RtspScene) -> None:
    now_us = out.clock.utc_us()
    shift = now_us - T0 - 2 * S
    await record(out.store, "gate", end=20, shift_us=shift)
    peer = await replay(out, "npt=0-", 19)
    await record(out.store, "gate", start=20, end=40, shift_us=shift)
    await peer.read_units(39)
    assert pictures(peer.units())[:39] == list(range(39))
    assert not any(has_bye(data) for _, data in peer.rtcp)
    await peer.close()


async def test_a_plain_player_gets_the_window_of_the_address_and_a_goodbye(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate?start=2026-09-21T14:13:21Z&end=2026-09-21T14:13:22Z")
    assert b"a=range:npt=0-1.000000\r\n" in (await peer.ask("DESCRIBE")).body
    await peer.setup()
    await peer.ask("PLAY", Range="npt=0.000-")
    await peer.read_to_bye()
    assert pictures(peer.units()) == list(range(10, 20))
    assert not any(packet.stamp for packet in peer.packets)
    assert (await peer.ask("PLAY", Range="npt=0.5-", Scale="16")).status == 200, "and may play again"
    await peer.close()


async def test_udp_is_always_paced(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate?audio=0")
    await peer.setup(udp=True, Require="onvif-replay")
    reply = await peer.ask("PLAY", Range=f"clock={clock(T0 + 9 * S)}-{clock(T0 + 10 * S)}", **REPLAY, Scale="4")
    assert reply.headers["rate-control"] == "yes"
    await peer.read_to_bye()
    assert pictures(peer.units()) == list(range(90, 100))
    await peer.close()


WITHOUT_FOOTAGE_OR_SENSE = [
    ("", f"clock={clock(T0 + 59 * S)}-", "1"),
    ("", f"clock={clock(T0 + 15 * S)}-{clock(T0 + 17 * S)}", "1"),
    ("", "clock=20200101T000000Z-", "-1"),
    ("", f"clock={clock(T0 + 5 * S)}-{clock(T0 + 2 * S)}", "1"),
    ("", f"clock={clock(T0 + 5 * S)}-{clock(T0 + 5 * S)}", "-1"),
    ("", "clock=-20260921T141320Z", "1"),
    ("", "clock=20261301T000000Z-", "1"),
    ("", f"clock={clock(T0)}-99991231T235960Z", "1"),
    ("", "clock=now-", "1"),
    ("", "npt=99999999999-", "1"),
    ("", "npt=1e3-", "1"),
    ("", "smpte=0:10:20-", "1"),
    ("", "clock", "1"),
    ("?start=2026-09-21T14:13:21Z&end=2026-09-21T14:13:22Z", "npt=5-", "1"),
]


async def test_ranges_without_footage_or_sense(out: RtspScene) -> None:
    await record(out.store, "gate", start=0, end=20)
    await record(out.store, "gate", start=20, end=40, shift_us=30 * S, new_run=True)
    for path, wanted, scale in WITHOUT_FOOTAGE_OR_SENSE:
        peer = await Peer.connect(out.port, f"/recorded/gate{path}")
        await peer.setup()
        assert (await peer.ask("PLAY", Range=wanted, Scale=scale)).status == 457, wanted
        assert (await peer.ask("PLAY", Range="npt=0-")).status == 200, "the session still works"
        await peer.close()
    tally = out.server.server.tally
    assert out.server.gauges()["rtsp_refused_total"] == tally.answers[457] == len(WITHOUT_FOOTAGE_OR_SENSE)


ADDRESSES = {
    "/recorded/away": 404,
    "/recorded/gate?stream=third": 404,
    "/recorded/gate?start=2026-09-21T10:00:00Z&end=2026-09-21T11:00:00Z": 404,
    "/recorded/gate?start=yesterday": 400,
    "/recorded/gate?start=now&end=-1h": 400,
    "/recorded/gate?gaps=maybe": 400,
    "/recorded/gate?audio=2": 400,
    "/recorded/gate?metadata=yes": 400,
    "/recorded/gate?colour=red": 400,
    "/recorded/gate?audio=1&audio=1": 400,
    "/recorded/": 404,
    "/recorded/gate/more": 404,
    "/elsewhere/gate": 404,
    "/recorded/gate?gaps=keep&metadata=1&start=2026-09-21T14:13:20Z": 200,
}


async def test_addresses(out: RtspScene) -> None:
    await record(out.store, "gate", end=10)
    for path, status in ADDRESSES.items():
        peer = await Peer.connect(out.port, path)
        assert (await peer.ask("DESCRIBE")).status == status, path
        await peer.close()


async def test_a_viewer_that_leaves_takes_its_tasks_along(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await replay(out, "npt=0-", 3)
    await peer.close()
    await until(lambda: out.server.server.connections == 0 and out.tasks() == 0)
