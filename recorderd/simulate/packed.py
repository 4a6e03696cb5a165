"""A clip as RTP: payloads cut once, whole frames built once and shared by every camera that sends them.

Law: no camera, no clock, no connection. Healthy cameras run through the same endless sequence of positions (clip
picture 0, 1, ... again and again) at different times, and RTP sequence number and timestamp are functions of the
position: the bytes of a position are built for the first camera that reaches it and reused by the others, which
follow within a GOP. Only the marker's packet is made per camera and frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from recorderd.media.access_unit import Codec
from recorderd.media.marker import is_vcl
from recorderd.simulate.clip import VIDEO_CLOCK_HZ, AudioClip, VideoClip
from recorderd.wire.rtp_send import (
    RtpTrack,
    aac_payloads,
    h264_payloads,
    h265_payloads,
    interleaved_packet,
    interleaved_packets,
)


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """One picture's payloads: `before` goes ahead of the marker (parameter sets), `after` follows it."""

    key: bool
    crc: int
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]

    @property
    def packets(self) -> int:
        """The marker's packet included."""
        return len(self.before) + 1 + len(self.after)


@dataclass(frozen=True, slots=True)
class BuiltFrame:
    """A picture with its RTP headers: `before`, then the marker's packet with `marker_seq`, then the pieces."""

    picture: PackedPicture
    timestamp: int
    before: bytes
    marker_seq: int
    pieces: tuple[bytes, ...]
    payload_bytes: int


class PackedVideo:
    """A packetised video clip with its shared frames. `pieces`: into how many each frame is cut for pacing."""

    def __init__(self, clip: VideoClip, track: RtpTrack, pieces: int) -> None:
        self.clip = clip
        self.track = track
        self.fps = clip.spec.fps
        self._cut = pieces
        self.pictures = [_pack(clip, index) for index in range(len(clip.pictures))]
        counts = [picture.packets for picture in self.pictures]
        self._packets_before = [0, *accumulate(counts)]
        self._built: dict[int, BuiltFrame] = {}
        self._keep = 2 * clip.spec.gop + 2

    def sequence(self, position: int) -> int:
        """RTP sequence number, not wrapped, of the first packet of a position."""
        loops, index = divmod(position, len(self.pictures))
        return loops * self._packets_before[-1] + self._packets_before[index]

    def timestamp(self, position: int) -> int:
        """RTP timestamp, not wrapped, of a position."""
        return position * VIDEO_CLOCK_HZ // self.fps

    def shared(self, position: int) -> BuiltFrame:
        """The frame every healthy camera sends at `position`."""
        frame = self._built.get(position)
        if frame is None:
            picture = self.pictures[position % len(self.pictures)]
            frame = self.build(picture, self.sequence(position), self.timestamp(position))
            while len(self._built) >= self._keep:
                del self._built[next(iter(self._built))]
            self._built[position] = frame
        return frame

    def build(self, picture: PackedPicture, seq: int, timestamp: int, lost: frozenset[int] = frozenset()) -> BuiltFrame:
        """Put RTP headers on a picture, leaving out the packets whose index is in `lost`; a lost marker is the
        caller's to leave out."""
        before = interleaved_packets(self.track, picture.before, seq, timestamp, last_is_marked=False)
        marker = len(before)
        after = interleaved_packets(self.track, picture.after, seq + marker + 1, timestamp)
        before = [packet for index, packet in enumerate(before) if index not in lost]
        after = [packet for index, packet in enumerate(after) if index + marker + 1 not in lost]
        size = sum(map(len, before)) + sum(map(len, after)) - 16 * (len(before) + len(after))
        return BuiltFrame(picture, timestamp, b"".join(before), seq + marker, _pieces(after, self._cut), size)

    def marker_packet(self, nal: bytes, frame: BuiltFrame) -> bytes:
        """The marker's packet; it is never the last of its frame."""
        return interleaved_packet(self.track, nal, frame.marker_seq, frame.timestamp, False)


class PackedAudio:
    """A packetised sound loop: frame K has sequence number K (wrapped) and timestamp K frames."""

    def __init__(self, clip: AudioClip, track: RtpTrack) -> None:
        self.clip = clip
        self.track = track
        self.rate_hz = clip.config.sample_rate
        self.payloads = [aac_payloads(frame)[0] if clip.config.codec is Codec.AAC else frame for frame in clip.frames]

    def due_us(self, index: int) -> int:
        """Stream time at which frame `index` has been captured whole."""
        return (index + 1) * self.clip.frame_samples * 1_000_000 // self.rate_hz

    def first_after(self, stream_us: int) -> int:
        """The first frame captured whole after this stream time."""
        return max(0, stream_us * self.rate_hz // (self.clip.frame_samples * 1_000_000))

    def payload(self, index: int) -> bytes:
        return self.payloads[index % len(self.payloads)]

    def timestamp(self, index: int) -> int:
        return index * self.clip.frame_samples


def _pack(clip: VideoClip, index: int) -> PackedPicture:
    picture, codec = clip.pictures[index], clip.spec.codec
    payloads = h264_payloads if codec is Codec.H264 else h265_payloads
    first = next(place for place, nal in enumerate(picture.nals) if is_vcl(nal[0], codec))
    crc = 0
    for nal in picture.nals:
        if is_vcl(nal[0], codec):
            crc = zlib.crc32(nal, crc)
    return PackedPicture(
        picture.key,
        crc,
        tuple(payload for nal in picture.nals[:first] for payload in payloads(nal)),
        tuple(payload for nal in picture.nals[first:] for payload in payloads(nal)),
    )


def _pieces(packets: Sequence[bytes], count: int) -> tuple[bytes, ...]:
    """Packets joined into `count` pieces of nearly equal size; fewer when there are not enough packets."""
    count = max(1, min(count, len(packets)))
    bounds = [len(packets) * step // count for step in range(count + 1)]
    return tuple(b"".join(packets[bounds[step] : bounds[step + 1]]) for step in range(count))
