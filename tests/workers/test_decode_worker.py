"""The decode worker: pictures of the right size out of samples, typed errors out of everything else."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from recorderd.media.access_unit import Codec
from recorderd.media.nal import join_units
from recorderd.media.pipe import PipeDecoder, PipeMessage, encode_pipe_message
from recorderd.simulate.clip import VideoClip, VideoSpec
from recorderd.simulate.clip_encode import encode_video
from recorderd.workers.jpeg import DecodeError, DecodeRequest, make_jpeg


@pytest.fixture(scope="module", params=[Codec.H264, Codec.H265])
def clip(request: pytest.FixtureRequest) -> VideoClip:
    return encode_video(VideoSpec(request.param, 192, 128, fps=10, bitrate_bps=150_000, gop=8))


class Worker:
    """The real child process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recorderd.workers.decode"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._decoder = PipeDecoder()

    def ask(self, head: dict[str, object], payload: bytes = b"") -> PipeMessage:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(encode_pipe_message(head, payload))
        self.process.stdin.flush()
        while True:
            data = self.process.stdout.read1(1 << 20)
            assert data, "the worker ended"
            for message in self._decoder.feed(data):
                return message

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    assert worker.end() == 0, "the end of standard input is a clean end"


def samples_of(clip: VideoClip, count: int) -> list[bytes]:
    return [join_units(list(picture.nals)) for picture in clip.pictures[:count]]


def request_of(clip: VideoClip, count: int = 3, **more: object) -> tuple[dict[str, object], bytes]:
    samples = samples_of(clip, count)
    head: dict[str, object] = {
        "id": 7,
        "codec": str(clip.spec.codec),
        "parameter_sets": list(clip.config.parameter_sets),
        "sizes": [len(sample) for sample in samples],
        "target": count - 1,
        **more,
    }
    return head, b"".join(samples)


def picture_of(jpeg: bytes) -> av.VideoFrame:
    assert jpeg[:2] == b"\xff\xd8"
    assert jpeg[-2:] == b"\xff\xd9"
    with av.open(io.BytesIO(jpeg), format="mjpeg") as container:
        return next(container.decode(video=0))


def test_a_keyframe_becomes_a_jpeg_of_its_size(worker: Worker, clip: VideoClip) -> None:
    answer = worker.ask(*request_of(clip, 1))
    assert answer.head == {"id": 7, "ok": True, "width": 192, "height": 128, "index": 0}
    picture = picture_of(answer.payload)
    assert (picture.width, picture.height) == (192, 128)


def test_the_picture_asked_for_is_the_one_shown(worker: Worker, clip: VideoClip) -> None:
    """The bright bar moves 8 samples to the right with each picture."""
    answer = worker.ask(*request_of(clip, 6, quality=95))
    assert answer.head["index"] == 5
    luma = picture_of(answer.payload).to_ndarray(format="gray")
    assert luma[:16, 40:56].mean() > 215
    assert luma[:16, 70:120].mean() < 150


def test_width_scales_and_quality_makes_larger(worker: Worker, clip: VideoClip) -> None:
    small = worker.ask(*request_of(clip, 2, width=96, quality=20))
    assert (small.head["width"], small.head["height"]) == (96, 64)
    picture = picture_of(small.payload)
    assert (picture.width, picture.height) == (96, 64)
    fine = worker.ask(*request_of(clip, 2, width=96, quality=95))
    assert len(fine.payload) > 1.5 * len(small.payload)


def test_parameter_sets_come_out_of_the_sample_entry(worker: Worker, clip: VideoClip) -> None:
    """Cameras that send parameter sets in the session description only."""
    samples = [join_units([nal for nal in p.nals if nal not in clip.config.parameter_sets]) for p in clip.pictures[:2]]
    head = {"codec": str(clip.spec.codec), "sizes": [len(sample) for sample in samples]}
    assert worker.ask(head, b"".join(samples)).head["ok"] is False
    sets = clip.config.parameter_sets
    sized = [len(nal).to_bytes(2, "big") + nal for nal in sets]
    if clip.spec.codec is Codec.H264:
        kind, record = b"avcC", b"\x01\x42\x00\x1e\xff\xe1" + sized[0] + b"\x01" + sized[1]
    else:
        arrays = [bytes([0x80 | nal[0] >> 1 & 0x3F, 0, 1]) + item for nal, item in zip(sets, sized, strict=True)]
        kind, record = b"hvcC", bytes(22) + bytes([len(sets)]) + b"".join(arrays)
    entry = bytes(86) + (8 + len(record)).to_bytes(4, "big") + kind + record
    assert worker.ask({**head, "entry": entry}, b"".join(samples)).head["ok"] is True


def test_a_damaged_target_gives_the_picture_before_it(clip: VideoClip) -> None:
    samples = samples_of(clip, 3)
    samples[2] = join_units([b"\x00" * 40])
    jpeg = make_jpeg(DecodeRequest(clip.spec.codec, clip.config.parameter_sets, tuple(samples), 2))
    assert jpeg.index == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"codec": "av9"}, "bad-request"),
        ({"codec": "aac"}, "bad-request"),
        ({"target": 99}, "bad-request"),
        ({"target": -1}, "bad-request"),
        ({"sizes": [1]}, "bad-request"),
        ({"sizes": "many"}, "bad-request"),
        ({"sizes": []}, "bad-request"),
        ({"parameter_sets": [1]}, "bad-request"),
        ({"quality": 0}, "bad-request"),
        ({"quality": "best"}, "bad-request"),
        ({"width": -5}, "bad-request"),
        ({"entry": b"\x00" * 90 + b"\xff\xff\xff\xffavcC"}, "bad-request"),
        ({"entry": 5}, "bad-request"),
        ({"id": [1, {}], "codec": None}, "bad-request"),
    ],
)
def test_wrong_requests_are_refused_by_reason(
    worker: Worker, clip: VideoClip, change: dict[str, object], reason: str
) -> None:
    head, payload = request_of(clip)
    answer = worker.ask({**head, **change}, payload)
    assert answer.head["ok"] is False
    assert answer.head["error"]["code"] == "decode-failed"
    assert answer.head["error"]["params"]["reason"] == reason
    assert answer.payload == b""


def test_garbage_gives_a_typed_error_and_the_worker_lives(worker: Worker, clip: VideoClip) -> None:
    dice = random.Random(4)
    head, payload = request_of(clip)
    for _ in range(40):
        answer = worker.ask({**head, "parameter_sets": []}, dice.randbytes(len(payload)))
        assert answer.head["error"]["code"] == "decode-failed"
    for _ in range(40):  # real samples with flipped bytes: a picture or a typed error
        broken = bytearray(payload)
        for _ in range(20):
            broken[dice.randrange(len(broken))] ^= 1 << dice.randrange(8)
        answer = worker.ask(head, bytes(broken))
        assert answer.head["ok"] or answer.head["error"]["code"] == "decode-failed"
    assert worker.ask(head, payload).head["ok"] is True


def test_a_picture_that_claims_to_be_huge_is_refused() -> None:
    """An SPS of 16,384 x 16,384 must not be believed into memory."""
    huge = encode_video(VideoSpec(Codec.H264, 64, 64, fps=10, bitrate_bps=50_000, gop=8))
    # baseline-like SPS written by hand: profile 66, level 5.2, 1024 x 1024 macroblocks
    bits = "1" + "1" + "1" + "1" + "011" + "0"  # sps id, log2 frame num, poc type 0, log2 poc, 2 refs, no gaps
    for value in (1023, 1023):
        code = bin(value + 1)[2:]
        bits += "0" * (len(code) - 1) + code
    bits += "1" + "1" + "0" + "0" + "1"  # frame_mbs_only, direct 8x8, no crop, no VUI, stop
    bits += "0" * (-len(bits) % 8)
    sps = b"\x67\x42\x00\x34" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    key = join_units([sps, *huge.pictures[0].nals[1:]])
    with pytest.raises(DecodeError):
        make_jpeg(DecodeRequest(Codec.H264, (sps,), (key,), 0))


def test_bytes_that_are_no_messages_end_the_worker_with_status_1() -> None:
    worker = Worker()
    assert worker.process.stdin is not None
    worker.process.stdin.write(b"\xff" * 64)
    assert worker.end() == 1


def test_the_worker_ends_when_its_input_is_cut_off_in_a_message() -> None:
    worker = Worker()
    assert worker.process.stdin is not None
    worker.process.stdin.write(encode_pipe_message({"id": 1}, b"x" * 100)[:-50])
    assert worker.end() == 0


def test_a_jpeg_track_gives_the_cameras_own_picture_and_smaller_ones() -> None:
    pictures = [_jpeg(shade) for shade in (40, 200)]
    request = DecodeRequest(Codec.JPEG, (), tuple(pictures), 1)
    shown = make_jpeg(request)
    assert (shown.data, shown.width, shown.height, shown.index) == (pictures[1], 320, 184, 1)
    small = make_jpeg(DecodeRequest(Codec.JPEG, (), tuple(pictures), 1, max_width=160))
    assert (small.width, small.height) == (160, 92)
    broken = make_jpeg(DecodeRequest(Codec.JPEG, (), (pictures[0], b"\xff\xd8junk"), 1))
    assert (broken.data, broken.index) == (pictures[0], 0)
    with pytest.raises(DecodeError):
        make_jpeg(DecodeRequest(Codec.JPEG, (), (b"no picture",), 0))


def _jpeg(shade: int) -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 320, 184, "yuvj420p"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((276, 320), shade, np.uint8), format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
