"""Clips: what the encoder must deliver, and a cache that is never believed blindly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recorderd.media.access_unit import Codec
from recorderd.media.marker import is_vcl
from recorderd.simulate.clip import ClipCache, VideoClip, VideoSpec, default_cache_folder
from recorderd.simulate.clip_encode import encode_audio, encode_video
from recorderd.simulate.options import sub_spec, variant_spec


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_a_clip_is_closed_gops_at_the_bit_rate(codec: Codec) -> None:
    spec = VideoSpec(codec, 320, 176, fps=10, bitrate_bps=250_000, gop=10)
    clip = encode_video(spec)
    assert [picture.key for picture in clip.pictures] == [index % 10 == 0 for index in range(40)]
    size = sum(len(nal) for picture in clip.pictures for nal in picture.nals)
    assert 0.88 < size * 8 / 4 / spec.bitrate_bps < 1.12
    assert set(clip.config.parameter_sets) <= set(clip.pictures[0].nals)
    kinds = {nal[0] & 0x1F if codec is Codec.H264 else nal[0] >> 1 & 0x3F for p in clip.pictures for nal in p.nals}
    assert kinds == (
        {1, 5, 7, 8} if codec is Codec.H264 else {1, 20, 32, 33, 34} if 20 in kinds else {1, 19, 32, 33, 34}
    )
    sizes = sorted(sum(len(nal) for nal in p.nals if is_vcl(nal[0], codec)) for p in clip.pictures)
    assert sizes[0] > 200, "no empty pictures, as a camera sends none"


def test_sub_and_variant_differ_from_main() -> None:
    main = VideoSpec()
    assert (sub_spec(main).width, sub_spec(main).height, sub_spec(main).bitrate_bps) == (640, 360, 500_000)
    assert (variant_spec(main).width, variant_spec(main).height) == (1280, 720)


def test_audio_clips() -> None:
    aac, pcmu = encode_audio(Codec.AAC), encode_audio(Codec.PCMU)
    assert aac.config.extra[:2] == b"\x11\x88", "AAC-LC, 48 kHz, mono"
    assert (aac.frame_samples, pcmu.frame_samples) == (1024, 160)
    assert {len(frame) for frame in pcmu.frames} == {160}


def never(spec: object) -> VideoClip:
    raise AssertionError("the cache had it")


@pytest.fixture
def counted() -> tuple[Callable[[VideoSpec], VideoClip], list[VideoSpec]]:
    calls: list[VideoSpec] = []

    def encode(spec: VideoSpec) -> VideoClip:
        calls.append(spec)
        return encode_video(spec)

    return encode, calls


SPEC = VideoSpec(Codec.H264, 96, 64, fps=10, bitrate_bps=60_000, gop=10)


def test_a_clip_is_made_once(tmp_path: Path, counted: tuple[Callable[[VideoSpec], VideoClip], list[VideoSpec]]) -> None:
    encode, calls = counted
    folder = tmp_path / "deep" / "cache"
    made = ClipCache(folder).video(SPEC, encode)
    assert ClipCache(folder).video(SPEC, never) == made
    other = VideoSpec(Codec.H264, 96, 64, fps=10, bitrate_bps=60_000, gop=5)
    ClipCache(folder).video(other, encode)
    assert calls == [SPEC, other]
    assert len(list(folder.iterdir())) == 2, "nothing half-written stays"
    audio = ClipCache(folder).audio(Codec.PCMU, encode_audio)
    assert ClipCache(folder).audio(Codec.PCMU, never) == audio  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "magic"])
def test_a_damaged_file_is_made_again(
    tmp_path: Path, damage: str, counted: tuple[Callable[[VideoSpec], VideoClip], list[VideoSpec]]
) -> None:
    encode, calls = counted
    made = ClipCache(tmp_path).video(SPEC, encode)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "magic":
        data[0] ^= 1
    path.write_bytes({"cut": data[:-9], "empty": b""}.get(damage, bytes(data)))
    assert ClipCache(tmp_path).video(SPEC, encode) == made
    assert len(calls) == 2
    assert ClipCache(tmp_path).video(SPEC, never) == made


def test_the_default_folder(tmp_path: Path) -> None:
    assert default_cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "recorderd" / "clips"
    assert "recorderd-clips" in default_cache_folder({"HOME": "/nowhere/at/all"}).name
