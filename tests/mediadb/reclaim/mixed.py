"""A storage whose cameras are kept for different lengths of time: written by the real writer, driven by hand."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rig import T0, VIDEO, Rig, track_id

from mediadb.fs import Fs
from mediadb.gone import removed_tracks
from mediadb.ledger import LedgerWriter
from mediadb.read.reader import Reader
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.segment_files import read_footer
from mediadb.types import Cause, Names, State, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, CoverItem
from mediadb.write.retention import CameraLimits
from mediadb.write.segment_chunk import TrackState

S = 1_000_000
PLENTY = (1 << 40, 1 << 41)
RECORDED = Cause(State.RECORDED)


def camera_id(number: int) -> uuid.UUID:
    return uuid.UUID(int=0xC000 + number)


def limits(**seconds: int | None) -> dict[uuid.UUID, CameraLimits]:
    """`c0=10`: camera 0 is kept ten seconds."""
    return {
        camera_id(int(name[1:])): CameraLimits(None if length is None else length * S)
        for name, length in seconds.items()
    }


class Mixed(Rig):
    """Track n belongs to camera n. A segment lasts ten seconds, a commit one."""

    def __init__(
        self, fs: Fs, root: Path, cameras: Mapping[uuid.UUID, CameraLimits], start_us: int = T0, run: int | None = None
    ) -> None:
        options = StoreOptions(create=True, segment_us=10 * S, segment_bytes=2 << 20, limits=cameras)
        super().__init__(fs, options, root, start_us, run)

    def track(self, number: int = 0) -> TrackState:
        spec = TrackSpec(track_id(number), camera_id(number), uuid.UUID(int=0xA0), TrackKind.VIDEO)
        if spec.track not in self.tracks:
            self.tracks[spec.track] = self.writer.track_state(spec, Names(f"cam {number}", "hw"))
            self.put(self.tracks[spec.track], ConfigItem(VIDEO), CoverItem(self.utc_us, RECORDED))
        return self.tracks[spec.track]

    def film(self, seconds: int, cameras: int, size: int = 2000) -> None:
        """All cameras, a second at a time, 25 frames each."""
        first = (self.utc_us - T0) // 40_000
        for second in range(seconds):
            for number in range(cameras):
                self.frames(first + second * 25, 25, number, size=size)
            self.commit()


def reclaimer(fs: Fs, root: Path, cameras: Mapping[uuid.UUID, CameraLimits], **others: int) -> Reclaimer:
    folder = next(root / "log" / "main" / name for name in fs.listdir(root / "log" / "main"))
    ledger = LedgerWriter(fs, root / "ledger" / "main" / folder.name, 99, 2)
    options = replace(ReclaimOptions(), cameras=dict(cameras), **others)  # type: ignore[arg-type]
    return Reclaimer(fs, folder, ledger, options, lambda: PLENTY, ClockBrake(None))


def reader(fs: Fs, root: Path) -> Reader:
    """With a catalog in memory."""
    return Reader(root, "main", lambda: T0 + 3600 * S, fs=fs, cache=False)


def states(fs: Fs, root: Path, number: int, end_us: int) -> list[tuple[float, float, str, str]]:
    """Coverage of a camera since the start: from and to in seconds, state, reason."""
    made = reader(fs, root)
    found = made.coverage([track_id(number)], T0, end_us)[track_id(number)]
    made.close()
    return [((i.start_us - T0) / S, (i.end_us - T0) / S, str(i.cause.state), i.cause.reason) for i in found]


def left_in(fs: Fs, path: Path) -> set[int]:
    """Numbers of the cameras of which a sealed segment holds footage."""
    fd = fs.open_read(path)
    try:
        head, _ = read_footer(fs, fd)
    finally:
        fs.close(fd)
    gone = removed_tracks(fs, path.with_suffix(".gone"))
    return {track.track.int - 0x7000 for track in head.tracks if track.track not in gone}
