"""What is in a storage, by frame number: read with the database's reader, judged by the harness's own marker check."""

from __future__ import annotations

import time
from pathlib import Path

from mediadb.reader import Reader
from mediadb.types import TrackKind
from tests.e2e.harness import marker


def open_reader(volume: Path, storage: str = "main") -> Reader:
    return Reader.open_offline(volume, storage, lambda: time.time_ns() // 1000)


def storage_tracks(volume: Path, storage: str = "main") -> dict[str, str]:
    """Camera name -> camera id of every camera with footage."""
    return {info.names.camera: str(info.spec.camera) for info in open_reader(volume, storage).tracks()}


def committed_frames(volume: Path, camera: str, storage: str = "main") -> set[tuple[int, int]]:
    """(camera number, frame number) of every main video sample of a camera; fails on a frame given back twice."""
    reader = open_reader(volume, storage)
    frames: list[tuple[int, int]] = []
    for info in reader.tracks():
        if info.names.camera == camera and info.spec.kind is TrackKind.VIDEO and info.spec.stream == "main":
            for reference in reader.chunks(info.spec.track, 0, 2**62):
                frames += [m for sample in reader.read(reference).samples if (m := marker(sample.data)) is not None]
    assert len(frames) == len(set(frames)), f"{camera}: a frame is there twice"
    return set(frames)
