"""catalog.db is a cache: made again from the media alone it gives the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SERVER, T0, VIDEO, Recorder, S, payload, spec

from mediadb.catalog import Catalog
from mediadb.fs import RealFs
from mediadb.ledger_facts import FUTURE_US, PAST_US
from mediadb.read.reader import Reader
from mediadb.tools.main import main
from mediadb.types import Cause, Names, Origin, Sample, State
from mediadb.write.lane import LanePlace, LaneWriter

CAM, OTHER = spec(1), spec(2)
LATER_US = T0 + 3600 * S


@pytest.fixture
def rich(recorder: Callable[..., Recorder], volume: Path) -> Path:
    """Two runs with a crash between them, a gap, two cameras, a lane."""
    first = recorder()
    first.film(23, CAM, OTHER)
    first.gap(CAM, first.now_us, first.now_us + S, Cause(State.OVERLOAD_SHED))
    first.film(3, OTHER)
    first.crash()
    second = recorder(run=2, start_us=T0 + 60 * S)
    second.film(12, CAM)
    assert second.stop() == []
    identity = second.log.identity
    place = LanePlace(volume, "main", identity.volume, SERVER, identity.log, Origin.EDGE)
    with LaneWriter(RealFs(), place, CAM, Names("cam 1", "box")) as lane:
        lane.config(VIDEO)
        for n in range(1000, 1050):
            lane.extend([Sample(payload(CAM.track, n), n * 3600, n * 3600, 0 if n % 25 else 1, T0 + n * 40_000)])
    return volume


def answers(volume: Path) -> object:
    """What the database says of everything it holds."""
    reader = Reader(volume, "main", lambda: LATER_US)
    reader.refresh()
    try:
        out = []
        for cam in (CAM, OTHER):
            refs = list(reader.chunks(cam.track, T0, LATER_US))
            out.append((
                [(part.name, part.count, part.first_us, part.end_us)
                 for part in reader.index.parts(cam.track, PAST_US, FUTURE_US)],
                reader.spans(cam.track, T0, LATER_US),
                reader.coverage([cam.track], T0 - S, LATER_US),
                [(ref.name, ref.row) for ref in refs], [bytes(reader.read(ref).data) for ref in refs],
                [reader.locate_key(cam.track, T0 + n * S) for n in range(0, 90, 7)],
            ))  # fmt: skip
        return out, sorted((t.spec.track.int, t.names.camera, t.first_us, t.last_us) for t in reader.tracks())
    finally:
        reader.close()


def remove(volume: Path) -> None:
    for path in volume.glob("catalog.db*"):
        path.unlink()


def test_made_again_from_media_alone_it_says_the_same(rich: Path) -> None:
    before = answers(rich)
    assert (rich / "catalog.db").stat().st_size > 0
    remove(rich)
    assert answers(rich) == before
    assert main(["rebuild", str(rich)]) == 0
    assert answers(rich) == before
    assert answers(rich) == before  # and from what the rebuilt one holds


def test_a_lie_in_it_is_found_by_fsck_and_gone_with_it(rich: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = answers(rich)
    catalog = Catalog(rich / "catalog.db", "main")
    name = next(iter(catalog.segments()))
    catalog._run("UPDATE segment SET size=size+1 WHERE name=?", (name,))
    catalog.close()
    assert main(["fsck", str(rich)]) == 1
    assert name in capsys.readouterr().out
    assert main(["fsck", str(rich), "--repair"]) == 0
    assert not (rich / "catalog.db").exists()
    assert answers(rich) == before
