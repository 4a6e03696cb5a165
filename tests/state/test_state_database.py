"""Opening: migration from nothing, damage, foreign files, newer versions."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from recorderd.state import migrate
from recorderd.state.database import FILE_NAME, StateDb, move_aside
from recorderd.state.errors import StateDamaged, StateTooNew, StateUnusable
from recorderd.state.tables import METADATA


async def test_the_steps_lead_to_the_tables_that_the_code_uses(db: StateDb) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    async with db.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_second_start_changes_nothing_and_the_file_is_private(tmp_path: Path) -> None:
    for _ in range(2):
        database = await StateDb.open(tmp_path / FILE_NAME)
        async with database.engine.connect() as connection:
            revision = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar()
        await database.close()
        assert revision == migrate.newest()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


async def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = migrate.upgrade

    def dies_at_the_end(connection: sa.Connection) -> None:
        whole(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "upgrade", dies_at_the_end)
    with pytest.raises(RuntimeError):
        await StateDb.open(tmp_path / FILE_NAME)
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == []
    raw.close()
    monkeypatch.undo()
    await (await StateDb.open(tmp_path / FILE_NAME)).close()


@pytest.mark.parametrize("where", [0, 4096 + 8])
async def test_a_damaged_file_is_named_and_can_be_moved_aside(tmp_path: Path, where: int) -> None:
    path = tmp_path / FILE_NAME
    await (await StateDb.open(path)).close()
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xff" * 64)
    with pytest.raises(StateDamaged, match=r"state\.db is damaged"):
        await StateDb.open(path)
    kept = move_aside(path, 77)
    assert kept.name == "state.db.damaged-77"
    assert kept.exists()
    await (await StateDb.open(path)).close()


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    await (await StateDb.open(path)).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StateTooNew, match="update recorderd"):
        await StateDb.open(path)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    raw.close()


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="data_dir"):
        await StateDb.open(tmp_path / "not-there" / FILE_NAME)
    os.mkdir(tmp_path / FILE_NAME)
    with pytest.raises(StateUnusable):
        await StateDb.open(tmp_path / FILE_NAME)
