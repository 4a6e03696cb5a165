"""Live over RTSP: the very bytes the camera sent, in time, over TCP and UDP."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from rtsp_peer import Peer, has_bye, report_of, without_sets
from rtsp_scene import GATE, RtspScene, until

from recorderd.media import metadata
from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType
from tests.server.server_scene import T0, S, audio_clip, units, video_clip


@pytest.mark.parametrize("udp", [False, True])
async def test_pictures_and_sound_arrive_as_they_came(out: RtspScene, udp: bool) -> None:
    out.hold_gop()
    peer = await Peer.connect(out.port, "/live/gate")
    await peer.setup(udp)
    play = await peer.ask("PLAY", Range="npt=0.000-")
    assert play.status == 200
    await out.feed(60)
    pictures = await peer.read_units(63)
    sounds = await peer.read_units(100, channel=2)
    expected = [data for data, *_ in video_clip().samples[:63]]
    assert [without_sets(unit.data) for unit in pictures] == expected
    assert pictures[0].data != expected[0], "parameter sets go before a key"
    assert [unit.data[4:] for unit in sounds] == [data for data, *_ in audio_clip().samples[:100]]
    assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(pictures)} == {9000}
    assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(sounds)} == {1024}
    seqs = [packet.seq for packet in peer.packets if packet.channel == 0]
    assert all(b - a & 0xFFFF == 1 for a, b in itertools.pairwise(seqs))
    assert f"trackID=0;seq={pictures[0].seq};rtptime={pictures[0].timestamp}," in play.headers["rtp-info"]
    assert play.headers["range"] == "clock=20260921T141320.000000Z-"
    assert (await peer.ask("TEARDOWN")).status == 200
    await peer.close()


async def test_reports_put_sound_and_picture_on_one_clock(out: RtspScene) -> None:
    out.hold_gop()
    peer = await Peer.connect(out.port, "/live/gate")
    await peer.setup()
    await peer.ask("PLAY")
    await out.feed(60)
    await peer.read_units(63)
    reports = {at: report_of(data) for at, data in reversed(peer.rtcp)}
    (video_us, video_rtp), (audio_us, audio_rtp) = reports[1], reports[3]
    video, audio = peer.units(0), peer.units(2)
    first_video_us = video_us + (video[0].timestamp - video_rtp) * S // 90_000
    first_audio_us = audio_us + (audio[0].timestamp - audio_rtp) * S // 16_000
    assert abs(first_video_us - first_audio_us) <= 2, "both were received at the same instant"
    await peer.close()


async def test_pause_and_play_go_on_with_the_newest_key(out: RtspScene) -> None:
    out.hold_gop(audio=False)
    peer = await Peer.connect(out.port, "/live/gate?audio=0")
    await peer.setup()
    await peer.ask("PLAY")
    await out.feed(4, audio=False)
    await peer.read_units(7)
    assert (await peer.ask("PAUSE")).status == 200
    assert out.source().channel.viewers == []
    await out.feed(10, start=7, audio=False)
    out.source().gop = units(video_clip(), 10, 17)
    assert (await peer.ask("PLAY")).status == 200
    pictures = (await peer.read_units(14))[7:]
    assert [without_sets(one.data) for one in pictures] == [data for data, *_ in video_clip().samples[10:17]]
    await peer.close()


async def test_another_connection_of_the_camera_leaves_no_jump_in_rtp_time(out: RtspScene) -> None:
    out.hold_gop(audio=False)
    peer = await Peer.connect(out.port, "/live/gate?audio=0")
    await peer.setup()
    await peer.ask("PLAY")
    again = units(video_clip(), 10, 12)
    for _, unit in again:
        unit.pts += 7_000_000_000
        unit.dts += 7_000_000_000
    again[0][1].discontinuity = True
    for kind, unit in again:
        out.source().push(kind, unit)
    pictures = await peer.read_units(5)
    steps = [b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(pictures)]
    assert steps == [9000, 9000, 72_000, 9000], "0.8 s between pictures 2 and 10, as they were received"
    await peer.close()


async def test_metadata_for_who_asks(out: RtspScene) -> None:
    document = b"<tt:MetadataStream>" + b"<a/>" * 1000 + b"</tt:MetadataStream>"
    config = metadata.codec_config(metadata.XML)
    item = (MediaKind.METADATA, AccessUnit(document, 0, 0, UnitType.AUDIO, T0, 0, config))
    out.source().gop = [*units(video_clip(), 0, 1), item]
    peer = await Peer.connect(out.port, "/live/gate?audio=0&metadata=1")
    described = (await peer.ask("DESCRIBE")).body
    assert b"m=application 0 RTP/AVP 98\r\na=rtpmap:98 vnd.onvif.metadata/90000\r\n" in described
    await peer.setup()
    await peer.ask("PLAY")
    assert [unit.data for unit in await peer.read_units(1, channel=2)] == [document]
    await peer.close()


async def test_a_camera_that_comes_is_waited_for(out: RtspScene) -> None:
    peer = await Peer.connect(out.port, f"/live/{GATE}?audio=0")
    asking = asyncio.gather(peer.describe())
    await until(lambda: out.source().channel.viewers)
    for kind, unit in units(video_clip(), 0, 1):
        out.source().push(kind, unit)
    assert len((await asking)[0]) == 1
    await peer.close()


async def test_sound_that_is_announced_and_still_to_come_is_waited_for(out: RtspScene) -> None:
    """A camera that has just connected: its picture came, its sound is announced, nothing of it has arrived."""
    views = out.engine.views
    (key, view), *_ = [(key, one) for key, one in views.items() if one.name == "gate"]
    main = view.streams[0]
    tracks = tuple(replace(track, codec="") if track.kind == "audio" else track for track in main.tracks)
    views[key] = replace(view, streams=(replace(main, tracks=tracks), *view.streams[1:]))
    peer = await Peer.connect(out.port, "/live/gate")
    asking = asyncio.gather(peer.describe())
    await until(lambda: out.source().channel.viewers)
    sound = units(audio_clip(), 0, 1, MediaKind.AUDIO)
    for kind, unit in units(video_clip(), 0, 1) + sound + units(video_clip(), 1, 2):
        out.source().push(kind, unit)
        await asyncio.sleep(0)
    assert len((await asking)[0]) == 2
    await peer.close()


async def test_a_removed_camera_says_goodbye(out: RtspScene) -> None:
    out.hold_gop()
    peer = await Peer.connect(out.port, "/live/gate")
    await peer.setup()
    await peer.ask("PLAY")
    await peer.read_units(3)
    out.engine.live.withdraw(GATE, "main", "camera-removed")
    await peer.read_to_end()
    assert {at for at, data in peer.rtcp if has_bye(data)} == {1, 3}
    await peer.close()


async def test_a_viewer_that_does_not_read_is_dropped_and_hurts_nobody(out: RtspScene) -> None:
    out.hold_gop(audio=False)
    stuck, well = [await Peer.connect(out.port, "/live/gate?audio=0") for _ in range(2)]
    for peer in (stuck, well):
        await peer.setup()
        await peer.ask("PLAY")
    await stuck.read_units(3)

    def seen() -> int:
        return sum(packet.marker for packet in well.packets)

    reading = asyncio.gather(well.read_until(lambda: seen() >= 43))
    for number in range(40):
        (_, unit), *_ = units(video_clip(), 10, 11)
        unit.data = (500_000).to_bytes(4, "big") + b"\x65" + bytes(499_999)
        unit.recv_mono_us += number * 2_000_000
        out.source().push(MediaKind.VIDEO, unit)
        await until(lambda number=number: seen() >= number)
    await reading
    await until(lambda: out.server.server.tally.ended["too-slow"])
    assert len(out.source().channel.viewers) == 1
    assert out.server.gauges()["rtsp_dropped_viewers_total"] == 1
    assert out.server.gauges()["rtsp_sent_bytes_total"] > 20_000_000
    await stuck.close()
    await well.close()
