"""A catalog that cannot be written: the answers stay the same, nothing fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from conftest import T0, S, spec

from mediadb.catalog import Catalog, CatalogLost, FolderStamp
from mediadb.fs import RealFs
from mediadb.read.folders import find_changes, remember
from mediadb.read.reader import Reader
from mediadb.types import State

pytestmark = pytest.mark.fast
CAM = spec(1)
PAGES = 11  # the empty tables fit, nothing else does


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Database files cannot grow beyond PAGES pages (SQLITE_FULL, as on a full disk)."""
    connect = sqlite3.connect

    def limited(path: object, **options: object) -> sqlite3.Connection:
        connection = connect(path, **options)  # type: ignore[call-overload]
        if path != ":memory:":
            connection.execute(f"PRAGMA max_page_count={PAGES}")
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr("mediadb.catalog.sqlite3.connect", limited)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_never_makes_a_query_fail(finished: Path) -> None:
    reader = Reader(finished, "main", lambda: T0 + 3600 * S)
    covered = reader.coverage([CAM.track], T0, T0 + 25 * S)[CAM.track]
    assert [(i.start_us, i.end_us, i.cause.state) for i in covered] == [(T0, T0 + 25 * S, State.RECORDED)]
    assert len(reader.tracks()) == 2
    reader.close()


@pytest.mark.usefixtures("full_disk")
def test_what_does_not_fit_is_kept_in_memory_after_one_loss(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db", "main")
    record = bytes(100_000)
    with pytest.raises(CatalogLost):
        catalog.keep_config(b"h", record)
    catalog.keep_config(b"h", record)
    assert catalog.config(b"h") == record
    catalog.close()


def test_stamps_never_vouch_for_rows_of_a_catalog_that_was_lost_meanwhile(finished: Path) -> None:
    """Another thread loses the catalog between the entering of segments and the stamp of their folder."""
    catalog = Catalog(finished / "catalog.db", "main")
    changes = find_changes(RealFs(), finished, "main", catalog)
    assert changes.stamps
    (finished / "catalog.db").unlink()
    with pytest.raises(CatalogLost):
        catalog.check()
    remember(catalog, changes, (), lambda: 1 << 60)
    assert catalog.folders() == dict[str, FolderStamp]()
    catalog.close()
