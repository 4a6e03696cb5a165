"""Two receivers on one server: our client and FFmpeg's give the same access units, over TCP and over UDP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest
from rtsp_rig import RigSink, address, playing

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.driverapi.errors import StreamLost
from recorderd.media.access_unit import Codec, MediaKind
from recorderd.media.nal import split_annex_b, split_units
from tests.peers.gstreamer import make_clip, start

pytestmark = pytest.mark.gst

# FFmpeg puts parameter sets and delimiters where it likes; the payloader repeats them.
SLICES = {Codec.H264: range(1, 6), Codec.H265: range(32)}
LEFT_OUT = {Codec.H264: {7, 8, 9, 12}, Codec.H265: {32, 33, 34, 35, 38}}
CLIPS = {"h264 with aac": ("libx264", "aac", Codec.H264, 2), "h265": ("libx265", None, Codec.H265, 2)}
FEW_LOST_AT_THE_END = 1  # FFmpeg's parser keeps the last picture, which no other follows

_ROOM = {"buffer_size": "4194304"}  # FFmpeg's own is small for a busy machine
ROUNDED_TICKS = 9  # of 90 kHz: 0.1 ms


@dataclass
class Received:
    """Per picture: its NAL units, whether it is a key, its time in ticks (None where FFmpeg says none). Per sound: its
    bytes."""

    pictures: list[tuple[list[str], bool, int | None]] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)

    def add(self, nals: Iterable[bytes], codec: Codec, key: bool, ticks: int | None) -> None:
        """One picture, or a piece of one: FFmpeg's parser cuts where the payloader repeats parameter sets between the
        slices of a picture. A picture begins with its first slice (ISO 14496-10 7.4.1.2.4, ISO 23008-2 7.4.2.4.5)."""
        kept = [nal for nal in nals if kind_of(nal, codec) not in LEFT_OUT[codec]]
        slices = [nal for nal in kept if kind_of(nal, codec) in SLICES[codec]]
        goes_on = bool(slices) and slices[0][1 if codec is Codec.H264 else 2] < 0x80
        hashes = [hash_of(nal) for nal in kept]
        if goes_on and self.pictures:
            self.pictures[-1][0].extend(hashes)
        elif slices:
            self.pictures.append((self._waiting + hashes, key, ticks))
            self._waiting = []
        else:
            self._waiting += hashes

    _waiting: list[str] = field(default_factory=list)


def kind_of(nal: bytes, codec: Codec) -> int:
    return nal[0] & 0x1F if codec is Codec.H264 else nal[0] >> 1 & 0x3F


def hash_of(data: bytes) -> str:
    """Without the zero bytes that FFmpeg moves from one NAL unit's front to another's end."""
    return hashlib.sha256(data.rstrip(b"\0")).hexdigest()


def by_ffmpeg(url: str, transport: str, codec: Codec) -> Received:
    """Blocking, to the goodbye. The option `timeout` is FFmpeg's own; PyAV's would take the GIL at every wait."""
    got = Received()
    with av.open(url, options={"rtsp_transport": transport, "timeout": "20000000", **_ROOM}) as container:
        try:
            for packet in container.demux():
                if not packet.size:
                    continue
                data = bytes(packet)
                if packet.stream.type == "audio":
                    got.sounds.append(hash_of(data))
                    continue
                ticks = None if packet.pts is None else round(packet.pts * packet.time_base * 90_000)
                got.add(split_annex_b(data), codec, packet.is_keyframe, ticks)
        except av.error.FFmpegError:
            pass  # how a goodbye ends differs between transports; what came is compared
    return got


async def by_us(port: int, settings: RtspSettings, codec: Codec) -> Received:
    sink = RigSink()
    async with playing(address(port), sink, settings=settings) as (_, stream):
        with pytest.raises(StreamLost):
            await stream.wait()
        assert stream.stats()["lost_packets"] == 0
    got = Received(sounds=[hash_of(one.data) for one in sink.units[MediaKind.AUDIO]])
    for unit in sink.video:
        got.add(split_units(unit.data), codec, unit.is_key, unit.pts)
    return got


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP])
@pytest.mark.parametrize("name", CLIPS)
async def test_our_client_and_ffmpeg_receive_the_same(name: str, transport: Transport, tmp_path: Path) -> None:
    video, audio, codec, b_frames = CLIPS[name]
    path = make_clip(tmp_path / "clip.mp4", video, audio, b_frames=b_frames)
    mount = {"file": str(path), "video": codec.value, "transport": transport.value}
    if audio:
        mount["audio"] = audio
    with start({"/cam": mount}) as port:
        theirs, ours = await asyncio.gather(
            asyncio.to_thread(by_ffmpeg, f"rtsp://127.0.0.1:{port}/cam", transport.value, codec),
            by_us(port, RtspSettings(transport=transport), codec),
        )
    assert len(ours.pictures) == 75
    assert len(theirs.pictures) >= len(ours.pictures) - FEW_LOST_AT_THE_END
    assert sum(key for _, key, _ in ours.pictures) >= 3
    # FFmpeg's last picture may be cut short: over UDP the goodbye can overtake it.
    pairs = list(zip(ours.pictures[:-1], theirs.pictures, strict=False))[: len(theirs.pictures) - FEW_LOST_AT_THE_END]
    assert [ours_ for (ours_, _, _), _ in pairs] == [theirs_ for _, (theirs_, _, _) in pairs]
    assert [our_key for (_, our_key, _), _ in pairs] == [their_key for _, (_, their_key, _) in pairs]
    offsets = [mine - other for (_, _, mine), (_, _, other) in pairs if mine is not None and other is not None]
    assert len(offsets) > 20
    # FFmpeg's times go over the wall clock of the sender's reports, and are rounded on the way.
    assert max(offsets) - min(offsets) <= ROUNDED_TICKS, "both read the same times"
    assert bool(ours.sounds) == bool(audio)
    count = min(len(ours.sounds), len(theirs.sounds))
    assert count >= 100 * bool(audio)
    assert ours.sounds[:count] == theirs.sounds[:count]
