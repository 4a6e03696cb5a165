"""Files of data_dir that other hands take while the daemon runs: there again in seconds, with everything in them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recorderd.aio.system_clock import SystemClock
from recorderd.daemon.data_dir import DataDir
from recorderd.daemon.state_start import LOCK_NAME, AlreadyRunning, hold_data_dir
from recorderd.state.database import FILE_NAME, StateDb
from recorderd.state.identities import Identities


@dataclass
class Held:
    """A data_dir with its server known."""

    folder: Path
    db: StateDb
    keeper: DataDir
    told: list[tuple[str, str]] = field(default_factory=list)

    def hear(self, code: str, params: dict[str, object]) -> None:
        self.told.append((code, Path(str(params["path"])).name))


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Held]:
    fd = hold_data_dir(tmp_path)
    db = await StateDb.open(tmp_path / FILE_NAME)
    told: list[tuple[str, str]] = []
    keeper = DataDir(db, fd, lambda code, params: told.append((code, Path(str(params["path"])).name)))
    yield Held(tmp_path, db, keeper, told)
    keeper.close()
    await db.close()


@pytest.mark.parametrize("companions", [False, True])
async def test_a_state_database_that_goes_is_written_again(held: Held, companions: bool) -> None:
    server = await Identities(held.db, SystemClock()).server(None)
    await held.keeper.look()
    assert held.told == []
    for path in held.folder.glob(f"{FILE_NAME}*"):
        if companions or path.name == FILE_NAME:
            path.unlink()
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-restored", FILE_NAME)]
    assert (held.folder / FILE_NAME).stat().st_mode & 0o077 == 0
    async with held.db.engine.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE later (n INTEGER)")
    await held.db.close()
    again = await StateDb.open(held.folder / FILE_NAME)
    assert await Identities(again, SystemClock()).server(None) == server
    async with again.engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM later")).scalar_one() == 0
    await again.close()
    assert sorted(path.name for path in held.folder.iterdir()) == [LOCK_NAME, FILE_NAME]


async def test_a_folder_that_goes_with_all_in_it_is_made_again(held: Held) -> None:
    server = await Identities(held.db, SystemClock()).server(None)
    shutil.rmtree(held.folder)
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-restored", name) for name in (held.folder.name, LOCK_NAME, FILE_NAME)]
    with pytest.raises(AlreadyRunning):
        hold_data_dir(held.folder)
    again = await StateDb.open(held.folder / FILE_NAME)
    assert await Identities(again, SystemClock()).server(None) == server
    await again.close()


async def test_a_folder_whose_place_is_gone_is_said(held: Held) -> None:
    away = held.folder.with_name("away")
    held.folder.rename(away)
    held.folder.symlink_to("nowhere/at/all")
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-taken", held.folder.name)]
    held.folder.unlink()
    away.rename(held.folder)
    await held.keeper.look()
    assert len(held.told) == 1


async def test_a_state_database_that_was_put_there_is_left_alone(held: Held) -> None:
    shutil.copy(held.folder / FILE_NAME, held.folder / "copy")
    (held.folder / "copy").rename(held.folder / FILE_NAME)
    before = (held.folder / FILE_NAME).stat().st_ino
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-taken", FILE_NAME)]
    assert (held.folder / FILE_NAME).stat().st_ino == before


async def test_what_cannot_be_written_again_is_said_once_and_tried_again(held: Held) -> None:
    (held.folder / f"{FILE_NAME}.new").mkdir()
    (held.folder / FILE_NAME).unlink()
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-taken", FILE_NAME)]
    (held.folder / f"{FILE_NAME}.new").rmdir()
    await held.keeper.look()
    assert held.told[1:] == [("file-restored", FILE_NAME)]


async def test_a_lock_that_goes_is_held_again(held: Held) -> None:
    (held.folder / LOCK_NAME).unlink()
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-restored", LOCK_NAME)]
    with pytest.raises(AlreadyRunning):
        hold_data_dir(held.folder)


async def test_a_lock_that_another_one_took_is_said_once(held: Held) -> None:
    (held.folder / LOCK_NAME).unlink()
    other = DataDir(held.db, hold_data_dir(held.folder), held.hear)
    await held.keeper.look()
    await held.keeper.look()
    assert held.told == [("file-taken", LOCK_NAME)]
    other.close()
