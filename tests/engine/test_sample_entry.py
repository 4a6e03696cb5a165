"""Sample entries from what a camera says of itself, against those another muxer (libavformat) writes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mediadb.mp4.entry_reader import parse_entry
from recorderd.engine.sample_entry import UnusableConfig, track_config
from recorderd.media import aac, h264, h265
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind


def clip(path: Path, codec: str, pix_fmt: str) -> bytes:
    """Extradata (avcC or hvcC) of one second made by libavformat's MP4 muxer."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 192, pix_fmt
        if codec == "libx265":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:info=0"}
        for n in range(5):
            picture = np.full((192, 320, 3), n * 20, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        return bytes(container.streams.video[0].codec_context.extradata)


def hvcc_sets(hvcc: bytes) -> tuple[bytes, ...]:
    found, at = [], 23
    for _ in range(hvcc[22]):
        count = int.from_bytes(hvcc[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(hvcc[at : at + 2], "big")
            found.append(hvcc[at + 2 : at + 2 + size])
            at += 2 + size
    return tuple(found)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p12le"])
def test_h265_says_chroma_and_depth_as_libavformat_does(tmp_path: Path, pix_fmt: str) -> None:
    theirs = clip(tmp_path / "clip.mp4", "libx265", pix_fmt)
    config = h265.codec_config(hvcc_sets(theirs))
    entry = track_config(config).sample_entry
    ours = entry[entry.index(b"hvcC") + 4 :]
    assert ours[1:13] == theirs[1:13], "profile, tier, level"
    assert ours[16:19] == theirs[16:19], "chroma format and bit depths"
    assert (parse_entry(entry).width, parse_entry(entry).height) == (320, 192)


def test_h264_carries_its_parameter_sets(tmp_path: Path) -> None:
    theirs = clip(tmp_path / "clip.mp4", "libx264", "yuv420p")
    size = int.from_bytes(theirs[6:8], "big")
    sps = theirs[8 : 8 + size]
    pps = theirs[11 + size : 11 + size + int.from_bytes(theirs[9 + size : 11 + size], "big")]
    info = parse_entry(track_config(h264.codec_config((sps, pps))).sample_entry)
    assert info.fourcc == "avc1"
    assert info.parameter_sets == (sps, pps)


def test_sound_entries() -> None:
    info = parse_entry(track_config(aac.codec_config(bytes.fromhex("1188"), 48_000)).sample_entry)
    assert (info.fourcc, info.sample_rate, info.channels) == ("mp4a", 48_000, 1)
    for codec, fourcc in ((Codec.PCMU, "ulaw"), (Codec.PCMA, "alaw")):
        config = CodecConfig(codec, MediaKind.AUDIO, 8000, sample_rate=8000, channels=1)
        assert parse_entry(track_config(config).sample_entry).fourcc == fourcc


def test_a_config_nobody_could_decode_is_refused() -> None:
    for config in (CodecConfig(Codec.H264, MediaKind.VIDEO, 90_000), CodecConfig(Codec.H265, MediaKind.VIDEO, 90_000)):
        with pytest.raises(UnusableConfig):
            track_config(config)
