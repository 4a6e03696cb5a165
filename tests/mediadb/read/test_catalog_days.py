"""Merged days in the catalog: the same answer as without, through additions, removals and loss of the cache."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from conftest import VIDEO, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from mediadb.catalog import DAY_US, Catalog, CatalogLost, SegmentRow
from mediadb.format.footer import TrackSummary
from mediadb.fs import RealFs
from mediadb.ledger_facts import MediaSpan, join_spans
from mediadb.read.index import StorageIndex
from mediadb.read.part import coding_tolerance_us
from mediadb.types import Names

pytestmark = pytest.mark.fast
CAM = spec(1)
LENGTH_US = DAY_US // 6
FIRST_DAY = 20_000


def part(number: int) -> tuple[SegmentRow, TrackSummary, list[MediaSpan]]:
    """The `number`-th segment: four hours, without a gap to its neighbours."""
    first = FIRST_DAY * DAY_US + number * LENGTH_US
    end = first + LENGTH_US
    summary = TrackSummary(
        track=CAM.track, kind=1, media_count=2, notes_count=0, config_count=1, first_us=first, end_us=end,
        first_seq=number * 2, next_seq=number * 2 + 2, samples=50, stored_bytes=9, lost_packets=0,
        damaged_count=0, index_offset=0, index_len=0, index_crc=0,
    )  # fmt: skip
    span = MediaSpan(first, end, 1, number * 2, number * 2 + 2)
    return SegmentRow(f"log/main/x/{number:06d}", 1, uuid.UUID(int=number + 1), 1, 0), summary, [span]


def index_of(folder: Path) -> tuple[StorageIndex, Catalog]:
    """An index whose rows have no files: its folders are taken as looked at."""
    catalog = Catalog(folder / "catalog.db", "main")
    index = StorageIndex(RealFs(), folder, "main", catalog)
    index._looked = True
    index.tolerance_us = lambda _: coding_tolerance_us(None)  # type: ignore[method-assign]
    return index, catalog


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 40)),
        st.tuples(st.just("remove"), st.integers(0, 40)),
        st.tuples(st.just("ask"), st.integers(0, 20)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps=steps)
def test_merged_days_say_what_the_parts_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    index, catalog = index_of(tmp_path_factory.mktemp("days"))
    there: dict[int, MediaSpan] = {}
    for what, number in [*steps, ("ask", 0)]:
        row, summary, spans = part(number)
        if what == "add":
            catalog.add(row, [(CAM, Names(), summary, spans)])
            there[number] = spans[0]
        elif what == "remove":
            catalog.remove(row.name)
            there.pop(number, None)
        else:
            low = FIRST_DAY * DAY_US + number * LENGTH_US // 3
            high = low + 5 * DAY_US
            want = [s for s in there.values() if s.start_us < high and s.end_us > low]
            assert index.spans(CAM.track, low, high) == join_spans(want, coding_tolerance_us(None))
    index.close()


def test_thirty_days_are_thirty_rows(tmp_path: Path) -> None:
    index, catalog = index_of(tmp_path)
    for number in range(6 * 32):
        row, summary, spans = part(number)
        catalog.add(row, [(CAM, Names(), summary, spans)])
    low = FIRST_DAY * DAY_US
    one = index.spans(CAM.track, low, low + 30 * DAY_US)
    assert len(one) == 1
    assert len(catalog.days(CAM.track, FIRST_DAY, FIRST_DAY + 30)) == 30
    assert index.spans(CAM.track, low, low + 30 * DAY_US) == one


def test_a_day_that_changed_while_it_was_merged_is_not_kept(tmp_path: Path) -> None:
    _, catalog = index_of(tmp_path)
    row, summary, spans = part(0)
    catalog.add(row, [(CAM, Names(), summary, spans)])
    catalog.keep_day(CAM.track, FIRST_DAY, 2, spans)
    assert catalog.days(CAM.track, FIRST_DAY, FIRST_DAY + 1) == {}
    catalog.keep_day(CAM.track, FIRST_DAY, 1, spans)
    assert catalog.days(CAM.track, FIRST_DAY, FIRST_DAY + 1) == {FIRST_DAY: spans}


def test_a_deleted_catalog_is_told_once_and_is_usable_then(tmp_path: Path) -> None:
    _, catalog = index_of(tmp_path)
    row, summary, spans = part(0)
    catalog.add(row, [(CAM, Names(), summary, spans)])
    (tmp_path / "catalog.db").unlink()
    with pytest.raises(CatalogLost):
        catalog.check()
    catalog.check()
    assert catalog.segments() == {}
    catalog.add(row, [(CAM, Names(), summary, spans)])
    assert list(catalog.segments()) == [row.name]


def test_two_storages_share_a_catalog_and_keep_apart(tmp_path: Path) -> None:
    one, two = Catalog(tmp_path / "catalog.db", "one"), Catalog(tmp_path / "catalog.db", "two")
    row, summary, spans = part(0)
    one.add(row, [(CAM, Names("a"), summary, spans)])
    two.add(row, [(CAM, Names("b"), summary, spans)])
    assert [t.names.camera for t in one.tracks()] == ["a"]
    two.clear()
    assert len(one.segments()) == 1
    assert two.tracks() == []


def test_the_tolerance_of_a_coding() -> None:
    assert coding_tolerance_us(VIDEO) == 100_000
    assert coding_tolerance_us(None) == 500_000
