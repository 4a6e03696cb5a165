"""One camera, the engine's recorder and the real store on a clock that tests move by hand.

Every picture says its number; what is served is compared by number. Two clocks: `monotonic` always runs on, `utc` is
stepped as an administrator or a time service would.
"""

from __future__ import annotations

import itertools
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivers.synthetic import clip
from mediadb.aio import AsyncStore, StoreOptions
from mediadb.read.reader import Reader
from mediadb.types import Interval, Names, State, TrackKind
from recorderd.core.clock import FakeClock
from recorderd.daemon.engine_store import EngineStore
from recorderd.driverapi.base import StreamRequest
from recorderd.engine.coverage import STOPPED
from recorderd.engine.storage import StorageWatch
from recorderd.engine.stream import StreamParts, StreamRecorder
from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType

S = 1_000_000
MINUTE, HOUR, DAY = 60 * S, 3_600 * S, 86_400 * S
YEAR = 365 * DAY
T0 = 1_790_000_000 * S
CAMERA, HARDWARE = uuid.UUID(int=0x100), uuid.UUID(int=0x500)  # `gate` of the server scenes
FPS, GOP = 2, 4
FRAME_US = S // FPS
VIDEO = replace(clip.video_config(clip.read_clip()[0], FPS), frame_ticks=90_000 // FPS)
FILLER = 12  # NAL unit type whose content no decoder looks at


class Events:
    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, object]]] = []

    def emit(self, code: str, *, camera: Any = None, hardware: Any = None, params: Any = None) -> None:
        self.all.append((code, dict(params or {})))

    def of(self, code: str) -> list[dict[str, object]]:
        return [params for one, params in self.all if one == code]


def picture(number: int, key: bool) -> bytes:
    """A picture of the synthetic clip with its number in a filler unit behind it."""
    unit = bytes([FILLER]) + struct.pack(">Q", number)
    return clip.read_clip()[0 if key else 1] + struct.pack(">I", len(unit)) + unit


def number_of(data: bytes) -> int:
    number: int = struct.unpack(">Q", data[-8:])[0]
    assert data in (picture(number, True), picture(number, False)), "other bytes than were sent"
    return number


@dataclass
class World:
    """A recorder on one volume. `sent` are the numbers of all pictures that came while it ran."""

    volume: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(T0))
    options: StoreOptions = field(
        default_factory=lambda: StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, segment_us=5 * MINUTE)
    )
    sent: list[int] = field(default_factory=list)
    times: dict[int, int] = field(default_factory=dict)  # recorder UTC of each
    events: Events = field(default_factory=Events)
    steps: list[int] = field(default_factory=list)
    media_us: int = 0  # of the camera's own clock
    connected: bool = False
    paused: bool = False  # connected, and nothing comes
    lived: dict[int, set[str]] = field(default_factory=dict)  # states by recorder UTC of each picture's place
    store: AsyncStore | None = None
    _second: int = 0
    _untold: bool = False

    async def start(self) -> World:
        watch = StorageWatch("main", str(self.volume), self.clock, self.events)
        self.store = await AsyncStore.open(
            self.volume, "main", server=uuid.UUID(int=1), clock=self.clock, options=self.options, listener=watch
        )
        await self.store.read(len, ())
        watch.opened(EngineStore(self.store))
        parts = StreamParts(
            CAMERA, HARDWARE, Names("gate", "box"), watch.store, self.clock,
            lambda code, params: self.events.emit(code, params=params), StreamRequest(0, "main", "", True, False), True,
        )  # fmt: skip
        self.stream = StreamRecorder(parts, 0)
        watch.join(self.stream)
        self.stream.record(True, 0)
        self.connect()
        return self

    @property
    def track(self) -> uuid.UUID:
        return self.stream.video.spec.track

    @property
    def state(self) -> str:
        return "offline" if not self.connected or self.paused else "media"

    def connect(self) -> None:
        self.connected = True
        self.stream.opened()

    def disconnect(self, reason: str = "refused") -> None:
        self.connected = False
        self.stream.closed(reason, {})

    def unit(self) -> None:
        number = len(self.sent)
        key = number % GOP == 0 or not self.stream.video._live
        self.sent.append(number)
        self.times[number] = self.clock.utc_us()
        ticks = self.media_us * 9 // 100 + 900_000
        kind = UnitType.IDR if key else UnitType.DELTA
        now, mono = self.clock.utc_us(), self.clock.monotonic_us()
        self.stream.unit(MediaKind.VIDEO, AccessUnit(picture(number, key), ticks, ticks, kind, now, mono, VIDEO))

    async def run(self, us: int) -> None:
        """Time passes; pictures come when the camera is connected; a tick a second, a commit every ten."""
        for _ in range(us // FRAME_US):
            self.lived.setdefault(self.clock.utc_us(), set()).add(self.state)
            if self.connected and not self.paused:
                self.unit()
            self.clock.advance(FRAME_US)
            self.media_us += FRAME_US
            self._second += FRAME_US
            if self._second % S == 0:
                self.stream.tick(self.clock.monotonic_us())
            if self._second % (10 * S) == 0 or (self._untold and self._second % S == 0):
                await self.flush()
        await self.flush()

    async def flush(self) -> None:
        assert self.store is not None
        self._untold = False
        await self.store.flush()

    async def stop(self) -> None:
        assert self.store is not None
        self.stream.stop(STOPPED, "server-stopping")
        assert await self.store.close() == []
        self.store = None

    async def restart(self, down_us: int, step_us: int = 0) -> None:
        await self.stop()
        self.clock.advance(down_us)
        self.media_us += down_us
        self.clock.step(step_us)
        await self.start()

    async def step(self, us: int, told: bool = True) -> None:
        """The wall clock is set. `told`: the store looks at its clocks now, as it does four times a second; else within
        the second."""
        self.clock.step(us)
        self.steps.append(us)
        self._untold = not told
        if told:
            await self.flush()

    # -- what is served ------------------------------------------------------------------------------------------

    def reader(self) -> Reader:
        if self.store is not None:
            return self.store.reader
        return Reader.open_offline(self.volume, "main", self.clock.utc_us)

    def served(self, start_us: int = 0, end_us: int = 1 << 61) -> list[int]:
        """Numbers of all pictures of a range, in the order they are given."""
        reader = self.reader()
        return [
            number_of(sample.data)
            for ref in reader.chunks(self.track, start_us, end_us)
            for sample in reader.read(ref).samples
        ]

    def coverage(self, start_us: int, end_us: int) -> list[Interval]:
        found = self.reader().coverage([self.track], start_us, end_us)[self.track]
        assert found[0].start_us == start_us
        assert found[-1].end_us == end_us
        assert all(a.end_us == b.start_us for a, b in itertools.pairwise(found))
        return found

    def words(self, start_us: int, end_us: int) -> list[tuple[float, float, str, str]]:
        """Coverage in seconds since T0."""
        return [
            ((one.start_us - T0) / S, (one.end_us - T0) / S, str(one.cause.state), one.cause.reason)
            for one in self.coverage(start_us, end_us)
        ]


def unexplained(intervals: list[Interval]) -> list[Interval]:
    return [one for one in intervals if one.cause.state is State.UNEXPLAINED]


Check = Callable[[World], None]
KIND = TrackKind.VIDEO
