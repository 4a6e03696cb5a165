"""1. The connection stays open and nothing comes any more.

A camera (or a box on the way) dies without closing its TCP connection: the socket looks alive for hours, and
recorders that wait for an error recorded nothing all night. Ours: silence is measured in units, the driver gives the
stream up, the engine says since when, and connects anew.
"""

from __future__ import annotations

import asyncio

import pytest

from mediadb.types import State
from recorderd.driverapi.errors import StreamLost
from recorderd.driverkit import rtsp_stream
from tests.drivers.rtsp.rtsp_rig import RigSink, address, playing
from tests.drivers.rtsp.scripted_camera import Camera, running
from tests.engine.engine_fakes import FRAME_US, Rig


async def test_silence_on_an_open_socket_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.05)
    monkeypatch.setattr(rtsp_stream, "STALL_MIN_US", 300_000)
    async with running(Camera(pictures=5)) as camera, asyncio.timeout(30):  # then it waits, the socket open
        sink = RigSink()
        async with playing(address(camera.port), sink) as (_, stream):
            with pytest.raises(StreamLost) as lost:
                await stream.wait()
        assert lost.value.reason == "stall"
        assert len(sink.video) >= 4


@pytest.mark.looptime
async def test_the_hole_begins_with_the_last_picture_and_ends_with_the_next_connection() -> None:
    rig = Rig()
    await rig.start()
    await asyncio.sleep(60)
    device = rig.driver.device()
    last_us = rig.video.samples[-1].recv_us
    device.streams["main"].task.cancel()  # the device goes silent
    await asyncio.sleep(8)
    device.lose(StreamLost("nothing came", "stall"))
    await asyncio.sleep(10)
    gone = next(cover for cover in rig.video.covers if cover[1].reason == "stall")
    assert gone[1].state is State.CAMERA_OFFLINE
    assert gone[0] == last_us + FRAME_US
    assert rig.engine.camera("one").state == "recorded", "connected anew by itself"
    await rig.stop()
