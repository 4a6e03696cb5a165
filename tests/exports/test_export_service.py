"""Exports as jobs: order, progress, cancel, going on, room on the disk, old files."""

from __future__ import annotations

import asyncio
import gc
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, T0, S, Scene
from structlog.testing import capture_logs

from mediadb.fs import RealFs
from mediadb.movie import export_pieces
from mediadb.tools.verify import verify_export
from recorderd.aio.supervisor import Supervisor
from recorderd.core.errors import NotFoundError
from recorderd.services.exports import service as module
from recorderd.services.exports import work
from recorderd.services.exports.order import ExportOrder, Target
from recorderd.services.exports.service import ExportConflict, ExportOptions, ExportService
from recorderd.services.exports.work import Meter
from recorderd.state.jobs import Job, Jobs, JobState

GATE = Target(CAMERAS["gate"], "gate", "main")
ORDER = ExportOrder((GATE,), T0, T0 + 10 * S)


class Gate:
    """Holds the export thread at its watch until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.free = threading.Event(), threading.Event()
        real = Meter.watch

        def watch(meter: Meter, written: int) -> None:
            if meter.done_bytes + written > 20_000:
                self.reached.set()
                assert self.free.wait(30)
            real(meter, written)

        monkeypatch.setattr(Meter, "watch", watch)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_pieces, "STEP_BYTES", 5_000)
    monkeypatch.setattr(export_pieces, "PIECE_US", 4 * S)
    monkeypatch.setattr(module, "REPORT_S", 0.02)


@pytest.fixture
async def tree() -> AsyncIterator[Supervisor]:
    async with Supervisor("test exports") as made:
        yield made


def build(server: Scene, tree: Supervisor, folder: Path, **more: Any) -> ExportService:
    options = ExportOptions(reserve_bytes=more.pop("reserve_bytes", 0), **more)
    return ExportService(server.deps.jobs, server.deps.stores, server.clock, tree, folder, options)


async def until(service: ExportService, job: Job, hope: Callable[[Job], bool]) -> Job:
    async with asyncio.timeout(30):
        while not hope(found := await service.get(job.id)):  # noqa: ASYNC110 - the state database tells nobody
            await asyncio.sleep(0.01)
    return found


def ended(job: Job) -> bool:
    return job.finished_us is not None


async def reach(gate: Gate) -> None:
    assert await asyncio.get_running_loop().run_in_executor(None, gate.reached.wait, 30)


async def test_an_export_is_made_and_stands_the_check(server: Scene, tree: Supervisor, tmp_path: Path) -> None:
    service = build(server, tree, tmp_path / "e")
    await service.start()
    job = await until(service, await service.submit(ORDER), ended)
    assert (job.state, job.progress) == (JobState.DONE, 1.0), job.error
    assert job.result is not None
    assert job.result["complete"]
    names = [one["name"] for one in job.result["files"]]
    assert len(names) == 4
    for name in names:
        if name.endswith(".json"):
            assert verify_export(RealFs(), service.folder_of(job.id) / name).sound
    assert ExportOrder.of(job.params) == ORDER
    await service.stop()


async def test_progress_cancel_and_nothing_is_left(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    service = build(server, tree, tmp_path / "e")
    await service.start()
    job = await service.submit(ORDER)
    await reach(gate)
    told = await until(service, job, lambda one: bool(one.detail and one.detail["done_bytes"]))
    assert told.state is JobState.RUNNING
    assert told.detail is not None
    assert 0 < told.progress < 1
    assert told.detail["camera"] == "gate"
    assert (await service.cancel(job.id)).state is JobState.CANCELLED
    gate.free.set()
    await service.remove(job.id)
    assert not service.folder_of(job.id).exists()
    with pytest.raises(NotFoundError):
        await service.get(job.id)
    await service.stop()


async def test_a_stopped_server_goes_on_where_it_was(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    whole = build(server, tree, tmp_path / "whole")
    gate.free.set()
    await whole.start()
    model = await until(whole, await whole.submit(ORDER), ended)
    await whole.stop()
    gate.free.clear()
    gate.reached.clear()
    first = build(server, tree, tmp_path / "e")
    await first.start()
    job = await first.submit(ORDER)
    await reach(gate)
    stopping = asyncio.ensure_future(first.stop())
    await asyncio.sleep(0)
    gate.free.set()
    await stopping
    assert list(first.folder_of(job.id).glob("*.part"))
    assert (await server.deps.jobs.get(job.id)).state is JobState.RUNNING
    assert await server.deps.jobs.interrupt_open() == 1
    second = build(server, tree, tmp_path / "e")
    await second.start()
    done = await until(second, job, ended)
    assert done.state is JobState.DONE, done.error
    assert done.result == model.result
    assert sorted(path.name for path in second.folder_of(job.id).iterdir()) == sorted(
        one["name"]
        for one in done.result["files"]  # type: ignore[index]
    )
    await second.stop()


async def test_a_full_disk_is_said_before_and_while_and_the_job_goes_on(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = build(server, tree, tmp_path / "e", reserve_bytes=1 << 60)
    await service.start()
    job = await until(service, await service.submit(ORDER), ended)
    assert job.error is not None
    assert (job.state, job.error["code"]) == (JobState.FAILED, "disk-full")
    assert job.error["params"]["needed_bytes"] > 10_000
    service._options = ExportOptions(reserve_bytes=0)
    real = RealFs.pwritev
    left = [8]

    def fill(self: RealFs, *args: Any) -> int:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        return real(self, *args)

    monkeypatch.setattr(RealFs, "pwritev", fill)
    await service.resume(job.id)
    job = await until(service, job, lambda one: ended(one) and left[0] <= 0)
    assert job.error is not None
    assert job.error["code"] == "disk-full"
    await service.resume(job.id)
    job = await until(service, job, ended)
    assert job.state is JobState.DONE, job.error
    with pytest.raises(ExportConflict):
        await service.resume(job.id)
    await service.stop()


async def test_two_run_the_rest_waits_and_a_key_makes_one_job(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    service = build(server, tree, tmp_path / "e")
    await service.start()
    jobs = [await service.submit(ORDER, f"key {number}") for number in range(4)]
    assert (await service.submit(ORDER, "key 0")).id == jobs[0].id
    with pytest.raises(ExportConflict):
        await service.submit(ExportOrder((GATE,), T0, T0 + S), "key 0")
    for job in jobs[:2]:
        await until(service, job, lambda one: one.state is JobState.RUNNING)
    states = [(await service.get(job.id)).state for job in jobs]
    assert states == [JobState.RUNNING] * 2 + [JobState.QUEUED] * 2
    assert (await service.cancel(jobs[2].id)).state is JobState.CANCELLED
    gate.free.set()
    for job in (jobs[0], jobs[1], jobs[3]):
        assert (await until(service, job, ended)).state is JobState.DONE
    await service.stop()


async def test_a_missing_storage_and_a_bug_fail_the_job_and_the_worker_lives(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = build(server, tree, tmp_path / "e", at_once=1)
    await service.start()
    away = ExportOrder((Target(CAMERAS["gate"], "gate", "gone"),), T0, T0 + S)
    job = await until(service, await service.submit(away), ended)
    assert job.error is not None
    assert job.error["code"] == "storage-unavailable"

    def bug(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(work, "estimated_bytes", bug)
    job = await until(service, await service.submit(ORDER), ended)
    assert job.error is not None
    assert job.error["code"] == "internal"
    monkeypatch.undo()
    assert (await until(service, await service.submit(ORDER), ended)).state is JobState.DONE
    await service.stop()


@pytest.mark.parametrize("broken", ["progress", "start", "fail"])
async def test_a_job_whose_state_could_not_be_written_is_not_left_running(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    gate = Gate(monkeypatch)
    calls = []
    for name in {"progress", broken}:
        real = getattr(Jobs, name)

        async def fails_once(*args: Any, name: str = name, real: Any = real) -> None:
            calls.append(name)
            gate.free.set()
            if calls.count(name) == 1:
                raise RuntimeError("database or disk is full")
            await real(*args)

        monkeypatch.setattr(Jobs, name, fails_once)
    service = build(server, tree, tmp_path / "e")
    await service.start()
    job = await until(service, await service.submit(ORDER), ended)
    assert broken in calls
    assert job.error is None or job.error["code"] == "internal"
    if job.state is JobState.FAILED:
        await service.resume(job.id)
    assert (await until(service, job, lambda one: one.state is JobState.DONE)).result is not None
    await service.stop()


async def test_a_cancel_that_comes_too_late_leaves_the_files(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    service = build(server, tree, tmp_path / "e")
    await service.start()
    job = await service.submit(ORDER)
    await reach(gate)
    real = Jobs.cancel

    async def late(jobs: Jobs, identity: uuid.UUID) -> None:
        """The job ends between the look at its state and the change of it."""
        gate.free.set()
        await until(service, job, ended)
        while service._running:  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0.001)
        await real(jobs, identity)

    monkeypatch.setattr(Jobs, "cancel", late)
    assert (await service.cancel(job.id)).state is JobState.DONE
    done = await service.get(job.id)
    assert done.result is not None
    for one in done.result["files"]:
        assert (service.folder_of(job.id) / one["name"]).stat().st_size == one["bytes"]
    await service.stop()


@pytest.mark.parametrize("report_fails", [False, True])
async def test_a_folder_that_goes_under_a_running_export_as_the_server_stops_is_one_line(
    server: Scene, tree: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_fails: bool
) -> None:
    """Also when it waited for the work already, because its progress could not be written."""
    reached, free = threading.Event(), threading.Event()

    def writes_on(work: Any) -> None:
        work.folder.mkdir(parents=True)
        reached.set()
        assert free.wait(30)
        (work.folder / "gate.mp4").write_bytes(b"")

    monkeypatch.setattr(module, "run", writes_on)
    monkeypatch.setattr(module, "STOP_S", 0.01)
    loop, unheard = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    service = build(server, tree, tmp_path / "e")
    reported = asyncio.Event()

    async def fails(*_: object) -> None:
        reported.set()
        raise OSError(5, "I/O error")

    if report_fails:
        monkeypatch.setattr(module, "REPORT_S", 0.001)
        monkeypatch.setattr(service._jobs, "progress", fails)
    await service.start()
    job = await service.submit(ORDER)
    assert await loop.run_in_executor(None, reached.wait, 30)
    if report_fails:
        await asyncio.wait_for(reported.wait(), 30)
    (end,) = service._ends
    with capture_logs() as told:
        over, waits = service._over[job.id], asyncio.Event()
        wait = over.wait

        async def waited() -> bool:
            waits.set()
            return await wait()

        monkeypatch.setattr(over, "wait", waited)
        removing = asyncio.ensure_future(service.remove(job.id))
        await asyncio.wait_for(waits.wait(), 30)  # for the work, not for the state database any more
        await service.stop()
        await asyncio.wait([removing])
        assert removing.exception() is None
        free.set()
        await asyncio.wait([end], timeout=30)
        await asyncio.sleep(0)
    del end
    gc.collect()
    assert unheard == []
    assert [(one["event"], one["job"]) for one in told if "error" in one] == [("export-ended-late", str(job.id))]
    assert "FileNotFoundError" in told[-1]["error"]


async def test_old_files_go_and_unknown_ones_too(server: Scene, tree: Supervisor, tmp_path: Path) -> None:
    service = build(server, tree, tmp_path / "e", keep_us=100 * S)
    await service.start()
    job = await until(service, await service.submit(ORDER), ended)
    (tmp_path / "e" / "00000000-0000-0000-0000-000000000009").mkdir()
    (tmp_path / "e" / "mine").mkdir()
    assert await service.purge() == 1
    assert service.folder_of(job.id).exists()
    server.clock.advance(101 * S)
    assert await service.purge() == 1
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["mine"]
    with pytest.raises(FileNotFoundError):
        await service.read(service.folder_of(job.id) / "x", 0, 1)
    await service.stop()


def test_equal_names_get_names_of_their_own() -> None:
    twin = Target(CAMERAS["yard"], "gate", "main")
    order = ExportOrder((GATE, twin), T0, T0 + S, ("main", "sub"))
    stems = [part.stem for part in order.parts()]
    assert len(set(stems)) == 4
    assert [part.stem for part in order.parts()] == stems
