"""Clips made with PyAV, as the columns that the writers take: shared by the tests of this folder."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from mediadb.mp4.entries import AvcChroma, HevcProfile, avc1_entry, g711_entry, hvc1_entry, mp4a_entry
from mediadb.mp4.plan import ChunkSamples, TrackBuilder, TrackPlan, TrackSpec
from mediadb.mp4.virtual import ExtentSlice, VirtualMp4

WIDTH, HEIGHT = 320, 192
WALL_US = 1_790_000_000_000_000


@dataclass
class Clip:
    """One elementary stream: `data[i]` is shown at `pts[i]` ticks of `scale`."""

    kind: str
    scale: int
    entry: bytes
    data: list[bytes] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    key: list[bool] = field(default_factory=list)


def picture(number: int) -> av.VideoFrame:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack(
        [(columns + 3 * number) % 256, (rows * 2 + number) % 256, (rows + columns + 5 * number) % 256], axis=-1
    )
    return av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")


def video_clip(codec: str, frames: int, *, b_frames: int = 0, gop: int = 25, fps: int = 25) -> Clip:
    """`codec`: libx264 or libx265."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"video_track_timescale": "90000"}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        if codec == "libx264":
            stream.options = {
                "preset": "veryfast",
                "x264-params": f"bframes={b_frames}:keyint={gop}:min-keyint={gop}:scenecut=0:b-adapt=0:threads=1",
            }
        else:
            stream.options = {
                "preset": "ultrafast",
                "x265-params": f"log-level=none:bframes={b_frames}:keyint={gop}:min-keyint={gop}"
                ":scenecut=0:pools=1:frame-threads=1:open-gop=0",
            }
        for number in range(frames):
            frame = picture(number).reformat(format="yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    target.seek(0)
    with av.open(target) as container:
        stream = container.streams.video[0]
        entry = video_entry(codec, bytes(stream.codec_context.extradata))
        clip = Clip("video", 90_000, entry)
        scale = stream.time_base * 90_000
        for packet in container.demux(stream):
            if packet.size:
                add_sample(clip, bytes(packet), packet.dts * scale, packet.pts * scale, packet.is_keyframe)
    rebase(clip)
    return clip


def add_sample(clip: Clip, data: bytes, dts: Fraction | int, pts: Fraction | int, key: bool) -> None:
    clip.data.append(data)
    clip.dts.append(int(dts))
    clip.pts.append(int(pts))
    clip.key.append(key)


def rebase(clip: Clip) -> None:
    first = clip.dts[0]
    clip.dts = [dts - first for dts in clip.dts]
    clip.pts = [pts - first for pts in clip.pts]


def take_sets(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    sets = []
    for _ in range(count):
        (size,) = struct.unpack_from(">H", record, at)
        sets.append(record[at + 2 : at + 2 + size])
        at += 2 + size
    return sets, at


def video_entry(codec: str, extradata: bytes) -> bytes:
    if codec == "libx264":
        sps, at = take_sets(extradata, 6, extradata[5] & 31)
        pps, _ = take_sets(extradata, at + 1, extradata[at])
        return avc1_entry(WIDTH, HEIGHT, sps, pps, AvcChroma())
    arrays: dict[int, list[bytes]] = {}
    at = 23
    for _ in range(extradata[22]):
        kind, count = extradata[at] & 63, struct.unpack_from(">H", extradata, at + 1)[0]
        arrays[kind], at = take_sets(extradata, at + 3, count)
    return hvc1_entry(WIDTH, HEIGHT, (arrays[32], arrays[33], arrays[34]), HevcProfile(extradata[1:13]))


def aac_clip(seconds: int, rate: int = 16_000) -> Clip:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=rate, layout="mono")
        for number in range(seconds * rate // 1024):
            at = np.arange(number * 1024, (number + 1) * 1024)
            tone = (0.3 * np.sin(2 * math.pi * 440 * at / rate)).astype(np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, number * 1024
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    target.seek(0)
    with av.open(target) as container:
        stream = container.streams.audio[0]
        clip = Clip("audio", rate, mp4a_entry(bytes(stream.codec_context.extradata), rate, 1))
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    for number, data in enumerate(packets):
        add_sample(clip, data, number * 1024, number * 1024, True)
    return clip


def g711_clip(seconds: int, law: str = "ulaw") -> Clip:
    clip = Clip("audio", 8000, g711_entry(law))
    for number in range(seconds * 50):
        add_sample(clip, bytes((number * 7 + i * 13) % 256 for i in range(160)), number * 160, number * 160, True)
    return clip


class Library:
    """Extents as a database would hold them: chunk number -> salt and the samples of that chunk."""

    SALT = b"salt" * 4

    def __init__(self) -> None:
        self.extents: dict[int, bytes] = {}

    def feed(self, builder: TrackBuilder, clip: Clip, wall_us: int, first: int = 0, last: int | None = None) -> None:
        """Samples first..last of a clip as one span: each keyframe a chunk, the rest of a second another; audio in
        chunks of one second."""
        last = len(clip.data) if last is None else last
        at = first
        while at < last:
            stop = at + 1
            if not (clip.kind == "video" and clip.key[at]):
                while stop < last and clip.key[stop] == clip.key[at] and clip.dts[stop] - clip.dts[at] < clip.scale:
                    stop += 1
            self._chunk(
                builder, clip, (at, stop), wall_us + (clip.pts[at] - clip.pts[first]) * 10**6 // clip.scale, at == first
            )
            at = stop

    def _chunk(self, builder: TrackBuilder, clip: Clip, rows: tuple[int, int], wall_us: int, new: bool) -> None:
        at, stop = rows
        number = len(self.extents) + 1000
        self.extents[number] = self.SALT + b"".join(clip.data[at:stop])
        sizes = [len(data) for data in clip.data[at:stop]]
        builder.add(
            ChunkSamples(number, 16, wall_us, sizes, clip.dts[at:stop], clip.pts[at:stop], clip.key[at], 0, new)
        )

    def read(self, movie: VirtualMp4, start: int, end: int) -> bytes:
        parts = []
        for piece in movie.resolve(start, end):
            if isinstance(piece, ExtentSlice):
                stop = piece.offset + piece.length_bytes
                assert piece.offset >= 16
                assert stop <= len(self.extents[piece.extent_id])
                parts.append(self.extents[piece.extent_id][piece.offset : stop])
            else:
                parts.append(piece)
        return b"".join(parts)

    def whole(self, movie: VirtualMp4) -> bytes:
        return self.read(movie, 0, movie.total_bytes)

    def plan(
        self, clip: Clip, wall_us: int = WALL_US, start_us: int = WALL_US, end_us: int = WALL_US + 10**12
    ) -> TrackPlan:
        builder = TrackBuilder(TrackSpec(clip.kind, clip.scale, (clip.entry,)), start_us, end_us)  # type: ignore[arg-type]
        self.feed(builder, clip, wall_us)
        plan = builder.plan()
        assert plan is not None
        return plan
