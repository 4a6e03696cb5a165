"""What is in a storage, by frame number: read with the database's reader, judged by the harness's own marker check."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from mediadb.read.reader import Reader
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


def committed_sounds(volume: Path, camera: str, storage: str = "main") -> int:
    """How many audio samples of a camera's main stream there are; fails when their times do not rise."""
    reader = open_reader(volume, storage)
    times: list[int] = []
    for info in reader.tracks():
        if info.names.camera == camera and info.spec.kind is TrackKind.AUDIO and info.spec.stream == "main":
            for reference in reader.chunks(info.spec.track, 0, 2**62):
                times += [sample.pts for sample in reader.read(reference).samples]
    assert all(a < b for a, b in pairwise(times)), f"{camera}: sound is out of order"
    return len(times)
