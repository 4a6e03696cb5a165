"""Storages made with the real writer, driven by hand: no thread, no clock."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mediadb.fs import RealFs
from mediadb.locks import OpenRequest, open_log
from mediadb.mp4.entries import avc1_entry
from mediadb.read.reader import Reader
from mediadb.types import (
    Cause,
    KeyType,
    Names,
    Sample,
    State,
    TrackConfig,
    TrackKind,
    TrackSpec,
)
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, GapItem, Now, TrackItem
from mediadb.write.recover import Recovery
from mediadb.write.segment_chunk import TrackState
from mediadb.write.store import LogWriter

S = 1_000_000
T0 = 1_790_000_000 * S
SERVER = uuid.UUID(int=7)
RECORDED = Cause(State.RECORDED)


def spec(number: int, kind: TrackKind = TrackKind.VIDEO) -> TrackSpec:
    return TrackSpec(uuid.UUID(int=number), uuid.UUID(int=100 + number), uuid.UUID(int=1000), kind)


ENTRY = avc1_entry(640, 360, [bytes.fromhex("6742c01e")], [bytes.fromhex("68ce3c80")])
VIDEO = TrackConfig("h264", 90_000, ENTRY, 640, 360, frame_ticks=3_600)


def payload(track: uuid.UUID, number: int, size: int = 600) -> bytes:
    """Bytes that say whose they are."""
    seed = hashlib.sha256(track.bytes + number.to_bytes(8, "big")).digest()
    return (number.to_bytes(8, "big") + seed * (size // 32 + 1))[:size]


class Told:
    """WriterEvents that remember."""

    def __init__(self) -> None:
        self.commits: list[object] = []
        self.troubles: list[tuple[str, dict[str, object]]] = []
        self.seals: list[Path] = []

    def committed(self, info: object) -> None:
        self.commits.append(info)

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.troubles.append((code, params))

    def sealed(self, path: Path) -> None:
        self.seals.append(path)

    def refused(self, track: uuid.UUID, size: int) -> None:
        raise AssertionError(f"a sample of {track} was refused")


@dataclass
class Recorder:
    """One run of a store on `volume`: 25 fps, a keyframe every second, one commit a second."""

    volume: Path
    storage: str = "main"
    run: int = 1
    start_us: int = T0
    segment_us: int = 10 * S
    options: StoreOptions = field(init=False)
    mono_us: int = 0

    def __post_init__(self) -> None:
        self.now_us = self.start_us
        self.fs = RealFs()
        request = OpenRequest(self.volume, self.storage, SERVER, self.run, self.start_us, create=True)
        self.log = open_log(self.fs, request)
        self.told = Told()
        self.options = StoreOptions(segment_us=self.segment_us, create=True)
        self.writer = LogWriter(self.log, SERVER, self.options, self.told, lambda job: job())
        self.writer.start(self.now())
        self.writer.recovered(Recovery(self.log, self.told.trouble, self.told.sealed).run(), self.now())
        self.frames: dict[uuid.UUID, int] = {}
        self.states: dict[uuid.UUID, TrackState] = {}

    def now(self) -> Now:
        return Now(self.now_us, self.mono_us)

    def state(self, track: TrackSpec, config: TrackConfig = VIDEO) -> TrackState:
        known = self.states.get(track.track)
        if known is None:
            names = Names(f"cam {track.track.int}", "box")
            known = self.states[track.track] = self.writer.track_state(track, names)
            items = [(known, TrackItem(track, names)), (known, ConfigItem(config))]
            self.writer.take(items, self.now())
            self.cover(track, RECORDED)
        return known

    def cover(self, track: TrackSpec, cause: Cause) -> None:
        self.writer.take([(self.state(track), CoverItem(self.now_us, cause))], self.now())

    def gap(self, track: TrackSpec, start_us: int, end_us: int, cause: Cause) -> None:
        self.writer.take([(self.state(track), GapItem(start_us, end_us, cause))], self.now())

    def wait(self, seconds: float) -> None:
        self.now_us += round(seconds * S)
        self.mono_us += round(seconds * S)

    def film(self, seconds: int, *tracks: TrackSpec, commit: bool = True) -> None:
        """One second at a time: 25 samples of every track, then a commit."""
        for _ in range(seconds):
            for i in range(25):
                for track in tracks:
                    state = self.state(track)
                    number = self.frames.get(track.track, 0)
                    self.frames[track.track] = number + 1
                    at = self.now_us + i * 40_000
                    key = KeyType.IDR if i == 0 else KeyType.DELTA
                    dts = (at - self.start_us) * 9 // 100
                    sample = Sample(payload(track.track, number), dts, dts, key, at, cam_us=at + 5)
                    self.writer.take([(state, sample)], self.now())
            self.wait(1)
            if commit:
                self.writer.commit(self.now())

    def stop(self) -> list[str]:
        """A clean stop."""
        lost = self.writer.close(self.now())
        self.log.close()
        return lost

    def crash(self) -> None:
        """What a killed process leaves: an unsealed segment and no last word."""
        self.writer.ledger.close()
        self.log.close()

    def reader(self) -> Reader:
        return Reader(self.volume, self.storage, lambda: self.now_us, live=self.writer)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "vol"


@pytest.fixture
def recorder(volume: Path) -> Callable[..., Recorder]:
    def make(**more: object) -> Recorder:
        return Recorder(volume, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture
def finished(volume: Path) -> Path:
    """A stopped storage: two cameras, 25 s, three segments."""
    made = Recorder(volume)
    made.film(25, spec(1), spec(2))
    assert made.stop() == []
    return volume


def offline(volume: Path, now_us: int = T0 + 3600 * S) -> Reader:
    return Reader.open_offline(volume, None, lambda: now_us)
