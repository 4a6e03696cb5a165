"""Offline tools read a fresh catalog instead of every footer, change nothing, and say the same without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import T0, Recorder, S, spec

from mediadb.fs import RealFs
from mediadb.read.reader import Reader

pytestmark = pytest.mark.fast
CAM, OTHER = spec(1), spec(2)
LATER_US = 10**16  # all folders have come to rest


class Counting(RealFs):
    """Counts segment files that are opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open_read(self, path: Path) -> int:
        if path.suffix in (".rseg", ".open"):
            self.opened.append(path.name)
        return super().open_read(path)


def answers(volume: Path, fs: RealFs) -> object:
    reader = Reader.open_offline(volume, None, lambda: LATER_US, fs)
    viewed = reader.index._catalog._path is not None
    try:
        return (
            reader.tracks(), reader.spans(CAM.track, T0, T0 + 90 * S),
            reader.coverage([CAM.track, OTHER.track], T0, T0 + 90 * S),
            [bytes(reader.read(ref).data) for ref in reader.chunks(CAM.track, T0, T0 + 90 * S)],
        )  # fmt: skip
    finally:
        assert (reader.index._catalog._path is not None) == viewed, "a question put the catalog away"
        reader.close()


def fill_catalog(volume: Path) -> None:
    """As a daemon leaves it."""
    reader = Reader(volume, "main", lambda: LATER_US)
    reader.refresh()
    for track in (CAM.track, OTHER.track):
        reader.spans(track, T0, T0 + 90 * S)
    reader.close()


def contents(volume: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in volume.rglob("*") if path.is_file()}


def opened_by_refresh(volume: Path) -> int:
    fs = Counting()
    Reader.open_offline(volume, None, lambda: LATER_US, fs).close()
    return len(fs.opened)


def test_a_fresh_catalog_spares_the_footers_and_nothing_is_written(finished: Path) -> None:
    plain = answers(finished, RealFs())
    assert opened_by_refresh(finished) == 3
    fill_catalog(finished)
    before = contents(finished)
    assert opened_by_refresh(finished) == 0
    assert answers(finished, RealFs()) == plain
    assert contents(finished) == before


def test_one_that_is_not_fresh_is_put_away(recorder: Callable[..., Recorder], volume: Path) -> None:
    first = recorder()
    first.film(15, CAM, OTHER)
    assert first.stop() == []
    fill_catalog(volume)
    second = recorder(run=2, start_us=T0 + 30 * S)
    second.film(15, CAM, OTHER)
    assert second.stop() == []
    before = contents(volume)
    mixed = answers(volume, RealFs())
    assert contents(volume) == before
    (volume / "catalog.db").unlink()
    assert answers(volume, RealFs()) == mixed


@pytest.mark.parametrize("harm", ["rubbish", "empty", "half", "other version"])
def test_a_damaged_one_changes_no_answer(harm: str, finished: Path) -> None:
    plain = answers(finished, RealFs())
    fill_catalog(finished)
    raw = (finished / "catalog.db").read_bytes()
    changed = {
        "rubbish": bytes(range(256)) * 40, "empty": b"", "half": raw[: len(raw) // 2],
        "other version": raw[:60] + b"\0\0\0\x63" + raw[64:],
    }[harm]  # fmt: skip
    (finished / "catalog.db").write_bytes(changed)
    assert answers(finished, RealFs()) == plain
    assert (finished / "catalog.db").read_bytes() == changed


def test_a_daemon_that_opens_it_meanwhile_is_noticed(finished: Path) -> None:
    plain = answers(finished, RealFs())
    fill_catalog(finished)
    reader = Reader.open_offline(finished, None, lambda: LATER_US, RealFs())
    beside = Reader(finished, "main", lambda: LATER_US)
    beside.refresh()
    beside.index.rebuild()
    assert reader.tracks() == plain[0]  # type: ignore[index]
    assert reader.spans(CAM.track, T0, T0 + 90 * S) == plain[1]  # type: ignore[index]
    beside.close()
    reader.close()
