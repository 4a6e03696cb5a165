"""A small volume with every kind of file in it, and what every sample of it must be.

Made by the product's own writer: two runs (the first stopped, the second killed, so a segment is unsealed), two tracks,
a lane, a removal that was interrupted behind its intent, and LOG and ledger of both.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from mediadb.gone import GONE, write_done, write_intent
from mediadb.locks import LogHandle, OpenRequest, open_log
from mediadb.mp4.entries import avc1_entry
from mediadb.segment_files import read_footer, read_track
from mediadb.types import Cause, KeyType, Names, Origin, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, GapItem, Item, Now, TrackItem
from mediadb.write.lane import LanePlace, LaneWriter
from mediadb.write.recover import Recovery
from mediadb.write.store import LogWriter
from tests.mutate.memory import MemoryFs

S = 1_000_000
ROOT = Path("/vol")
SERVER = uuid.UUID(int=0x5E)
T0 = 1_790_000_000 * S
STORAGE = "main"
FPS = 5
TICKS = 90_000 // FPS
ENTRY = avc1_entry(640, 360, [bytes.fromhex("6742c01e")], [bytes.fromhex("68ce3c80")])
VIDEO = TrackConfig("h264", 90_000, ENTRY, 640, 360, frame_ticks=TICKS)
SPECS = [
    TrackSpec(uuid.UUID(int=0x100 + n), uuid.UUID(int=0x200 + n), uuid.UUID(int=0x300), TrackKind.VIDEO) for n in (0, 1)
]
Place = tuple[uuid.UUID, int]  # track, time in us


def content(track: uuid.UUID, at_us: int) -> bytes:
    """The bytes of the sample of `track` at that time: nobody else's."""
    at = at_us.to_bytes(8, "big", signed=True)
    seed = hashlib.sha256(track.bytes + at).digest()
    return (at + seed)[: 24 + seed[0] % 16]


@dataclass
class Events:
    """WriterEvents and recovery's troubles."""

    troubles: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def committed(self, info: object) -> None:
        pass

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.troubles.append((code, params))

    def sealed(self, path: Path) -> None:
        pass

    def refused(self, track: uuid.UUID, size: int) -> None:
        raise AssertionError(f"a sample of {track} was refused")


class Run:
    """One opening of the log: five samples a second of each track, a commit a second."""

    def __init__(self, fs: MemoryFs, run: int, start_us: int, segment_us: int = 3 * S) -> None:
        self.fs, self.now_us, self.start_us, self.mono_us = fs, start_us, start_us, 0
        self.events = Events()
        self.log: LogHandle = open_log(fs, OpenRequest(ROOT, STORAGE, SERVER, run, start_us, create=True))
        options = StoreOptions(segment_us=segment_us, create=True)
        self.writer = LogWriter(self.log, SERVER, options, self.events, lambda job: job())
        self.writer.start(self.now())
        recovery = Recovery(self.log, self.events.trouble, self.events.sealed)
        self.writer.recovered(recovery.run(), self.now())
        self.places: set[Place] = set()

    def now(self) -> Now:
        return Now(self.now_us, self.mono_us)

    def film(self, seconds: int) -> None:
        for _ in range(seconds):
            for spec in SPECS:
                self._second(spec)
            self.now_us += S
            self.mono_us += S
            self.writer.commit(self.now())

    def _second(self, spec: TrackSpec) -> None:
        state = self.writer.track_state(spec, Names(f"cam {spec.track.int & 15}", "box"))
        if not state.config.timebase_hz:
            items: list[Item] = [
                TrackItem(spec, state.names), ConfigItem(VIDEO), CoverItem(self.now_us, Cause(State.RECORDED)),
            ]  # fmt: skip
            self.writer.take([(state, item) for item in items], self.now())
        for n in range(FPS):
            self.writer.take([(state, sample_of(spec.track, self.now_us, n, self.start_us))], self.now())
            self.places.add((spec.track, self.now_us + n * S // FPS))

    def gap(self) -> None:
        cause = Cause(State.OVERLOAD_SHED, "memory-budget")
        for spec in SPECS:
            state = self.writer.track_state(spec, Names("", ""))
            self.writer.take([(state, GapItem(self.now_us, self.now_us + S // 2, cause))], self.now())

    def kill(self) -> None:
        self.writer.ledger.close()
        self.log.close()

    def stop(self) -> None:
        self.writer.close(self.now())
        self.log.close()


def sample_of(track: uuid.UUID, second_us: int, n: int, zero_us: int) -> Sample:
    at = second_us + n * S // FPS
    dts = (at - zero_us) * 9 // 100
    return Sample(content(track, at), dts, dts, KeyType.DELTA if n else KeyType.IDR, at)


@dataclass(frozen=True)
class Volume:
    """`files` of the volume, `older` contents that some of them had before, and where each sample is from."""

    files: dict[Path, bytes]
    older: dict[Path, bytes]
    places: frozenset[Place]
    end_us: int


def make() -> Volume:
    """Always the same bytes: what the writer draws at random is drawn from a seed here."""
    rng = random.Random(7)
    with (
        mock.patch.object(uuid, "uuid4", side_effect=lambda: uuid.UUID(int=rng.getrandbits(128), version=4)),
        mock.patch.object(os, "urandom", rng.randbytes),
        mock.patch.object(secrets, "randbits", rng.getrandbits),
    ):
        return _make()


def _make() -> Volume:
    fs = MemoryFs()
    first = Run(fs, 0x11, T0)
    first.film(7)
    first.stop()
    second = Run(fs, 0x22, T0 + 20 * S)
    second.film(4)
    second.gap()
    second.film(1)
    older = fs.content()
    second.film(1)
    second.kill()
    lane = _lane(fs, second)
    _interrupted_removal(fs)
    gone = _thinned(fs)
    return Volume(fs.content(), older, frozenset((first.places | second.places | lane) - gone), second.now_us)


def _lane(fs: MemoryFs, run: Run) -> set[Place]:
    identity = run.log.identity
    place = LanePlace(ROOT, STORAGE, identity.volume, SERVER, identity.log, Origin.EDGE)
    start = T0 + 10 * S
    with LaneWriter(fs, place, SPECS[0], Names("cam 0", "box")) as lane:
        lane.config(VIDEO)
        for second in range(3):
            lane.extend(sample_of(SPECS[0].track, start + second * S, n, start) for n in range(FPS))
            lane.commit(start + second * S)
    return {(SPECS[0].track, start + second * S + n * S // FPS) for second in range(3) for n in range(FPS)}


def _interrupted_removal(fs: MemoryFs) -> None:
    """The intent to remove the first segment is durable, nothing else happened."""
    path = min(path for path in fs.content() if path.suffix == ".rseg" and "archive" not in path.parts)
    segment = str(uuid.UUID(bytes=fs.content()[path][32:48]))
    body: dict[str, object] = {
        "segment": segment, "name": path.with_suffix("").name, "state": "deleted", "rule": "age", "bytes": 1,
        "tracks": [],
    }  # fmt: skip
    write_intent(fs, path.with_suffix(GONE), body, T0 + 30 * S)


def _thinned(fs: MemoryFs) -> set[Place]:
    """The second track was taken out of the second segment: its journal is done, its bytes are holes."""
    path = next(path for path in fs.content() if path.name.endswith("-00000001-000001.rseg"))
    track = SPECS[1].track
    fd = fs.open_write(path)
    head, _ = read_footer(fs, fd)
    media = read_track(fs, fd, next(summary for summary in head.tracks if summary.track == track))[1]
    ranges = [list(one) for one in zip(media.offset, media.length, strict=True)]
    body: dict[str, object] = {
        "segment": str(head.segment), "name": path.stem, "state": "deleted", "rule": "age", "bytes": 1,
        "ranges": ranges, "tracks": [{"track": str(track), "spans": [[T0 + 3 * S, T0 + 6 * S]]}],
    }  # fmt: skip
    write_intent(fs, path.with_suffix(GONE), body, T0 + 30 * S)
    for offset, length in ranges:
        fs.punch(fd, offset, length)
    fs.close(fd)
    write_done(fs, path.with_suffix(GONE), T0 + 30 * S)
    return {(track, T0 + second * S + n * S // FPS) for second in range(3, 6) for n in range(FPS)}
