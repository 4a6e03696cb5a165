"""Identities stay, volumes are remembered, jobs have one shape."""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from recorderd.core.clock import FakeClock
from recorderd.core.errors import NotFoundError
from recorderd.state.database import FILE_NAME, StateDb
from recorderd.state.identities import Identities, KnownVolume
from recorderd.state.jobs import Jobs, JobState
from recorderd.state.peek import Known, peek


async def test_identities_are_bound_to_driver_address_and_channel(db: StateDb) -> None:
    who = Identities(db, FakeClock())
    assert not await who.knows_hardware()
    gate = await who.hardware("rtsp", "rtsp://192.0.2.1/")
    assert await who.hardware("rtsp", "rtsp://192.0.2.1/") == gate
    assert await who.hardware("rtsp", "rtsp://192.0.2.2/") != gate
    assert await who.hardware("onvif", "rtsp://192.0.2.1/") != gate
    first = await who.camera(gate, 0)
    assert await who.camera(gate, 0) == first != await who.camera(gate, 1)
    assert await who.knows_hardware()


async def test_a_given_id_wins_and_moves_with_its_hardware(db: StateDb) -> None:
    who = Identities(db, FakeClock())
    bound = await who.hardware("rtsp", "rtsp://a/")
    given, camera = uuid.uuid4(), uuid.uuid4()
    assert await who.hardware("rtsp", "rtsp://a/", given) == given != bound
    assert await who.hardware("rtsp", "rtsp://a/") == given
    assert await who.hardware("rtsp", "rtsp://b/", given) == given
    assert await who.hardware("rtsp", "rtsp://b/") == given
    assert await who.camera(given, 0, camera) == camera
    assert await who.camera(given, 3, camera) == camera
    assert await who.camera(given, 3) == camera != await who.camera(given, 0)


async def test_the_server_has_one_uuid_until_the_configuration_says_otherwise(db: StateDb) -> None:
    who = Identities(db, FakeClock())
    salvaged, given = uuid.uuid4(), uuid.uuid4()
    assert await who.server(lost=salvaged) == salvaged
    assert await who.server(lost=uuid.uuid4()) == salvaged
    assert await who.server(given) == given
    assert await Identities(db, FakeClock()).server() == given


async def test_the_id_given_after_a_lost_database_forgets_what_recorded_nothing(db: StateDb) -> None:
    who = Identities(db, FakeClock())
    await who.server()
    gate = await who.hardware("rtsp", "rtsp://a/")
    await who.camera(gate, 0)
    await who.server(given := uuid.uuid4())
    assert not await who.knows_hardware()
    gate = await who.hardware("rtsp", "rtsp://a/")
    await who.remember_volume(KnownVolume("main", uuid.uuid4(), "/srv/a", 3))
    await who.server(given)
    await who.server(uuid.uuid4())
    assert await who.hardware("rtsp", "rtsp://a/") == gate, "it has recorded: kept for ever"


async def test_volumes_are_remembered_by_storage_name(db: StateDb) -> None:
    who = Identities(db, FakeClock())
    volume = uuid.uuid4()
    await who.remember_volume(KnownVolume("main", volume, "/srv/a", 3))
    await who.remember_volume(KnownVolume("main", volume, "/srv/b", 4))
    assert await who.volumes() == {"main": KnownVolume("main", volume, "/srv/b", 4)}


async def test_what_is_left_of_a_damaged_database_is_salvaged(tmp_path: Path) -> None:
    """The page of one table is destroyed: the others still tell who we are."""
    path = tmp_path / FILE_NAME
    first = await StateDb.open(path)
    who = Identities(first, FakeClock())
    server = await who.server()
    gate = await who.hardware("rtsp", "rtsp://a/")
    camera = await who.camera(gate, 0)
    await who.remember_volume(KnownVolume("main", server, "/srv/a", 3))
    await first.close()
    with closing(sqlite3.connect(path)) as raw:
        (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    before = path.read_bytes()
    lost = peek(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [FILE_NAME]
    assert (lost.server, lost.volumes) == (server, {"main": server})
    second = await StateDb.open(tmp_path / "new.db")
    again = Identities(second, FakeClock())
    assert await again.server(lost=lost.server) == server
    await again.adopt(lost)
    assert await again.hardware("rtsp", "rtsp://a/") == gate
    assert await again.camera(gate, 0) == camera
    await second.close()
    assert peek(tmp_path / "absent.db") == Known()


async def test_a_job_goes_its_way_and_a_finished_one_does_not_change(db: StateDb) -> None:
    clock = FakeClock(100)
    jobs = Jobs(db, clock)
    job = await jobs.create("export", {"cameras": ["gate"]})
    assert (job.state, job.progress, job.created_us) == (JobState.QUEUED, 0.0, 100)
    clock.advance(1)
    await jobs.start(job.id)
    await jobs.progress(job.id, 0.4)
    assert (await jobs.get(job.id)).progress == 0.4
    await jobs.finish(job.id, {"files": 1})
    await jobs.progress(job.id, 0.5)
    done = await jobs.get(job.id)
    assert (done.state, done.progress, done.result, done.started_us) == (JobState.DONE, 1.0, {"files": 1}, 101)
    with pytest.raises(NotFoundError):
        await jobs.get(uuid.uuid4())
    with pytest.raises(NotFoundError):
        await jobs.cancel(uuid.uuid4())


async def test_jobs_left_open_by_a_crash_are_failed_at_the_next_start(db: StateDb) -> None:
    clock = FakeClock(100)
    jobs = Jobs(db, clock)
    queued, running, done = [await jobs.create("check", {}) for _ in range(3)]
    await jobs.start(running.id)
    await jobs.finish(done.id, {})
    assert await jobs.interrupt_open() == 2
    for job in (queued, running):
        found = await jobs.get(job.id)
        assert found.state is JobState.FAILED
        assert found.error is not None
        assert found.error["code"] == "interrupted"
    assert (await jobs.get(done.id)).state is JobState.DONE
    clock.advance(1_000)
    young = await jobs.create("export", {})
    assert await jobs.purge(before_us=500) == 3
    assert [job.id for job in await jobs.list()] == [young.id]


async def test_a_kind_that_can_go_on_is_queued_again_and_what_failed_goes_on_when_told(db: StateDb) -> None:
    jobs = Jobs(db, FakeClock(100))
    first, second = await jobs.create("export", {}), await jobs.create("export", {})
    await jobs.start(first.id)
    assert await jobs.interrupt_open() == 2
    assert [job.id for job in await jobs.unfinished("export")] == sorted([first.id, second.id], key=str)
    assert not await jobs.resume(first.id)
    await jobs.fail(first.id, {"code": "disk-full"})
    assert await jobs.resume(first.id)
    found = await jobs.get(first.id)
    assert (found.state, found.error, found.finished_us) == (JobState.QUEUED, None, None)


async def test_a_key_names_one_job_of_a_kind(db: StateDb) -> None:
    jobs = Jobs(db, FakeClock(100))
    made = await jobs.create("export", {"a": 1}, "mine")
    assert await jobs.find("export", "mine") == made
    assert await jobs.find("check", "mine") is None
    await jobs.create("check", {}, "mine")
    await jobs.create("export", {})
    await jobs.create("export", {})
    with pytest.raises(sa.exc.IntegrityError):
        await jobs.create("export", {}, "mine")
    await jobs.progress(made.id, 0.5, {"left_s": 3})
    assert (await jobs.get(made.id)).detail == {"left_s": 3}
    await jobs.remove(made.id)
    assert await jobs.find("export", "mine") == await jobs.get(made.id)
    await jobs.cancel(made.id)
    await jobs.remove(made.id)
    assert await jobs.find("export", "mine") is None
