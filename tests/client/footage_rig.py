"""Footage made by the media database's own writer without threads: of any length, its content known by number."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mediadb.fs import RealFs
from mediadb.locks import OpenRequest, open_log
from mediadb.mp4.entries import avc1_entry
from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import CommitInfo, StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, Now, TrackItem
from mediadb.write.store import LogWriter
from recorderd.engine.stream import track_id

S = 1_000_000
HZ = 90_000
SERVER = uuid.UUID(int=1)
HARDWARE = uuid.UUID(int=0x500)
_ENTRY = avc1_entry(640, 480, [bytes.fromhex("6742c01e")], [bytes.fromhex("68ce3c80")])


@dataclass(frozen=True)
class Recipe:
    """`seconds` of `fps` pictures from `start_us` on, a key every `gop` pictures; pictures of `size` bytes, keys four
    times that. `holes`: (first, last + 1) picture numbers that were not recorded, at GOP boundaries."""

    camera: uuid.UUID
    start_us: int
    seconds: int
    fps: int = 5
    gop: int = 10
    size: int = 64
    holes: tuple[tuple[int, int], ...] = ()
    commit_s: int = 10

    @property
    def track(self) -> uuid.UUID:
        return track_id(self.camera, "main", TrackKind.VIDEO)

    @property
    def frames(self) -> int:
        return self.seconds * self.fps

    def time_us(self, number: int) -> int:
        return self.start_us + number * S // self.fps

    def missing(self, number: int) -> bool:
        return any(first <= number < end for first, end in self.holes)

    def shown(self, time_us: int) -> int:
        """Number of the picture on the screen at `time_us`."""
        number = min((time_us - self.start_us) * self.fps // S, self.frames - 1)
        for first, end in self.holes:
            if first <= number < end:
                return first - 1
        return number

    def data(self, number: int) -> bytes:
        """An access unit of one NAL unit: the number, then bytes that follow from it."""
        size = self.size * (4 if number % self.gop == 0 else 1)
        head = b"\x65" + number.to_bytes(8, "big") + hashlib.sha256(self.camera.bytes + b"%d" % number).digest()
        body = (head * (size // len(head) + 1))[: size - 4]
        return len(body).to_bytes(4, "big") + body

    def samples(self, first: int, end: int) -> list[Sample]:
        ticks = HZ // self.fps
        return [
            Sample(self.data(n), n * ticks, n * ticks, int(KeyType.DELTA if n % self.gop else KeyType.IDR),
                   self.time_us(n))
            for n in range(first, end)
            if not self.missing(n)
        ]  # fmt: skip


def number_of(data: bytes | memoryview) -> int:
    """The picture's number, from its bytes."""
    return int.from_bytes(data[5:13], "big")


class _QuickFs(RealFs):
    """Nothing here has to outlive the machine."""

    def fdatasync(self, fd: int) -> None:
        pass


class _Events:
    def committed(self, info: CommitInfo) -> None: ...

    def sealed(self, path: Path) -> None: ...

    def trouble(self, code: str, params: dict[str, object]) -> None:
        raise AssertionError(f"{code} {params}")

    def refused(self, track: uuid.UUID, size: int) -> None:
        raise AssertionError(f"refused {size} bytes")


def record(volume: Path, recipes: Iterable[Recipe], owner: uuid.UUID = SERVER, segment_us: int = 300 * S) -> None:
    """Write the recipes' footage to the storage `main`, one after the other in time order of their start."""
    made = list(recipes)
    start = min(one.start_us for one in made)
    create = not (volume / "log").exists()
    log = open_log(_QuickFs(), OpenRequest(volume, "main", owner, start % 999_983 + 1, start, create))
    writer = LogWriter(log, owner, StoreOptions(segment_us=segment_us), _Events(), lambda job: job())
    writer.start(Now(start, start))
    for one in made:
        _write(writer, one)
    end = max(one.time_us(one.frames) for one in made)
    assert writer.close(Now(end, end)) == []
    log.close()


def _write(writer: LogWriter, recipe: Recipe) -> None:
    config = TrackConfig("h264", HZ, _ENTRY, 640, 480, frame_ticks=HZ // recipe.fps, codec_string="avc1.42c01e")
    spec = TrackSpec(recipe.track, recipe.camera, HARDWARE, TrackKind.VIDEO, "main")
    state = writer.track_state(spec, Names("gate", "box"))
    now = Now(recipe.start_us, recipe.start_us)
    about = (TrackItem(spec, state.names), ConfigItem(config), CoverItem(recipe.start_us, Cause(State.RECORDED)))
    writer.take([(state, item) for item in about], now)
    for second in range(0, recipe.seconds, recipe.commit_s):
        first, end = second * recipe.fps, min(second + recipe.commit_s, recipe.seconds) * recipe.fps
        at = recipe.time_us(end)
        writer.take([(state, sample) for sample in recipe.samples(first, end)], Now(at, at))
        writer.commit(Now(at, at))
