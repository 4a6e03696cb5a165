"""Sound loops of every codec: as long as they say, kept on disk, and sent so that a receiver gets them back."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorderd.media import metadata
from recorderd.media.access_unit import Codec
from recorderd.simulate.clip import ClipCache
from recorderd.simulate.clip_encode import encode_audio
from recorderd.simulate.told import PackedTold, make_document
from recorderd.wire.rtp_send import RtpTrack


@pytest.mark.parametrize(
    ("codec", "rate", "frame_samples", "frame_bytes"),
    [(Codec.L16, 16_000, 320, 640), (Codec.G726, 8_000, 160, 80), (Codec.OPUS, 48_000, 960, None)],
)
def test_loops(tmp_path: Path, codec: Codec, rate: int, frame_samples: int, frame_bytes: int | None) -> None:
    cache = ClipCache(tmp_path)
    clip = cache.audio(codec, encode_audio)
    assert (clip.config.sample_rate, clip.frame_samples) == (rate, frame_samples)
    assert len(clip.frames) >= 4 * rate // frame_samples
    assert frame_bytes is None or {len(frame) for frame in clip.frames} == {frame_bytes}
    assert (codec is Codec.G726) == (clip.config.extra == bytes((4, 0)))

    def never(codec: Codec) -> object:
        raise AssertionError("encoded again")

    again = cache.audio(codec, never)  # type: ignore[arg-type]
    assert (again.config, again.frames) == (clip.config, clip.frames)


@pytest.mark.fast
def test_a_document_is_one_by_the_rules_and_spans_packets() -> None:
    document = make_document(3, 17, 1_750_000_000_123_000)
    assert metadata.begins_document(document)
    assert metadata.ends_document(document)
    assert b'UtcTime="2025-06-15T15:06:40.123Z" Source="cam3/17"' in document
    packets = PackedTold(RtpTrack(4, 107, 1)).packets(document, 65_535, 90_000)
    assert len(packets) > 1
    assert b"".join(packet[16:] for packet in packets) == document
    assert [packet[5] >> 7 for packet in packets] == [0] * (len(packets) - 1) + [1]
