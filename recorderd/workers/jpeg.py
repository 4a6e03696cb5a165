"""Coded samples to one JPEG: the only place that decodes for the recorder.

Law: pure in its use (samples in, picture or `DecodeError` out), but meant for a process of its own: decoders read
hostile bytes. Limits hold before memory is spent: samples, bytes, picture size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.error import FFmpegError

from recorderd.core.errors import RecorderdError
from recorderd.media.access_unit import Codec
from recorderd.media.nal import split_units

MAX_SAMPLES = 1_000
MAX_PIXELS = 8192 * 8192
_DECODERS = {Codec.H264: "h264", Codec.H265: "hevc", Codec.JPEG: "mjpeg"}
_START_CODE = b"\x00\x00\x00\x01"
_ACCURATE_DOWN_SCALE = "AREA"


class DecodeError(RecorderdError):
    """No picture can be made; `reason` is "bad-request", "undecodable" or "no-memory"."""

    code = "decode-failed"


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """`samples`: access units in their stored form, in decode order, beginning with a keyframe; the picture wanted is
    sample `target`. `max_width` 0: as it is. `quality`: 1 (smallest) to 100."""

    codec: Codec
    parameter_sets: tuple[bytes, ...]
    samples: tuple[bytes, ...]
    target: int
    max_width: int = 0
    quality: int = 80


@dataclass(frozen=True, slots=True)
class Jpeg:
    """`index`: the sample shown, which lies before the target when the target itself is damaged."""

    data: bytes
    width: int
    height: int
    index: int


def make_jpeg(request: DecodeRequest) -> Jpeg:
    """Decode up to the target and encode that picture. Raises DecodeError."""
    if request.codec not in _DECODERS:
        raise DecodeError(f"{request.codec} holds no pictures", reason="bad-request")
    if not 0 <= request.target < len(request.samples) <= MAX_SAMPLES:
        raise DecodeError("the target is none of the samples", reason="bad-request", target=request.target)
    if not 1 <= request.quality <= 100 or not 0 <= request.max_width <= 16_384:
        raise DecodeError("quality is 1 to 100, max_width 0 to 16384", reason="bad-request")
    try:
        frame = _decode(request)
        if request.codec is Codec.JPEG and not 0 < request.max_width < frame.width:
            # The camera's own picture, which decodes: coded again it could only be worse.
            shown = frame.pts or 0
            return Jpeg(request.samples[shown], frame.width, frame.height, shown)
        return _encode(frame, request)
    except MemoryError:
        raise DecodeError("the picture is too large for this process", reason="no-memory") from None
    except (FFmpegError, ValueError, OverflowError) as error:
        raise DecodeError(f"the samples cannot be decoded: {error}", reason="undecodable") from None


def _decode(request: DecodeRequest) -> av.VideoFrame:
    """The picture of the target, else the newest before it that decodes."""
    context = av.CodecContext.create(_DECODERS[request.codec], "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    head = b"".join(_START_CODE + nal for nal in request.parameter_sets)
    best: av.VideoFrame | None = None
    wanted = _through_target(request.samples, request.target)
    for index, sample in enumerate([*wanted, b""]):
        data = (
            sample if request.codec is Codec.JPEG else b"".join(_START_CODE + nal for nal in split_units(sample) if nal)
        )
        packet = None
        if sample:
            packet = av.Packet((head if index == 0 else b"") + data)
            packet.pts = packet.dts = index
            packet.time_base = Fraction(1, 1)
        try:
            frames = context.decode(packet)
        except FFmpegError:
            continue  # a damaged sample; others may still give a picture
        for frame in frames:
            if frame.pts is not None and frame.pts <= request.target and (best is None or frame.pts >= (best.pts or 0)):
                best = frame
    if best is None:
        raise DecodeError("no picture up to the target can be decoded", reason="undecodable")
    return best


def _through_target(samples: Sequence[bytes], target: int) -> list[bytes]:
    """Samples after the target are not needed: the flush at the end brings out what the decoder held back."""
    return [sample for sample in samples[: target + 1] if sample]


def _encode(frame: av.VideoFrame, request: DecodeRequest) -> Jpeg:
    width, height = frame.width, frame.height
    if request.max_width and width > request.max_width:
        height = max(2, round(height * request.max_width / width / 2) * 2)
        width = max(2, request.max_width // 2 * 2)
    picture = frame.reformat(
        width, height, format="yuvj420p", dst_color_range="JPEG", interpolation=_ACCURATE_DOWN_SCALE
    )
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    # FFmpeg's quantiser runs from 2 (best) to 31.
    scale = round(2 + (100 - request.quality) * 29 / 99)
    context.qmin = context.qmax = scale
    context.options = {"strict": "unofficial"}
    picture.pts = 0
    packets = [*context.encode(picture), *context.encode(None)]
    if not packets:
        raise DecodeError("the picture cannot be encoded as JPEG", reason="undecodable")
    return Jpeg(b"".join(bytes(packet) for packet in packets), width, height, frame.pts or 0)
