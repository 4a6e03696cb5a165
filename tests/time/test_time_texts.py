"""Summer time, leap seconds and offsets in what people write: one moment each, in all three readers of times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mediadb import times
from recorderd.core import timerange
from recorderd.server.timespan import read_time

pytestmark = pytest.mark.fast
S = 1_000_000
NOW = 1_790_000_000 * S
READERS: list[Callable[[str, int], int]] = [times.parse_time, timerange.parse_time, read_time]
every_reader = pytest.mark.parametrize("read", READERS, ids=["mediadb", "core", "http"])


@every_reader
def test_the_hour_that_comes_twice_in_autumn_is_told_by_its_offset(read: Callable[[str, int], int]) -> None:
    """Vienna, 25 October 2026: 02:30 comes at 00:30Z and again at 01:30Z."""
    first, second = read("2026-10-25T02:30:00+02:00", NOW), read("2026-10-25T02:30:00+01:00", NOW)
    assert second - first == 3_600 * S
    assert first == read("2026-10-25T00:30:00Z", NOW)


@every_reader
def test_the_hour_that_is_left_out_in_spring(read: Callable[[str, int], int]) -> None:
    before, after = read("2026-03-29T01:59:59+01:00", NOW), read("2026-03-29T03:00:00+02:00", NOW)
    assert after - before == S


@every_reader
@pytest.mark.parametrize("text", ["2026-10-25T02:30:00", "2026-10-25 02:30", "02:30", "2026-10-25T02:30:00 CEST"])
def test_a_time_that_may_be_two_is_refused(read: Callable[[str, int], int], text: str) -> None:
    with pytest.raises(Exception, match=r"no(t a)? time"):
        read(text, NOW)


@every_reader
def test_a_leap_second_is_the_second_after_it(read: Callable[[str, int], int]) -> None:
    leap = read("2016-12-31T23:59:60Z", NOW)
    assert leap == read("2017-01-01T00:00:00Z", NOW)
    assert read("2016-12-31T23:59:60.250Z", NOW) == leap + 250_000
    assert read("2017-01-01T00:59:60+01:00", NOW) == leap


def test_what_is_shown_reads_back() -> None:
    for time_us in (0, NOW, NOW + 123_456, read_time("2016-12-31T23:59:59.999999Z", NOW)):
        for show in (times.show_time, timerange.format_time):
            assert [read(show(time_us), NOW) for read in READERS] == [time_us] * 3
