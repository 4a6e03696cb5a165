"""RTP packets as FFmpeg makes them: encoded frames through its RTP muxer, caught on a loopback socket."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from recorderd.core.clock import FakeClock
from recorderd.media.access_unit import AccessUnit, MediaKind
from recorderd.wire.media_plan import plan_media
from recorderd.wire.sdp import parse_sdp
from recorderd.wire.track import Track, TrackListener


@dataclass
class Caught:
    """`packets` are whole RTP packets; `frames` what the encoder gave; `extradata` its header."""

    packets: list[bytes]
    frames: list[bytes]
    extradata: bytes


def tone(rate: int, count: int, channels: int, start: int) -> Any:
    wave = np.sin(2 * np.pi * 440 * np.arange(start, start + count) / rate) * 8000
    return np.repeat(wave.astype(np.int16), channels)[np.newaxis, :]


def sound(
    encoder: str, rate: int, channels: int = 1, frames: int = 20, options: dict[str, str] | None = None
) -> Caught:
    """`frames` frames of a tone in this encoder over RTP."""
    return _catch(encoder, rate, channels, frames, options or {}, {})


def latm(rate: int, frames: int = 20) -> Caught:
    return _catch("aac", rate, 1, frames, {}, {"rtpflags": "latm"})


def _catch(
    encoder: str, rate: int, channels: int, frames: int, options: dict[str, str], flags: dict[str, str]
) -> Caught:
    with _sockets() as (media, url), av.open(url, "w", format="rtp", options=flags) as out:
        stream = out.add_stream(encoder, rate=rate, options=options)
        stream.layout = "stereo" if channels == 2 else "mono"
        context = stream.codec_context
        out.start_encoding()
        got: list[bytes] = []
        packets: list[bytes] = []
        size = context.frame_size or rate // 50
        planar = context.format.is_planar
        for index in range(frames):
            data = tone(rate, size, channels, index * size)
            frame = av.AudioFrame.from_ndarray(data, format="s16", layout=stream.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, index * size, Fraction(1, rate)
            resampler = av.AudioResampler(context.format.name, stream.layout.name, rate)
            for ready in resampler.resample(frame) if planar or context.format.name != "s16" else [frame]:
                _mux(out, stream, ready, got, packets, media)
        _mux(out, stream, None, got, packets, media)
        extradata = bytes(context.extradata or b"")
    packets += _drain(media)
    media.close()
    return Caught([p for p in packets if p[1] & 0x7F < 72 or p[1] & 0x7F > 76], got, extradata)


def pictures(width: int, height: int, count: int = 6, options: dict[str, str] | None = None) -> Caught:
    """JPEG pictures over RTP."""
    noise = np.random.default_rng(5)
    with _sockets() as (media, url), av.open(url, "w", format="rtp") as out:
        stream = out.add_stream("mjpeg", rate=25, options={"huffman": "default", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        stream.codec_context.thread_count = 1  # slices mean restart markers, which this muxer does not send
        got: list[bytes] = []
        packets: list[bytes] = []
        for index in range(count):
            image = noise.integers(0, 255, (height, width, 3), dtype=np.uint8)
            image[:, : width // 2] //= 3
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuvj420p", dst_color_range="JPEG"
            )
            frame.pts = index
            _mux(out, stream, frame, got, packets, media)
        _mux(out, stream, None, got, packets, media)
    packets += _drain(media)
    media.close()
    return Caught([p for p in packets if p[1] & 0x7F < 72 or p[1] & 0x7F > 76], got, b"")


def _mux(out: Any, stream: Any, frame: Any, got: list[bytes], packets: list[bytes], media: socket.socket) -> None:
    for packet in stream.encode(frame):
        got.append(bytes(packet))
        out.mux(packet)
    packets += _drain(media)


class _sockets:
    def __enter__(self) -> tuple[socket.socket, str]:
        self.media, self.control = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.media.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.media.bind(("127.0.0.1", 0))
        self.control.bind(("127.0.0.1", 0))
        self.media.setblocking(False)
        ports = self.media.getsockname()[1], self.control.getsockname()[1]
        return self.media, f"rtp://127.0.0.1:{ports[0]}?rtcpport={ports[1]}&pkt_size=1400"

    def __exit__(self, *_: object) -> None:
        self.control.close()


def _drain(media: socket.socket) -> list[bytes]:
    packets = []
    while True:
        try:
            packets.append(media.recv(65_536))
        except BlockingIOError:
            return packets


class Received:
    """A track of this session description, fed with packets."""

    def __init__(self, sdp: str) -> None:
        self.units: list[AccessUnit] = []
        self.kinds: list[MediaKind] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        plans = plan_media(parse_sdp("v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n" + sdp), audio=True)
        if "m=video" in sdp:
            plans = plan_media(parse_sdp("v=0\n" + sdp), audio=True)
            self.plan = plans[0].plan
        else:
            self.plan = plans[1].plan
        self.track = Track(self.plan, FakeClock(), TrackListener(self._unit, self._event))

    def feed(self, packets: Iterable[bytes]) -> Received:
        for packet in packets:
            self.track.packet(memoryview(packet), 0, len(packet))
        self.track.depay.flush()
        return self

    @property
    def data(self) -> list[bytes]:
        return [unit.data for unit in self.units]

    def _unit(self, kind: MediaKind, unit: AccessUnit) -> None:
        self.kinds.append(kind)
        self.units.append(unit)

    def _event(self, code: str, params: dict[str, object]) -> None:
        self.events.append((code, params))
