"""Numbers that lie in another storage are explained by the ledger, and only those."""

from __future__ import annotations

import uuid

import pytest

from mediadb.tools.moved import FOREVER, Moves

TRACK = uuid.UUID(int=5)
pytestmark = pytest.mark.fast


def moves(storage: str, *turns: tuple[str, str, int]) -> Moves:
    found = Moves(storage)
    for origin, to, number in turns:
        found.add(7, {"from": origin, "to": to, "tracks": [[str(TRACK), number]]})
    return found


OUT_AND_HOME = (("a", "b", 20), ("b", "a", 50), ("a", "b", 90), ("b", "a", 95), ("a", "b", 99))


def test_out_and_home_and_out_again() -> None:
    assert moves("a", *OUT_AND_HOME).elsewhere(7, TRACK) == [(20, 50), (90, 95), (99, FOREVER)]
    assert moves("b", *OUT_AND_HOME).elsewhere(7, TRACK) == [(0, 20), (50, 90), (95, 99)]
    assert moves("a", *OUT_AND_HOME).elsewhere(8, TRACK) == []
    assert moves("a").elsewhere(7, TRACK) == []


def test_only_whole_holes_are_explained() -> None:
    home = moves("a", *OUT_AND_HOME)
    assert home.explains(7, TRACK, 20, 50)
    assert home.explains(7, TRACK, 30, 40)
    assert not home.explains(7, TRACK, 19, 50)
    assert not home.explains(7, TRACK, 50, 51)


def test_home_and_out_again_before_anything_was_written_there() -> None:
    home = moves("a", ("a", "b", 20), ("b", "a", 50), ("a", "b", 50), ("b", "a", 60))
    assert home.explains(7, TRACK, 20, 60)
    assert not home.explains(7, TRACK, 20, 61)
