"""The audit: seconds per state from the ledger itself, unexplained time and lost files found without being asked."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, SERVER, T0, Listener, S, Scene, record, scene

from mediadb.aio import AsyncStore, StoreOptions
from mediadb.errors import ChunkCorrupt
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page
from mediadb.types import Kind, TrackKind
from recorderd.core.clock import FakeClock
from recorderd.engine.stream import track_id
from recorderd.server.footage import asked_of
from recorderd.server.http.metrics import metrics_text
from recorderd.services.reports.audit import CoverageAudit

GATE = track_id(CAMERAS["gate"], "main", TrackKind.VIDEO)


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, uuid.UUID | None, Any]] = []

    def __call__(self, code: str, *, camera: uuid.UUID | None = None, params: Any = None) -> None:
        self.events.append((code, camera, params))


def audit_of(server: Scene, told: Told) -> CoverageAudit:
    engine: Any = server.engine
    made = CoverageAudit(server.deps.stores, server.clock, lambda: asked_of(engine), told)
    made._began_us = T0  # as if the server had started when the footage begins
    return made


async def test_every_second_is_counted_once_with_the_state_that_coverage_says(server: Scene) -> None:
    told = Told()
    audit = audit_of(server, told)
    await audit.round()
    assert audit.seconds()["gate"] == {}, "a minute has not passed"
    for _ in range(4):
        server.clock.advance(20 * S)
        await audit.round()
    now_us = server.clock.utc_us()
    for name in CAMERAS:
        assert abs(sum(audit.seconds()[name].values()) - (now_us - 60 * S - T0) / S) < 1e-6
    assert audit.seconds()["gate"]["recorded"] >= 10
    text = metrics_text([], [], [], {}, {}, audit.seconds())
    assert 'recorderd_camera_state_seconds_total{camera="gate",cause="recorded"}' in text


async def test_what_nobody_explains_is_an_event_and_a_figure(server: Scene) -> None:
    told = Told()
    audit = audit_of(server, told)
    await record(server.store, "yard", start=0, end=20, audio=False)
    await record(server.store, "yard", start=60, end=80, audio=False)  # four seconds claimed and not there
    server.clock.advance(120 * S)
    await audit.round()
    assert audit.seconds()["yard"]["unexplained"] >= 3.5
    assert ("coverage-unexplained", CAMERAS["yard"]) in [(code, camera) for code, camera, _ in told.events]
    text = metrics_text([], [], [], {}, {}, audit.seconds())
    assert 'recorderd_camera_unexplained_seconds_total{camera="away"} 0\n' in text
    yard = audit.seconds()["yard"]["unexplained"]
    assert f'recorderd_camera_unexplained_seconds_total{{camera="yard"}} {yard:.15g}\n' in text
    before = len(told.events)
    await audit.round()
    assert len(told.events) == before, "each second is looked at once"


async def test_a_storage_that_is_away_is_counted_and_a_step_of_the_clock_goes_through_no_year(server: Scene) -> None:
    told = Told()
    engine: Any = server.engine
    audit = CoverageAudit({}, server.clock, lambda: asked_of(engine), told)
    server.clock.advance(120 * S)
    await audit.round()
    assert audit.seconds()["gate"] == {"storage-error": 60.0}
    server.clock.step(365 * 86_400 * S)
    await audit.round()
    assert sum(audit.seconds()["gate"].values()) <= 60 + 3600
    server.clock.step(-730 * 86_400 * S)
    await audit.round()
    server.clock.advance(60 * S)
    await audit.round()
    assert told.events == []


async def test_lost_files_and_damage_are_told_counted_and_remembered(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    async with scene(tmp_path) as first:
        await record(first.store, "gate")
    (path,) = volume.rglob("*.rseg")
    clock, listener = FakeClock(T0 + 60 * S), Listener()
    options = StoreOptions(commit_us=10**12, slot_us=20_000)

    async def opened() -> AsyncStore:
        return await AsyncStore.open(volume, "main", server=SERVER, clock=clock, options=options, listener=listener)

    store = await opened()
    ref = next(r for r in await store.read(lambda: list(store.reader.chunks(GATE, T0, T0 + 9 * S))) if r.seq > 4)
    assert ref.kind in (Kind.KEY, Kind.DELTA)
    good = path.read_bytes()
    path.write_bytes(
        good[: ref.row.offset + 300] + bytes([good[ref.row.offset + 300] ^ 1]) + good[ref.row.offset + 301 :]
    )
    with pytest.raises(ChunkCorrupt):
        await store.read(store.reader.read, ref)
    assert (await store.close(), [code for code, _ in listener.troubles]) == ([], ["chunk-corrupt"])

    store = await opened()
    found = (await store.read(store.reader.coverage, [GATE], ref.recv_us, ref.end_us))[GATE]
    assert [(str(one.cause.state), one.cause.reason) for one in found] == [("storage-error", "chunk-damaged")]
    assert store.stats()["damaged_chunks"] == 1
    path.unlink()
    audit = CoverageAudit({"main": store}, clock, list, Told())
    clock.advance(200 * S)
    await audit.round()
    assert [code for code, _ in listener.troubles] == ["chunk-corrupt", "segment-missing"]
    assert store.stats()["missing_segments"] == 1
    await store.close()


async def test_the_patrol_lets_go_of_ledger_months_that_nobody_can_ask_for(server: Scene, tmp_path: Path) -> None:
    (folder,) = (tmp_path / "volume/ledger/main").iterdir()
    for name, run in (("2001-01", 5), ("2025-12", 6)):
        page = encode_page([LedgerRecord(LedgerKind.ALIVE, 0, {})], run, 1, 0, 0)
        (folder / name).write_bytes(page)
    audit = audit_of(server, Told())
    server.clock.advance(130 * S)
    await audit.round()
    await server.store.flush()
    await asyncio.to_thread(server.store._thread._keeper.submit(lambda: None).result)
    await asyncio.sleep(0)
    assert not (folder / "2001-01").exists()
    assert (folder / "2025-12").exists(), "less than 400 days before the oldest footage"
    assert ("ledger-cut", {"months": ["2001-01"]}) in server.listener.troubles
