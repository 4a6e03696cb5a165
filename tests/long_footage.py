"""Footage of hours or days on a volume, written by the database's own writer in seconds: small frames that say their
number, which is their place in time (gaps count), so that any picture of any file can be checked by its time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy

from mediadb.fs import RealFs
from mediadb.locks import OpenRequest, open_log
from mediadb.mp4.entries import avc1_entry, g711_entry
from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, Item, Now, TrackItem
from mediadb.write.segment_chunk import TrackState
from mediadb.write.store import LogWriter

S = 1_000_000
SERVER, CAMERA = uuid.UUID(int=7), uuid.UUID(int=0xC0)
SOUND_HZ, SOUNDS = 8_000, 2  # sound samples a second


@cache
def nal_units() -> dict[int, bytes]:
    """One H.264 IDR picture and one that refers to it, 64x64, by NAL unit type: 7, 8, 5, 1."""
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt = 64, 64, "yuv420p"
    coder.framerate = Fraction(4)
    coder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "scenecut=0:keyint=100"}
    found = {}
    for number in range(2):
        frame = av.VideoFrame.from_ndarray(numpy.zeros((64, 64, 3), numpy.uint8), format="rgb24")
        frame.pts = number
        for packet in coder.encode(frame):
            for unit in bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
                found[unit[0] & 31] = unit.rstrip(b"\0")
    return found


def coding(width: int, fps: int) -> TrackConfig:
    units = nal_units()
    return TrackConfig("h264", 90_000, avc1_entry(width, 360, [units[7]], [units[8]]), width, 360,
                       frame_ticks=90_000 // fps)  # fmt: skip


SOUND = TrackConfig("pcma", SOUND_HZ, g711_entry("alaw"), sample_rate=SOUND_HZ, channels=1,
                    frame_ticks=SOUND_HZ // SOUNDS)  # fmt: skip


def picture(number: int, key: bool, padding: int = 0) -> bytes:
    """A sample with its number in front (user data) and `padding` bytes behind (filler data)."""
    told = b"\x06\x05\x20" + bytes(range(1, 17)) + b"%016x" % number + b"\x80"
    units = [told, nal_units()[5 if key else 1], *([b"\x0c" + b"\xff" * padding + b"\x80"] if padding else [])]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def sound(number: int) -> bytes:
    return number.to_bytes(8, "big") * 2


def number_of(data: bytes) -> int:
    """Which sample this is; every byte of it is compared."""
    if len(data) == 16:
        number = int.from_bytes(data[:8], "big")
        assert data == sound(number)
        return number
    number = int(data[23:39], 16)
    assert data in (picture(number, True), picture(number, False))
    return number


class _QuickFs(RealFs):
    """Nothing here has to survive a power cut."""

    def fdatasync(self, fd: int) -> None:
        pass


class _Events:
    def committed(self, info: object) -> None:
        pass

    def trouble(self, code: str, params: dict[str, object]) -> None:
        raise AssertionError(f"{code} {params}")

    def sealed(self, path: Path) -> None:
        pass

    def refused(self, track: uuid.UUID, size: int) -> None:
        raise AssertionError("refused")


@dataclass
class Film:
    """One run of the writer. `seconds` films, `wait` leaves a gap, `recode` changes the picture's coding."""

    volume: Path
    specs: Sequence[TrackSpec]  # video, sound
    start_us: int
    server: uuid.UUID = SERVER
    fps: int = 4
    gop: int = 8
    padding: int = 0
    run: int = 1
    segment_s: int = 60
    commit_s: int = 1
    reorder: bool = False
    drift: float = 0.0  # the camera's clock gains so much
    second: int = 0
    pictures: list[int] = field(default_factory=list)
    sounds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = StoreOptions(run=self.run, create=True, segment_us=self.segment_s * S)
        log = open_log(_QuickFs(), OpenRequest(self.volume, "main", self.server, self.run, self.start_us, create=True))
        self._log = log
        self._writer = LogWriter(log, self.server, options, _Events(), lambda job: job())
        self._writer.start(self._now)
        self._states = [self._writer.track_state(spec, Names("cam", "box")) for spec in self.specs]
        self._broken = [True, True]
        self._origin = self._first = 0
        for state, config in zip(self._states, (coding(640, self.fps), SOUND), strict=False):
            begin = CoverItem(self.start_us, Cause(State.RECORDED))
            for item in (TrackItem(state.spec, state.names), ConfigItem(config), begin):
                self._put([(state, item)])

    @property
    def _now(self) -> Now:
        at = self.start_us + self.second * S
        return Now(at, at)

    def _put(self, items: list[tuple[TrackState, Item]]) -> None:
        self._writer.take(items, self._now)

    def recode(self, width: int) -> None:
        self._put([(self._states[0], ConfigItem(coding(width, self.fps)))])
        self._first = self.second

    def wait(self, seconds: int) -> None:
        self.second += seconds
        self._broken = [True, True]
        self._first = self.second

    def seconds(self, count: int, *, video: bool = True, audio: bool = True) -> None:
        for _ in range(count):
            items: list[tuple[TrackState, Item]] = []
            if video:
                items += [(self._states[0], self._picture(n)) for n in range(self.fps)]
            else:
                self._broken[0] = True
                self._first = self.second + 1
            if audio and len(self._states) > 1:
                items += [(self._states[1], self._sound(n)) for n in range(SOUNDS)]
            else:
                self._broken[1] = True
            self._put(items)
            self.second += 1
            if self.second % self.commit_s == 0:
                self._writer.commit(self._now)

    def _picture(self, place: int) -> Sample:
        number = self.second * self.fps + place
        in_gop = (number - self._first * self.fps) % self.gop
        step = 90_000 // self.fps
        dts = number * step + round(number * step * self.drift)
        shown = 0
        if self.reorder:  # I P B P B ... P: one picture of delay
            shown = 1 if in_gop in (0, self.gop - 1) else 2 if in_gop % 2 else 0
        broken, self._broken[0] = self._broken[0], False
        kind = KeyType.DELTA if in_gop else KeyType.IDR
        self.pictures.append(number)
        at = self.start_us + number * S // self.fps
        return Sample(
            picture(number, not in_gop, self.padding), dts + shown * step, dts, int(kind), at, discontinuity=broken
        )

    def _sound(self, place: int) -> Sample:
        number = self.second * SOUNDS + place
        broken, self._broken[1] = self._broken[1], False
        dts = number * SOUND_HZ // SOUNDS
        self.sounds.append(number)
        at = self.start_us + number * S // SOUNDS
        return Sample(sound(number), dts, dts, int(KeyType.AUDIO), at, discontinuity=broken)

    def stop(self) -> None:
        assert self._writer.close(self._now) == []
        self._log.close()


def specs(camera: uuid.UUID = CAMERA) -> tuple[TrackSpec, TrackSpec]:
    """Video and sound of a camera that nobody configured."""
    box = uuid.UUID(int=0xB0)
    return (TrackSpec(uuid.UUID(int=1), camera, box, TrackKind.VIDEO),
            TrackSpec(uuid.UUID(int=2), camera, box, TrackKind.AUDIO))  # fmt: skip
