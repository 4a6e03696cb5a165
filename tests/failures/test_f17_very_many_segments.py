"""17. Millions of segment files, a hundred cameras.

Elsewhere lists of files were read and sorted for each question, and the timeline of a month took minutes. Ours: every
question goes through an index; what it costs does not depend on how much is there.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from mediadb.catalog import Catalog, SegmentRow
from mediadb.format.footer import TrackSummary
from mediadb.types import Names, TrackKind, TrackSpec

SEGMENTS, CAMERAS = 4_000, 90
S = 1_000_000
LENGTH_US = 300 * S
T0 = 1_790_000_000 * S


def spec(camera: int) -> TrackSpec:
    return TrackSpec(uuid.UUID(int=camera + 1), uuid.UUID(int=0xC000 + camera), uuid.UUID(int=0xB0), TrackKind.VIDEO)


def filled(path: Path, segments: int, cameras: int) -> Catalog:
    catalog = Catalog(path, "main")
    catalog._run("PRAGMA synchronous=OFF")
    for number in range(segments):
        first = T0 + number * LENGTH_US
        name = f"log/main/x/2026-09-{1 + number * 28 // segments:02}/20260901T000000Z-00000001-{number:06}"
        parts = [
            (spec(camera), Names(f"camera {camera}", "box"),
             TrackSummary(spec(camera).track, 1, 300, 0, 1, first, first + LENGTH_US, number * 300, number * 300 + 300,
                          7_500, 1 << 20, 0, 0, 4096, 30_000, 7), None)
            for camera in ([number % cameras] if number % 50 else range(cameras))
        ]  # fmt: skip
        catalog.add(SegmentRow(name, 1 << 28, uuid.UUID(int=number + 1), 1, 0), parts)
    return catalog


def work(catalog: Catalog, question: object) -> int:
    """Steps of the database's virtual machine, in hundreds."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    catalog._connection.set_progress_handler(count, 100)
    question()  # type: ignore[operator]
    catalog._connection.set_progress_handler(None, 0)
    return steps


def test_a_question_costs_the_same_however_much_there_is(tmp_path: Path) -> None:
    small, large = filled(tmp_path / "small.db", 150, CAMERAS), filled(tmp_path / "large.db", SEGMENTS, CAMERAS)
    track = spec(3).track
    at = T0 + 100 * LENGTH_US
    for ask in (
        lambda one: one.parts(track, at, at + LENGTH_US),
        lambda one: one.neighbours(track, at, 2, before=True),
        lambda one: one.neighbours(track, at, 2, before=False),
        lambda one: one.segments("log/main/x/2026-09-01"),
    ):
        few, many = work(small, lambda ask=ask: ask(small)), work(large, lambda ask=ask: ask(large))
        assert many <= 4 * few + 20, (few, many)
    rows = large.parts(track, T0, T0 + SEGMENTS * LENGTH_US)
    assert len(rows) == len({row.segment.name for row in rows}) > SEGMENTS // 60
    assert len(large.tracks()) == CAMERAS
    small.close()
    large.close()
