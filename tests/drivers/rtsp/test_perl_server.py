"""The rtsp driver against rtsp-server-perl: UDP by another hand, which answers TCP with 400."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import pytest
from rtsp_rig import RigSink, address, playing

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.driverapi.errors import DriverError
from recorderd.media.nal import split_annex_b, split_units
from tests.peers import perl_server
from tests.peers.gstreamer import make_clip

pytestmark = [pytest.mark.gst, pytest.mark.ffmpeg]

SLICES = range(1, 6)


def slices_of(path: Path) -> set[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        packets = [bytes(out) for packet in container.demux(stream) if packet.size for out in annex_b.filter(packet)]
    return {nal for packet in packets for nal in split_annex_b(packet) if nal[0] & 0x1F in SLICES}


async def test_what_ffmpeg_pushes_is_received_by_udp(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", "libx264", None, seconds=2.0)
    with perl_server.start(path) as port:
        sink = RigSink()
        async with asyncio.timeout(60):
            while True:
                try:
                    # AUTO: TCP is refused with 400; before the source has announced itself there is nothing.
                    async with playing(address(port), sink, settings=RtspSettings(transport=Transport.AUTO)) as (
                        _,
                        stream,
                    ):
                        await sink.until_video(60)
                        stats = stream.stats()
                    break
                except DriverError:
                    await asyncio.sleep(0.1)
    assert stats["lost_packets"] == stats["malformed_packets"] == 0
    known = slices_of(path)
    got = [nal for unit in sink.video for nal in split_units(unit.data) if nal[0] & 0x1F in SLICES]
    assert len(got) >= 60
    assert set(got) <= known
