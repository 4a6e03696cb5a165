"""What goes of a segment is exactly what the leaving tracks fill, and padding: never a byte of a neighbour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediadb.reclaim.punch import _merged

PAGE = 4096


@pytest.mark.fast
def test_a_neighbour_between_two_that_go_on_one_page_stays() -> None:
    pieces = [(8192, 8700, True), (8700, 9100, False), (9100, 9800, True), (9800, 20_000, False)]
    assert list(_merged(pieces)) == [(8192, 8700), (9100, 9800)]


@pytest.mark.fast
@given(st.lists(st.tuples(st.integers(1, 6000), st.booleans(), st.booleans()), max_size=40))
def test_no_byte_of_what_stays_is_in_a_range(sizes: list[tuple[int, bool, bool]]) -> None:
    pieces, at = [], PAGE
    for size, goes, aligned in sizes:
        at = -(-at // PAGE) * PAGE if aligned else at
        pieces.append((at, at + size, goes))
        at += size
    ranges = list(_merged(pieces))
    for low, high, goes in pieces:
        inside = [span for span in ranges if span[0] < high and low < span[1]]
        if goes:
            assert any(a <= low and high <= b for a, b in inside), "all of what goes is in one range"
        else:
            assert not inside, f"[{low}, {high}) stays, {inside} goes"
