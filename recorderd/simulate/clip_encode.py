"""Encodes the clips that simulated cameras repeat: a moving picture under noise, and a tone.

Law: one of the few modules that import `av` and `numpy`; called once per set of parameters through
`clip.ClipCache`, never while cameras run. The noise makes the encoder need the whole bit rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from recorderd.core.errors import RecorderdError
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.nal import split_annex_b
from recorderd.simulate.clip import AudioClip, Picture, VideoClip, VideoSpec, video_config

_ENCODERS = {Codec.H264: "libx264", Codec.H265: "libx265"}
_AUDIO_SECONDS = 4
_TONE_HZ = 400
_G726_BITS = 4  # 32 kbit/s
_QUANTISER = 28
_SEARCH_STEPS = 9
_SEARCH_PICTURES = 8
_TRIES = 2


class ClipError(RecorderdError):
    """The encoder gave something that cameras cannot repeat."""

    code = "clip-error"


def encode_video(spec: VideoSpec) -> VideoClip:
    """Encode a clip whose bit rate lies within a tenth of the one asked for, where noise can reach it.
    Raises ClipError when the stream is not of closed GOPs without reordering."""
    target_bytes = spec.bitrate_bps / 8 / spec.fps
    wanted = target_bytes
    for _ in range(_TRIES):
        pictures = _encode_pictures(spec, _find_noise(spec, wanted), spec.pictures)
        reached = _mean_bytes(pictures, spec.gop)
        if abs(reached - target_bytes) <= 0.08 * target_bytes:
            break
        wanted *= target_bytes / reached
    if [picture.key for picture in pictures] != [index % spec.gop == 0 for index in range(spec.pictures)]:
        raise ClipError("the encoder did not place keyframes as asked", codec=str(spec.codec), gop=spec.gop)
    sets = tuple(nal for nal in pictures[0].nals if _nal_type(nal, spec.codec) in _SETS[spec.codec])
    return VideoClip(spec, video_config(spec, sets), tuple(pictures))


def _find_noise(spec: VideoSpec, target_bytes: float) -> float:
    """How strong the noise must be for a mean picture of `target_bytes` at the fixed quantiser: a search over
    the first pictures. A quantiser that the encoder steers instead gives pictures of 200 bytes beside
    pictures of 200 kB, which no camera sends."""
    low, high = 1.0, 255.0
    for _ in range(_SEARCH_STEPS):
        middle = math.sqrt(low * high)
        pictures = _encode_pictures(spec, middle, min(_SEARCH_PICTURES, spec.gop))
        low, high = (middle, high) if _mean_bytes(pictures, spec.gop) < target_bytes else (low, middle)
    return math.sqrt(low * high)


def _mean_bytes(pictures: list[Picture], gop: int) -> float:
    """The mean size of a GOP's pictures, judged by the keyframes and other pictures at hand."""
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for picture in pictures:
        sizes[picture.key].append(sum(len(nal) for nal in picture.nals))
    key = sum(sizes[True]) / len(sizes[True])
    delta = sum(sizes[False]) / len(sizes[False]) if sizes[False] else 0.0
    return (key + delta * (gop - 1)) / gop


def _encode_pictures(spec: VideoSpec, noise: float, count: int) -> list[Picture]:
    context = av.CodecContext.create(_ENCODERS[spec.codec], "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = spec.width, spec.height, "yuv420p"
    context.framerate, context.time_base = Fraction(spec.fps), Fraction(1, spec.fps)
    context.gop_size, context.max_b_frames = spec.gop, 0
    common = (
        f"qp={_QUANTISER}:ipratio=1.2:bframes=0:scenecut=0:aq-mode=0:repeat-headers=1"
        f":keyint={spec.gop}:min-keyint={spec.gop}:open-gop=0"
    )
    if spec.codec is Codec.H264:
        context.options = {"preset": "superfast", "x264-params": common + ":slices=1:sliced-threads=0"}
    else:
        context.options = {"preset": "ultrafast", "x265-params": common + ":info=0:log-level=error"}
    packets = []
    for index, image in enumerate(_images(spec, noise, count)):
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts = index
        packets += context.encode(frame)
    packets += context.encode(None)
    if [packet.pts for packet in packets] != list(range(count)):
        raise ClipError("the encoder reordered pictures", codec=str(spec.codec))
    return [_picture(bytes(packet), spec.codec) for packet in packets]


def _images(spec: VideoSpec, noise: float, count: int) -> Iterator[NDArray[np.uint8]]:
    """Planar 4:2:0 pictures: a moving ramp with a bright bar, under noise that grows from top to bottom and
    repeats after 7 pictures (fresh noise for each would only cost time: the encoder cannot tell)."""
    rng = np.random.default_rng(20240229)
    height, width = spec.height, spec.width
    strength = np.linspace(0, noise, height, dtype=np.float32)[:, np.newaxis]
    grain = [(rng.random((height, width), dtype=np.float32) * strength).astype(np.uint8) for _ in range(min(7, count))]
    ramp = np.add.outer(np.arange(height), np.arange(width * 2)) * 150 // (height + 2 * width)
    ramp = ramp.astype(np.uint8) + np.uint8(20)
    for index in range(count):
        image = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
        shift = index * 4 % width
        luma = image[:height]
        shown = ramp[:, shift : shift + width]
        np.add(shown, np.minimum(grain[index % len(grain)], 235 - shown), out=luma)
        bar = index * 8 % max(1, width - 16)
        luma[:, bar : bar + 16] = 235
        image[height:, : width // 2] += np.uint8(index % 32)
        yield image


_SETS = {Codec.H264: {7, 8}, Codec.H265: {32, 33, 34}}
_KEYS = {Codec.H264: {5}, Codec.H265: {19, 20}}
_LEFT_OUT = {Codec.H264: {6, 9, 12}, Codec.H265: {35, 38, 39, 40}}  # SEI, access unit delimiter, filler


def _nal_type(nal: bytes, codec: Codec) -> int:
    return nal[0] & 0x1F if codec is Codec.H264 else nal[0] >> 1 & 0x3F


def _picture(annex_b: bytes, codec: Codec) -> Picture:
    kept = tuple(nal for nal in split_annex_b(annex_b) if _nal_type(nal, codec) not in _LEFT_OUT[codec])
    return Picture(any(_nal_type(nal, codec) in _KEYS[codec] for nal in kept), kept)


def encode_audio(codec: Codec) -> AudioClip:
    """A tone as AAC (48 kHz, mono, 1,024 samples a frame) or as one of the others, 20 ms a frame."""
    rate, name, layout, sample_format = {
        Codec.AAC: (48_000, "aac", "mono", "fltp"),
        Codec.PCMU: (8_000, "pcm_mulaw", "mono", "s16"),
        Codec.OPUS: (48_000, "libopus", "mono", "s16"),
        Codec.L16: (16_000, "pcm_s16be", "mono", "s16"),
        Codec.G726: (8_000, "g726le", "mono", "s16"),
    }[codec]
    frame_samples = 1024 if codec is Codec.AAC else rate // 50
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate, layout, sample_format
    context.time_base = Fraction(1, rate)
    if codec is Codec.AAC:
        context.bit_rate = 64_000
    elif codec is Codec.G726:
        context.options = {"code_size": str(_G726_BITS)}
    packets = []
    for start in range(0, rate * _AUDIO_SECONDS // frame_samples * frame_samples, frame_samples):
        wave = np.sin(2 * np.pi * _TONE_HZ * np.arange(start, start + frame_samples) / rate) * 0.3
        samples = wave.astype(np.float32) if codec is Codec.AAC else (wave * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format=sample_format, layout=layout)
        frame.sample_rate, frame.pts = rate, start
        packets += context.encode(frame)
    packets += context.encode(None)
    extra = {Codec.AAC: bytes(context.extradata or b""), Codec.G726: bytes((_G726_BITS, False))}.get(codec, b"")
    config = CodecConfig(codec, MediaKind.AUDIO, rate, sample_rate=rate, channels=1, extra=extra)
    frames = [bytes(packet) for packet in packets]
    if codec is Codec.G726:  # the encoder has frames of its own length; a byte is a byte
        data, size = b"".join(frames), frame_samples * _G726_BITS // 8
        frames = [data[at : at + size] for at in range(0, len(data) - size + 1, size)]
    return AudioClip(config, frame_samples, tuple(frames))
