"""The server, put together: state, storages, engine, HTTP, in this order; taken down in reverse.

Law: wiring and order only. Recording begins before anybody is served and ends after the last viewer was told; what
is held is made durable before the process ends, or named.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from mediadb.errors import MediaDbError
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.write.budget import Budget
from recorderd.aio import sd_notify
from recorderd.aio.loop_watchdog import LoopWatchdog
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import DecodePool
from recorderd.config.diff import ReloadPlan
from recorderd.config.load import LoadResult, load, look_nowhere
from recorderd.config.schema import Config
from recorderd.core.clock import Clock
from recorderd.daemon.data_dir import DataDir
from recorderd.daemon.engine_store import EngineStore
from recorderd.daemon.limits import camera_limits, reclaim_options
from recorderd.daemon.memory import default_budget
from recorderd.daemon.rebind import bindings
from recorderd.daemon.reloading import Reloader
from recorderd.daemon.serving import Serving
from recorderd.daemon.state_start import State, hold_data_dir, open_state
from recorderd.daemon.storages import StorageParts, Storages
from recorderd.daemon.upkeep import feed_watchdog, purge_forever
from recorderd.daemon.vitals import Vitals
from recorderd.engine.engine import Engine, EngineDeps
from recorderd.engine.registry import Registry
from recorderd.server.deps import ServerDeps, ServerInfo
from recorderd.server.footage import asked_of
from recorderd.services.exports.service import ExportOptions, ExportService
from recorderd.services.reports.audit import CoverageAudit
from recorderd.services.reports.service import CoverageReports
from recorderd.state.events import EventLog
from recorderd.state.jobs import Jobs

STOP_S = 4.5  # from the signal to the last word
SERVE_STOP_S = 3.0  # viewers and drivers leave within this, the rest belongs to the disks

_log = structlog.get_logger("daemon")


class Daemon:
    """`start`, then `reload` any number of times, then `stop`. `path` is where the configuration is read again."""

    def __init__(self, path: Path, config: Config, registry: Registry, clock: Clock) -> None:
        self.registry = registry
        self.clock = clock
        self.watchdog = LoopWatchdog(clock)
        self._path = path
        self._first = config
        self._lock = asyncio.Lock()
        self._tree = Supervisor("daemon", report=self._task_failed)
        self._lock_fd: int | None = None  # until `_data_dir` has it
        self._data_dir: DataDir | None = None
        self._state: State | None = None
        self._events: EventLog | None = None
        self._serving: Serving | None = None
        self._exports: ExportService | None = None
        self._pulse = 0
        self.vitals = Vitals(self.watchdog, self._tree)

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when every camera was started and the API answers. Raises RecorderdError; then `stop`."""
        config = self._first
        self.watchdog.start()
        self._lock_fd = hold_data_dir(config.server.data_dir)
        state = self._state = await open_state(config, self.clock)
        events = self._events = self.vitals.events = await EventLog.open(state.db, self.clock)
        self._tree.restarting("events", events.write_forever, _again_after_a_second)
        data_dir = DataDir(state.db, self._lock_fd, lambda code, params: events.emit(code, params=params))
        self._data_dir, self._lock_fd = data_dir, None
        self._tree.restarting("data-dir", data_dir.keep_forever, _again_after_a_second)
        events.emit("server-started", params={"version": version("recorderd")})
        if state.moved_to is not None:
            events.emit("state-damaged", params={"moved_to": str(state.moved_to)})
        jobs = Jobs(state.db, self.clock)
        await jobs.interrupt_open()
        await self._start_engine(config, state, events)
        self._exports = ExportService(
            jobs,
            self.storages.stores,
            self.clock,
            self._tree,
            config.exports.folder or config.server.data_dir / "exports",
            ExportOptions(keep_us=config.exports.keep_us, reserve_bytes=config.exports.reserve_bytes),
        )
        self._reports = CoverageReports(self.storages.stores, self.clock)
        self._audit = CoverageAudit(self.storages.stores, self.clock, lambda: asked_of(self.engine), events.emit)
        await self._start_servers(config, state, events, jobs)
        await self._exports.start()
        self._tree.restarting("audit", self._audit.run_forever, _again_after_a_second)
        self._tree.restarting("purge", lambda: self._purge(events, jobs), _again_after_a_second)
        self._tree.restarting("pulse", self._beat, _again_after_a_second)
        self._tree.start("watchdog", feed_watchdog(self.watchdog, self._tree_moves, self.vitals.status))
        gc.freeze()  # what lives as long as the process is never looked at again
        sd_notify.ready(self.vitals.status())

    async def stop(self) -> list[str]:
        """Take everything down within STOP_S; returns what is not known to be durable. Idempotent."""
        deadline_us = self.clock.monotonic_us() + int(STOP_S * 1e6)
        sd_notify.stopping("writing what is held")
        lost: list[str] = []
        ends = [
            part.stop() for part in (self._serving, self._exports, getattr(self, "engine", None)) if part is not None
        ]
        try:
            async with asyncio.timeout(SERVE_STOP_S):
                await asyncio.gather(*ends)
        except TimeoutError:
            _log.error("slow-to-leave", parts="viewers or drivers", waited_s=SERVE_STOP_S)
        if hasattr(self, "storages"):
            lost = await self.storages.close(max(0.5, (deadline_us - self.clock.monotonic_us()) / 1e6))
        if self._events is not None:
            self._events.emit("server-stopped", params={"not_durable": lost})
            lost += await self._flush_events(self._events)
        await self._tree.stop(1.0)
        if self._state is not None:
            await self._state.db.close()
        self.watchdog.stop()
        if self._data_dir is not None:
            self._data_dir.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        return lost

    async def limits_ahead(self) -> Mapping[str, ReclaimOptions]:
        """The limits of the storages as the configuration file has them now; empty when it cannot be used."""
        found = await asyncio.to_thread(self._load)
        ids = {view.name: view.id for view in self.engine.cameras()}
        return {} if found.config is None else reclaim_options(found.config, ids)

    async def _deletes(self, config: Config) -> dict[str, int]:
        """Bytes that go by age and size with the limits of `config` and would not with those in force, by storage."""
        ids = {view.name: view.id for view in self.engine.cameras()}
        before, after = (reclaim_options(one, ids) for one in (self.reloader.config, config))
        found = {}
        for name, store in self.storages.stores.items():
            if name in before and name in after and before[name] != after[name]:
                try:
                    going = await store.read(store.reclaim.plan, after[name])
                except MediaDbError:  # away, or it does not answer: not known, and no reason to refuse the limits
                    continue
                found[name] = sum(removal.freed_bytes for removal in going)
        return {name: size for name, size in found.items() if size}

    async def reload(self) -> Mapping[str, Any]:
        """Read the configuration again. Raises ConfigRejected and leaves everything as it is."""
        sd_notify.reloading(self.clock)
        try:
            return await self.reloader.reload(self._lock)
        finally:
            sd_notify.ready(self.vitals.status())

    # -- what it says of itself ---------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._serving.addresses if self._serving is not None else []

    # -- building -----------------------------------------------------------------------------------------------

    async def _start_engine(self, config: Config, state: State, events: EventLog) -> None:
        """Storages are asked first, with little patience; then every camera starts."""
        self.engine_stores: dict[str, EngineStore] = {}
        self.engine = self.vitals.engine = Engine(
            EngineDeps(
                clock=self.clock,
                supervisor=self._tree,
                registry=self.registry,
                stores=self.engine_stores,
                identities=state.identities,
                events=events,
                load=self.watchdog.load,
            )
        )
        budget = self.vitals.budget = Budget(config.server.memory_bytes or default_budget())
        parts = StorageParts(
            self.clock, state.identities, state.server, self.engine.listener, events, self._storage_came,
            config.server.data_dir, budget,
        )  # fmt: skip
        self.storages = Storages(parts, self._tree)
        self.reloader = Reloader(self._path, config, self._load, self._apply, events, self._deletes)
        await self.storages.start(config.storages)
        self._show_stores()
        await self._bind_again(config, state)
        await self.engine.start(config)
        self._set_limits(config)

    def _set_limits(self, config: Config) -> None:
        """How long each camera is kept: known once the cameras' identities are."""
        ids = {view.name: view.id for view in self.engine.cameras()}
        self.storages.limit(config.storages, camera_limits(config, ids))

    async def _bind_again(self, config: Config, state: State) -> None:
        """With a new state database, cameras found in the footage keep their identities."""
        if await state.identities.knows_hardware():
            return
        there = [store for store in self.storages.stores.values() if not store.failing]
        tracks = [track for store in there for track in await store.read(store.reader.tracks)]
        for binding in bindings(config, tracks):
            await state.identities.hardware(binding.driver, binding.address, binding.hardware)
            for channel, camera in binding.cameras:
                await state.identities.camera(binding.hardware, channel, camera)
            _log.warning("identity-from-footage", hardware=str(binding.hardware), cameras=len(binding.cameras))

    async def _start_servers(self, config: Config, state: State, events: EventLog, jobs: Jobs) -> None:
        decoder = self.vitals.decoder = DecodePool(self._tree)
        info = ServerInfo(state.server, config.server.name, version("recorderd"), self.clock.utc_us())
        deps = ServerDeps(
            clock=self.clock,
            supervisor=self._tree,
            engine=self.engine,
            stores=self.storages.stores,
            events=events,
            jobs=jobs,
            decoder=decoder,
            info=info,
            reload=self.reload,
            limits_ahead=self.limits_ahead,
            accept_storage=self.storages.accept,
            subsystems=self.vitals.subsystems,
            gauges=self.vitals.gauges,
            exports=self._exports,
            reports=self._reports,
            audit=self._audit,
            data_dir=config.server.data_dir,
        )
        self._serving = Serving(deps, self.vitals)
        await self._serving.start(config)

    # -- reload and late storages -------------------------------------------------------------------------------

    def _load(self) -> LoadResult:
        return load(self._path, self.registry.infos, look_nowhere)

    async def _apply(self, plan: ReloadPlan, config: Config) -> None:
        for storage in plan.added_storages:
            self.storages.add(storage)
        await self.engine.apply(plan, config)
        self._set_limits(config)
        for storage in plan.removed_storages:
            self.engine_stores.pop(storage.name, None)
            for what in await self.storages.remove(storage.name):
                _log.error("not-durable", storage=storage.name, what=what)

    async def _storage_came(self, name: str) -> None:
        """A storage that was missing was opened: its cameras record from now on."""
        self._show_stores()
        if self._events is not None:
            self._events.emit("storage-recovered", params={"storage": name})
        async with self._lock:
            await self.engine.apply(ReloadPlan(), self.reloader.config)

    def _show_stores(self) -> None:
        for name, store in self.storages.stores.items():
            if name not in self.engine_stores:
                self.engine_stores[name] = EngineStore(store)

    # -- upkeep -------------------------------------------------------------------------------------------------

    async def _purge(self, events: EventLog, jobs: Jobs) -> None:
        await purge_forever(events, jobs, self.clock, lambda: self.reloader.config.server.event_retention_us)

    async def _beat(self) -> None:
        while True:
            self._pulse += 1
            await asyncio.sleep(1.0)

    def _tree_moves(self) -> bool:
        """Whether the supervised tasks ran since the last look."""
        moved, self._pulse = self._pulse > 0, 0
        return moved

    def _task_failed(self, task: str, error: BaseException) -> None:
        if self._events is not None:
            self._events.emit("task-failed", params={"task": task, "error": type(error).__name__})

    async def _flush_events(self, events: EventLog) -> list[str]:
        try:
            async with asyncio.timeout(1.0):
                await events.flush()
        except Exception as error:  # whatever stops the last events, the media is safe already
            _log.error("events-not-written", error=str(error))
            return ["the newest events"]
        return []


def _again_after_a_second() -> Iterator[float]:
    return itertools.repeat(1.0)
