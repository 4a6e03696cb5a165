"""Footage that lies in two storages is read as one: coverage, chunks, keys; and what one of them lacks is said."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import rig
from test_async_store import feed, read_numbers, video
from test_store_fallback import pair

from mediadb.aio import AsyncStore
from mediadb.format.columns import ChunkColumns
from mediadb.read.joined import once, overlay
from mediadb.read.part import Part
from mediadb.read.reader import Span
from mediadb.types import Cause, Interval, State

TRACK = rig.track_id(0)


async def states(store: AsyncStore, end: int) -> list[State]:
    found = await store.read(store.reader.coverage, [TRACK], rig.T0, rig.T0 + end * rig.FRAME_US)
    intervals = found[TRACK]
    assert intervals[0].start_us == rig.T0
    assert intervals[-1].end_us == rig.T0 + end * rig.FRAME_US
    assert all(a.end_us == b.start_us for a, b in itertools.pairwise(intervals))
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
    assert all(reader.follows(a, b) for a, b in itertools.pairwise(refs))
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


@dataclass
class Rows:
    """The columns of a part that tell chunks apart."""

    seq: list[int]

    @property
    def recv_us(self) -> list[int]:
        return [seq * 10 for seq in self.seq]

    @property
    def duration_us(self) -> list[int]:
        return [10] * len(self.seq)

    @property
    def length(self) -> list[int]:
        return [100 + seq for seq in self.seq]


def part(name: str, numbers: Iterable[int]) -> Part:
    rows = Rows(list(numbers))
    first, end = rows.recv_us[0], rows.recv_us[-1] + 10
    media = cast("ChunkColumns", rows)
    return Part(name, uuid.uuid4(), 7, "", first, end, [], media, media, len(rows.seq))


def test_what_lies_in_both_is_read_once() -> None:
    """Killed abroad: recovery finds a tail in the home log that had been handed over."""
    home, abroad = part("log/a/1", range(10, 25)), part("log/b/1", range(20, 40))
    assert [(p.name, p.count, p.end_us) for p in once([home, abroad])] == [("log/a/1", 10, 200), ("log/b/1", 20, 400)]
    for whole in (part("log/a/2", range(20, 22)), part("log/a/2", range(30, 33)), part("log/a/2", range(20, 40))):
        assert [p.count for p in once([abroad, whole])] == [20], "a part that another has as a whole"
    apart = [part("log/a/1", range(10)), part("log/b/1", range(10, 20)), part("log/a/2", range(20, 30))]
    assert once(apart) == apart
    there_and_back = [part("log/b/1", [*range(5), *range(9, 12)]), part("log/a/1", range(5, 9))]
    assert once(there_and_back) == there_and_back


def test_a_run_that_only_the_other_ledger_heard_of_was_not_down() -> None:
    """Both storages failed, then the process was killed: what was said of it lies with the one that stood in."""
    crash, error = Cause(State.SERVER_DOWN, "crash"), Cause(State.STORAGE_ERROR, "io-error")
    offline, recorded = Cause(State.CAMERA_OFFLINE, "refused"), Cause(State.RECORDED)
    base = [Interval(0, 10, recorded), Interval(10, 60, crash), Interval(60, 80, recorded)]
    over = [Interval(0, 20, error), Interval(20, 30, offline), Interval(30, 50, Cause(State.SERVER_DOWN, "stop"))]
    assert overlay(base, [*over, Interval(50, 80, Cause(State.UNEXPLAINED))]) == [
        Interval(0, 10, recorded), Interval(10, 20, error), Interval(20, 30, offline), Interval(30, 60, crash),
        Interval(60, 80, recorded),
    ]  # fmt: skip


def test_what_a_rule_took_where_it_stood_in_is_deleted_not_lost() -> None:
    away, lost = Cause(State.STORAGE_ERROR, "storage-missing"), Cause(State.STORAGE_ERROR, "segment-missing")
    aged, recorded = Cause(State.DELETED, "age"), Cause(State.RECORDED)
    base = [Interval(0, 10, recorded), Interval(10, 20, away), Interval(20, 30, lost), Interval(30, 40, recorded)]
    assert overlay(base, [Interval(0, 40, aged)]) == [
        Interval(0, 10, recorded),
        Interval(10, 20, aged),
        Interval(20, 30, lost),
        Interval(30, 40, recorded),
    ]
    assert overlay(base[:2], [Interval(0, 40, lost)])[1] == Interval(10, 20, lost)
