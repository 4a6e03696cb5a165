"""A writer without threads on any file system, its content known by number, and the check of what came back.

The content of sample n of a track is a function of (track, n), so that wrong bytes are seen whatever their place.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import oracle

from mediadb.fs import Fs
from mediadb.locks import LogHandle, OpenRequest, open_log
from mediadb.types import KeyType, Names, Sample, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import CommitInfo, StoreOptions
from mediadb.write.items import ConfigItem, Item, Now
from mediadb.write.recover import Recovery
from mediadb.write.segment_chunk import TrackState
from mediadb.write.store import LogWriter

ROOT = Path("/vol")
SERVER = uuid.UUID(int=0x5E)
T0 = 1_700_000_000_000_000
TICKS = 3600
FRAME_US = 40_000
VIDEO = TrackConfig("h264", 90_000, b"\0\0\0\x08avc1", 640, 480, frame_ticks=TICKS)
AUDIO = TrackConfig("pcmu", 8_000, b"\0\0\0\x08ulaw", sample_rate=8000, channels=1, frame_ticks=320)


def track_id(number: int) -> uuid.UUID:
    return uuid.UUID(int=0x7000 + number)


def video_spec(number: int) -> TrackSpec:
    return TrackSpec(track_id(number), uuid.UUID(int=0xC0), uuid.UUID(int=0xA0), TrackKind.VIDEO)


def content(track: uuid.UUID, number: int, size: int) -> bytes:
    """`size` bytes that say whose they are."""
    head = number.to_bytes(4, "big") + hashlib.sha256(track.bytes + number.to_bytes(8, "big")).digest()
    return (head * (size // len(head) + 1))[:size]


def frame(track: uuid.UUID, number: int, gop: int = 10, size: int = 300, base_us: int = T0) -> Sample:
    """Sample n of a 25-fps track; every `gop`-th is an IDR, B-frame order in pts."""
    key = number % gop == 0
    dts = number * TICKS
    pts = dts + (0 if key else (2, 0, 1)[number % 3] * TICKS)
    kind = KeyType.IDR if key else KeyType.DELTA
    return Sample(content(track, number, size * (3 if key else 1)), pts, dts, int(kind), base_us + number * FRAME_US)


class Rig:
    """One opening of one log. `acked[track]` counts samples that were acknowledged; troubles are kept."""

    def __init__(
        self,
        fs: Fs,
        options: StoreOptions | None = None,
        root: Path = ROOT,
        start_us: int = T0,
        run: int | None = None,
        beside: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.fs, self.root = fs, root
        self.options = options or StoreOptions(create=True)
        self.utc_us, self.mono_us, self.clock_run = start_us, start_us - T0, 0
        self.acked: dict[uuid.UUID, int] = {}
        self.commits: list[CommitInfo] = []
        self.troubles: list[tuple[str, dict[str, object]]] = []
        self.sealed_paths: list[Path] = []
        self.refused_bytes = 0
        request = OpenRequest(root, "main", SERVER, run or start_us % 999_983 + 1, start_us, True)
        self.log: LogHandle = open_log(fs, request)
        self.writer = LogWriter(self.log, SERVER, self.options, self, beside or (lambda job: job()))
        self.writer.start(self.now)
        self.tracks: dict[uuid.UUID, TrackState] = {}

    @property
    def now(self) -> Now:
        return Now(self.utc_us, self.mono_us, self.clock_run)

    def recover(self) -> None:
        self.writer.recovered(Recovery(self.log, self.trouble, self.sealed).run(), self.now)

    def track(self, number: int = 0) -> TrackState:
        spec = video_spec(number)
        if spec.track not in self.tracks:
            self.tracks[spec.track] = self.writer.track_state(spec, Names("cam", "hw"))
            self.put(self.tracks[spec.track], ConfigItem(VIDEO))
        return self.tracks[spec.track]

    def put(self, track: TrackState, *items: Item) -> None:
        self.writer.take([(track, item) for item in items], self.now)

    def frames(self, first: int, count: int, number: int = 0, **kwargs: int) -> None:
        """Samples first..first+count of a video track."""
        track = self.track(number)
        self.put(track, *(frame(track.spec.track, n, **kwargs) for n in range(first, first + count)))

    def commit(self, us: int = 1_000_000) -> None:
        self.utc_us += us
        self.mono_us += us
        self.writer.commit(self.now)

    def close(self) -> list[str]:
        lost = self.writer.close(self.now)
        self.log.close()
        return lost

    # events
    def committed(self, info: CommitInfo) -> None:
        self.commits.append(info)
        for track, fact in info.tracks.items():
            self.acked[track] = self.acked.get(track, 0) + fact.samples

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.troubles.append((code, params))

    def refused(self, track: uuid.UUID, size: int) -> None:
        self.refused_bytes += size

    def sealed(self, path: Path) -> None:
        self.sealed_paths.append(path)


def read_all(fs: Fs, path: Path) -> bytes:
    fd = fs.open_read(path)
    try:
        return fs.pread(fd, fs.fstat(fd).size, 0)
    finally:
        fs.close(fd)


def segment_paths(fs: Fs, root: Path = ROOT) -> list[Path]:
    """All segment files of a volume with one storage, oldest first."""
    out = []
    for storage in fs.listdir(root / "log"):
        base = root / "log" / storage
        for log in fs.listdir(base):
            for day in fs.listdir(base / log):
                names = fs.listdir(base / log / day)
                out += [base / log / day / name for name in names if name.endswith((".open", ".rseg"))]
    return sorted(out)


def numbers(fs: Fs, track: uuid.UUID, root: Path = ROOT) -> list[int]:
    """Sample numbers of a track in all segments, by the oracle: sealed ones by their footer, open ones by their
    blocks, superseded commits left out. Every byte is compared with what was written."""
    files = [(path, read_all(fs, path)) for path in segment_paths(fs, root)]
    void = {}
    for _, raw in files:
        for block in oracle.blocks(raw) if len(raw) >= oracle.PAGE else []:
            if block.supersedes:
                void[block.supersedes[0]] = block.supersedes[1:]
    out: list[int] = []
    for path, raw in files:
        if len(raw) <= oracle.PAGE:
            continue
        for chunk in _chunks(path, raw, track, void):
            for data, *_ in chunk.samples:
                number = int.from_bytes(data[:4], "big")
                assert data == content(track, number, len(data)), f"wrong bytes in {path} chunk seq {chunk.seq}"
                out.append(number)
    return out


def _chunks(path: Path, raw: bytes, track: uuid.UUID, void: dict[bytes, tuple[int, int]]) -> list[oracle.Chunk]:
    if path.suffix == ".rseg":
        rows = oracle.footer_chunks(raw).get(track.bytes, [])
        chunks = [oracle.parse_chunk(raw[at : at + length], at) for _, at, length in rows]
        assert all(chunk is not None for chunk in chunks), f"{path}: a listed chunk does not verify"
        found = [chunk for chunk in chunks if chunk is not None]
    else:
        first = void.get(oracle.segment_header(raw)["segment"])  # type: ignore[call-overload]
        found = []
        for block in oracle.blocks(raw):
            if first is not None and (block.epoch, block.counter) >= first:
                break
            found += [c for c in block.chunks if c.track == track.bytes and c.kind in oracle.MEDIA]
    return sorted(found, key=lambda chunk: chunk.seq)
