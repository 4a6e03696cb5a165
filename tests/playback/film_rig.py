"""Footage made with the real writer by a plain plan, and the plain plan itself as the model to compare with."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mediadb.fs import RealFs
from mediadb.locks import OpenRequest, open_log
from mediadb.mp4.entries import avc1_entry
from mediadb.read.reader import Reader
from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, GapItem, Now, TrackItem
from mediadb.write.recover import Recovery
from mediadb.write.store import LogWriter

S = 1_000_000
T0 = 1_790_000_000 * S
SERVER = uuid.UUID(int=7)
ENTRY = avc1_entry(640, 360, [bytes.fromhex("6742c01e")], [bytes.fromhex("68ce3c80")])
VIDEO = TrackConfig("h264", 90_000, ENTRY, 640, 360, frame_ticks=3_600)
AUDIO = TrackConfig("pcmu", 8_000, b"\0\0\0\x08ulaw", sample_rate=8000, channels=1, frame_ticks=320)
TRACK = TrackSpec(uuid.UUID(int=0x71), uuid.UUID(int=0xC1), uuid.UUID(int=0xA0), TrackKind.VIDEO)
SOUND = TrackSpec(uuid.UUID(int=0x72), uuid.UUID(int=0xC1), uuid.UUID(int=0xA0), TrackKind.AUDIO)
OTHER = TrackSpec(uuid.UUID(int=0x73), uuid.UUID(int=0xC2), uuid.UUID(int=0xA0), TrackKind.VIDEO)
FRAME_US = 40_000


@dataclass(frozen=True)
class Shot:
    """One picture of the plan: `number` is in its bytes. `gop` counts groups; `order` is decode order overall."""

    number: int
    gop: int
    decode: int
    recv_us: int
    time_us: int
    key: bool
    leading: bool
    part: int


class _Told:
    def committed(self, info: object) -> None: ...

    def trouble(self, code: str, params: dict[str, object]) -> None: ...

    def sealed(self, path: Path) -> None: ...

    def refused(self, track: uuid.UUID, size: int) -> None:
        raise AssertionError("refused")


@dataclass
class Film:
    """Writes one volume, run by run; `shots` of a track are what was written, in the order it should play."""

    volume: Path
    now_us: int = T0
    segment_us: int = 10 * S
    mono_us: int = 0
    run: int = 0
    part: int = 0
    clock: int = 0  # how often it was set
    shots: dict[uuid.UUID, list[Shot]] = field(default_factory=dict)
    sounds: list[int] = field(default_factory=list)
    writer: Any = None

    def start(self) -> None:
        self.run += 1
        self.part += 1
        self.fs = RealFs()
        self.log = open_log(self.fs, OpenRequest(self.volume, "main", SERVER, self.run * 77, self.now_us, create=True))
        told = _Told()
        options = StoreOptions(segment_us=self.segment_us, create=True)
        self.writer = LogWriter(self.log, SERVER, options, told, lambda job: job())
        self.writer.start(self.now())
        self.writer.recovered(Recovery(self.log, told.trouble, told.sealed).run(), self.now())
        self.states: dict[uuid.UUID, Any] = {}
        self.ticks: dict[uuid.UUID, int] = {}

    def now(self) -> Now:
        return Now(self.now_us, self.mono_us, self.clock)

    def state(self, spec: TrackSpec) -> Any:
        if spec.track not in self.states:
            names = Names("cam", "box")
            state = self.states[spec.track] = self.writer.track_state(spec, names)
            config = VIDEO if spec.kind is TrackKind.VIDEO else AUDIO
            items = [TrackItem(spec, names), ConfigItem(config), CoverItem(self.now_us, Cause(State.RECORDED))]
            self.writer.take([(state, item) for item in items], self.now())
        return self.states[spec.track]

    def film(
        self, gops: int, gop: int, *, bframes: bool = False, open_gop: bool = False, sound: bool = False,
        size: int = 200, spec: TrackSpec = TRACK,
    ) -> None:  # fmt: skip
        """`gops` groups of `gop` pictures at 25 a second from now on; a commit about every second."""
        state = self.state(spec)
        shots = self.shots.setdefault(spec.track, [])
        since = 0
        for _ in range(gops):
            number_gop = shots[-1].gop + 1 if shots else 0
            first_of_stretch = not shots or shots[-1].part != self.part
            for i, (cts, lead) in enumerate(_pattern(gop, bframes, open_gop)):
                number = len(shots)
                dts = self.ticks.get(spec.track, 900_000)
                self.ticks[spec.track] = dts + 3_600
                key = KeyType.DELTA if i else KeyType.OPEN_GOP if open_gop else KeyType.IDR
                data = number.to_bytes(8, "big") + bytes([number % 251]) * size
                sample = Sample(data, dts + cts * 3_600, dts, int(key), self.now_us)
                self.writer.take([(state, sample)], self.now())
                shown = self.now_us + cts * FRAME_US
                shots.append(
                    Shot(number, number_gop, number, self.now_us, shown, i == 0, lead and first_of_stretch, self.part)
                )
                if sound:
                    self._sound()
                self.wait(FRAME_US)
                since += 1
                if since % 25 == 0:
                    self.writer.commit(self.now())
        self.writer.commit(self.now())

    def _sound(self) -> None:
        ticks = self.ticks.get(SOUND.track, 0)
        self.ticks[SOUND.track] = ticks + 320
        sample = Sample(self.now_us.to_bytes(8, "big"), ticks, ticks, int(KeyType.AUDIO), self.now_us + 1)
        self.writer.take([(self.state(SOUND), sample)], self.now())
        self.sounds.append(self.now_us + 1)

    def wait(self, us: int) -> None:
        self.now_us += us
        self.mono_us += us

    def hole(self, us: int, reason: str = "stall", spec: TrackSpec = TRACK) -> None:
        """The camera is away for `us`."""
        cause = Cause(State.CAMERA_OFFLINE, reason)
        self.writer.take([(self.state(spec), GapItem(self.now_us, self.now_us + us, cause))], self.now())
        self.wait(us)
        self.ticks[spec.track] = self.ticks.get(spec.track, 900_000) + us * 9 // 100
        self.part += 1

    def set_clock(self, us: int) -> None:
        """The recorder's wall clock is set."""
        self.now_us += us
        self.part += 1
        self.clock += 1

    def crash(self) -> None:
        """As after kill -9: no seal, no last word."""
        self.writer.ledger.close()
        self.log.close()

    def stop(self) -> None:
        assert self.writer.close(self.now()) == []
        self.log.close()

    def reader(self) -> Reader:
        return Reader.open_offline(self.volume, "main", lambda: self.now_us)

    def shown(self, spec: TrackSpec = TRACK) -> list[Shot]:
        """What can be shown, in the order it is shown."""
        there = [shot for shot in self.shots[spec.track] if not shot.leading]
        return sorted(there, key=lambda shot: (shot.gop, shot.time_us))


def _pattern(gop: int, bframes: bool, open_gop: bool) -> Iterator[tuple[int, bool]]:
    """(pts - dts in frames, shown before the key) in decode order: closed I P b b P b b, open I b b P b b."""
    if not bframes:
        yield from ((0, False) for _ in range(gop))
        return
    if open_gop:  # in the order shown: b b I b b P ...: key at 2, each anchor two later than decoded
        groups = (gop + 2) // 3
        shown = []
        for g in range(groups):
            shown += [3 * g + 2, 3 * g, 3 * g + 1]
        shown = [one for one in shown if one < gop] if gop >= 3 else list(range(gop))
        first = shown[0]
        for i, at in enumerate(shown):
            yield at - i + 2, at < first
        return
    shown = [0]
    at = 1
    while at < gop:
        run = min(3, gop - at)
        shown += [at + run - 1, *range(at, at + run - 1)]
        at += run
    for i, one in enumerate(shown):
        yield one - i + 2, False


class InlineStore:
    """Reads at once, on the test's own thread: virtual time stands meanwhile."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.reads = 0

    async def read(self, call: Callable[..., Any], *args: object) -> Any:
        self.reads += 1
        return call(*args)


class LoopClock:
    """The loop's virtual time."""

    def __init__(self, utc_us: int = T0) -> None:
        self.start_us = utc_us

    def monotonic_us(self) -> int:
        return round(asyncio.get_running_loop().time() * S)

    def utc_us(self) -> int:
        return self.start_us + self.monotonic_us()
