"""Numbers kept as ranges, against a plain set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediadb.write.number_set import NumberSet

pytestmark = pytest.mark.fast
SMALL = st.integers(0, 30)


@given(st.lists(st.tuples(SMALL, SMALL), max_size=8), SMALL)
def test_it_is_a_set(added: list[tuple[int, int]], at: int) -> None:
    held, plain = NumberSet(), set[int]()
    for low, high in added:
        held.add(low, high)
        plain |= set(range(low, high))
    assert {n for low, high in held.ranges() for n in range(low, high)} == plain
    assert held.behind(at) == min((n for n in plain if n > at), default=None)
    lacks = set(range(min(plain, default=at), at)) - plain
    assert {n for low, high in held.missing(at) for n in range(low, high)} == lacks


def test_every_number_there_is_costs_nothing() -> None:
    held = NumberSet()
    held.add(3, 1 << 63)
    held.add(0, 1)
    assert held.missing(1 << 64) == [(1, 3), (1 << 63, 1 << 64)]
    assert NumberSet().missing(1 << 64) == []
