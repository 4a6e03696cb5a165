"""The product's own receiver against RTSP out: a server recording another server's camera, by both transports."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from rtsp_peer import without_sets
from rtsp_scene import RtspScene

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.aio.supervisor import Supervisor
from recorderd.media.access_unit import TimeQuality
from tests.drivers.rtsp.rtsp_rig import RigSink, address, playing
from tests.server.server_scene import T0, S, record, video_clip


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP])
@pytest.mark.parametrize("path", ["/live/gate", "/recorded/gate?audio=0"])
async def test_every_picture_arrives_with_its_time(out: RtspScene, transport: Transport, path: str) -> None:
    if path.startswith("/live"):
        out.hold_gop()
    else:
        await record(out.store, "gate")
    sink = RigSink()
    settings = RtspSettings(transport=transport)
    async with playing(address(out.port, path), sink, settings=settings), Supervisor("feed") as tree:
        if path.startswith("/live"):
            tree.start("feed", out.feed(60))
        await asyncio.wait_for(sink.until_video(15), 30)
    units = sink.video[:15]
    assert [without_sets(unit.data) for unit in units] == [data for data, *_ in video_clip().samples[:15]]
    assert {b.pts - a.pts for a, b in itertools.pairwise(units)} == {9000}
    assert units[0].cam_quality is TimeQuality.PLAY_RANGE
    assert abs(units[0].cam_us - T0) <= 1
    assert not any(unit.lost_packets or unit.damaged for unit in units)
    if path.startswith("/live"):
        assert abs(units[14].cam_us - (T0 + 14 * S // 10)) <= 2000
