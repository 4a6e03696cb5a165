"""The share of every test run: some damaged files of each kind, the known crashers, and proof that the harness sees."""

from __future__ import annotations

import pytest

from mediadb.read import chunks
from tests.mutate.__main__ import run
from tests.mutate.mutations import KINDS
from tests.mutate.sample import Volume, make

SHARE = 50
# What once went wrong: (kind, number of the mutation).
CORPUS = {
    "segment": (53000921,),
    "directory": (5000092, 51003860),
    "footer": (1000020, 1000045, 1000272, 31000236, 31000259, 51004271),
    "gone": (51004075,),
    "log": (5000182, 5000114, 5000190, 51000784),
    "volume": (1000017,),
    "ledger": (1000161, 1000381, 5000193),
    "catalog": (1000052, 1000292, 2000324),
}


@pytest.fixture(scope="module")
def volume() -> Volume:
    return make()


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_the_mutations(kind: str, volume: Volume) -> None:
    words, wrong = run(volume, kind, SHARE, 42)
    assert not wrong, [(own, m.path.name, m.what, why) for own, m, why in wrong[:5]]
    assert words["sealed"] >= SHARE * 0.3, "too few reach the checks behind the CRC"


@pytest.mark.parametrize("kind", CORPUS)
def test_what_once_went_wrong(kind: str, volume: Volume) -> None:
    for own in CORPUS[kind]:
        _, wrong = run(volume, kind, 1, 0, first=own)
        assert not wrong, [(m.path.name, m.what, why) for _, m, why in wrong]


def test_without_the_crc_check_the_harness_is_red(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "check_chunk", lambda header, table, payload: None)
    _, wrong = run(volume, "segment", 60, 7)
    assert any("wrong bytes" in why for _, _, why in wrong)
