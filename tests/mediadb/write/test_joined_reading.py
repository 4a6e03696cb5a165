"""Footage that lies in two storages is read as one: coverage, chunks, keys; and what one of them lacks is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import rig
from test_async_store import feed, read_numbers, video
from test_store_fallback import pair

from mediadb.aio import AsyncStore
from mediadb.read.joined import overlay
from mediadb.read.reader import Span
from mediadb.types import Cause, Interval, State

TRACK = rig.track_id(0)


async def states(store: AsyncStore, end: int) -> list[State]:
    found = await store.read(store.reader.coverage, [TRACK], rig.T0, rig.T0 + end * rig.FRAME_US)
    intervals = found[TRACK]
    assert intervals[0].start_us == rig.T0
    assert intervals[-1].end_us == rig.T0 + end * rig.FRAME_US
    assert all(a.end_us == b.start_us for a, b in zip(intervals, intervals[1:], strict=False))
    return [interval.cause.state for interval in intervals]


async def test_out_and_home_is_one_film(tmp_path: Path) -> None:
    mount, home, host, ears = await pair(tmp_path, ahead_us=60_000_000)  # all of it is in the past
    writer = video(home)
    feed(writer, 0, 15)
    await home.flush()
    reader = home.reader
    mount.take()
    feed(writer, 15, 12)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    feed(writer, 27, 13)
    await home.flush()
    await host.flush()
    assert await home.read(read_numbers, home) == list(range(20 - 5, 40)), "what the other one has is shown"
    assert await states(home, 40) == [State.STORAGE_ERROR, State.RECORDED]
    mount.give_back()
    await ears.until(lambda: "storage-recovered" in ears.troubles)
    number = 40
    while home.abroad:
        feed(writer, number, 1)
        number += 1
        await asyncio.sleep(0.01)
    feed(writer, number, 6)
    number += 6
    await home.flush()
    await host.flush()
    assert home.reader is reader
    assert await home.read(read_numbers, home) == list(range(number))
    assert await states(home, number) == [State.RECORDED]
    assert await home.read(reader.spans, TRACK, rig.T0, rig.T0 + number * rig.FRAME_US) == [
        Span(rig.T0, rig.T0 + number * rig.FRAME_US)
    ]
    for frame in range(0, number, 7):
        key = await home.read(reader.locate_key, TRACK, rig.T0 + frame * rig.FRAME_US)
        assert key is not None
        assert key.recv_us == rig.T0 + frame // 10 * 10 * rig.FRAME_US
    (info,) = await home.read(reader.tracks)
    assert (info.first_us, info.last_us) == (rig.T0, rig.T0 + number * rig.FRAME_US)
    refs = await home.read(lambda: list(reader.chunks(TRACK, rig.T0, rig.T0 + number * rig.FRAME_US)))
    assert len({ref.name.split("/")[1] for ref in refs}) == 2
    assert all(reader.follows(a, b) for a, b in zip(refs, refs[1:], strict=False))
    assert await home.close() == []
    assert await host.close() == []


def test_overlay_fills_what_the_first_lacks_and_keeps_the_rest() -> None:
    recorded, error = Cause(State.RECORDED), Cause(State.STORAGE_ERROR, "io-error")
    offline, unknown = Cause(State.CAMERA_OFFLINE, "refused"), Cause(State.NOT_SCHEDULED)
    base = [Interval(0, 10, recorded), Interval(10, 40, error), Interval(40, 60, offline), Interval(60, 80, recorded)]
    over = [
        Interval(0, 12, unknown), Interval(12, 20, recorded), Interval(20, 25, offline), Interval(25, 50, recorded),
        Interval(50, 80, error),
    ]  # fmt: skip
    assert overlay(base, over) == [
        Interval(0, 10, recorded), Interval(10, 12, error), Interval(12, 20, recorded), Interval(20, 25, offline),
        Interval(25, 50, recorded), Interval(50, 60, offline), Interval(60, 80, recorded),
    ]  # fmt: skip
    assert overlay(base, [Interval(0, 80, unknown)]) == base
