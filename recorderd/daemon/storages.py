"""The storages of the running server: opened, opened again when they come back, closed with a deadline.

Law: one storage never waits for another. What cannot be opened is a state with an event and is tried again; cameras
and live viewers go on. What is known of each volume (identity, epoch) is remembered in the state database, so that
another disk or a restored copy is refused and an empty mount point is never written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from mediadb.aio import AsyncStore
from mediadb.errors import MediaDbError
from mediadb.known_tail import KnownTail
from mediadb.write.budget import Budget
from mediadb.write.commits import StoreOptions
from recorderd.aio.supervisor import Supervisor
from recorderd.config.schema import StorageConfig
from recorderd.core.clock import Clock
from recorderd.daemon.limits import Limits
from recorderd.daemon.memory import default_budget
from recorderd.daemon.waits import Waits
from recorderd.engine.storage import StorageWatch
from recorderd.state.events import EventLog
from recorderd.state.identities import Identities, KnownVolume

RETRY_S = 10.0
REMEMBER_S = 60.0
REMEMBER_WAIT_S = 0.5
REMOVE_S = 10.0  # how long a reload waits for a storage that it removes
FIRST_LOOK_S = 3.0  # how long a start waits for disks before it goes on without them

_log = structlog.get_logger("storages")


@dataclass(frozen=True, slots=True)
class StorageParts:
    """What storages are opened with. `listener` gives each its listener; `opened` hears of late ones; in `data_dir`
    waits what the ledgers of missing ones are owed."""

    clock: Clock
    identities: Identities
    server: uuid.UUID
    listener: Callable[[str, str], StorageWatch]
    events: EventLog
    opened: Callable[[str], Awaitable[None]]
    data_dir: Path
    budget: Budget = field(default_factory=lambda: Budget(default_budget()))  # of all of them together


class Storages:
    """`stores` holds what is open, by name; it is the mapping that engine and servers look into."""

    def __init__(self, parts: StorageParts, supervisor: Supervisor) -> None:
        self.stores: dict[str, AsyncStore] = {}
        self._parts = parts
        self._tree = supervisor.child("storages", together=True)
        self._run = secrets.randbits(63)  # one run for all logs of this process
        self._waits = Waits(parts.data_dir, self._run, parts.clock)
        self._logs_of: dict[uuid.UUID, int] = {}  # of each track: how many logs have met it, less one
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._looked: dict[str, asyncio.Event] = {}
        self._told: dict[str, str] = {}
        self._configs: dict[str, StorageConfig] = {}  # as they are now, also for those that open later
        self._tails: dict[str, KnownTail] = {}  # as remembered
        self._retry = asyncio.Event()  # what could not be opened is tried now
        self._limits: Limits | None = None  # of cameras; None: their identities are not known yet

    async def start(self, storages: Iterable[StorageConfig]) -> None:
        """Begin with all of them; returns when each was looked at once, or after FIRST_LOOK_S."""
        self._tree.start("ledger waiting", self._waits.keep())
        self._tree.start("remember", self._keep_remembering())
        for storage in storages:
            self.add(storage)
        try:
            async with asyncio.timeout(FIRST_LOOK_S):
                await asyncio.gather(*(event.wait() for event in self._looked.values()))
        except TimeoutError:
            late = [name for name, event in self._looked.items() if not event.is_set()]
            _log.warning("storages-slow", storages=late)

    def add(self, storage: StorageConfig) -> None:
        """Keep trying to open it until it is open."""
        self._configs[storage.name] = storage
        self._parts.listener(storage.name, str(storage.path)).owes(self._waits.of(storage.name))
        self._looked[storage.name] = asyncio.Event()
        self._keepers[storage.name] = self._tree.start(f"open {storage.name}", self._keep_opening(storage.name))

    def limit(self, storages: Iterable[StorageConfig], cameras: Limits) -> None:
        """New limits of age and size, of each storage and of its `cameras`, and who stands in: now or when it opens."""
        self._limits = cameras
        self._configs.update((storage.name, storage) for storage in storages)
        self._pair_up()
        for name, store in self.stores.items():
            self._limit(name, store)

    def _limit(self, name: str, store: AsyncStore) -> None:
        storage = self._configs[name]
        if self._limits is not None:
            store.limits(storage.retention_us, storage.max_size_bytes, self._limits.get(name, {}))

    async def remove(self, name: str) -> list[str]:
        """Stop trying or close it; what was not durable."""
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        store = self.stores.pop(name, None)
        if store is None:
            return []
        store.stand_in(None)
        self._pair_up()
        return await self._close({name: store}, REMOVE_S)

    async def close(self, timeout_s: float) -> list[str]:
        """Close all at the same time, those first whose footage another one writes; names what is not known to be
        durable."""
        for keeper in self._keepers.values():
            keeper.cancel()
        await self._waits.stop()
        abroad = {name: store for name, store in self.stores.items() if store.abroad}
        at_home = {name: store for name, store in self.stores.items() if not store.abroad}
        lost = await self._close(abroad, timeout_s / 2)
        lost += await self._close(at_home, timeout_s / 2 if abroad else timeout_s)
        await self._remember_tails()
        await self._waits.last_words()
        return lost

    async def _close(self, stores: Mapping[str, AsyncStore], timeout_s: float) -> list[str]:
        closing = {name: self._tree.start(f"close {name}", store.close()) for name, store in stores.items()}
        if not closing:
            return []
        await asyncio.wait(closing.values(), timeout=timeout_s)
        lost: list[str] = []
        for name, task in closing.items():
            if not task.done():
                held = stores[name].stats()["held_bytes"]
                stores[name].given_up()
                lost.append(f"storage {name}: did not answer within {timeout_s:.1f} s; {held} bytes that it held")
            elif (error := task.exception()) is not None:
                lost.append(f"storage {name}: {error}")
            else:
                lost += [f"storage {name}: {what}" for what in task.result()]
        return lost

    def _pair_up(self) -> None:
        """Who stands in for whom, of those that are open."""
        for name, store in self.stores.items():
            fallback = self._configs[name].fallback
            store.stand_in(self.stores.get(fallback) if fallback else None)

    async def _keep_opening(self, name: str) -> None:
        for attempt in itertools.count():
            storage = self._configs[name]
            store: AsyncStore | None
            try:
                store = await self._open(storage)
            except (MediaDbError, OSError) as error:
                self._tell(storage, error)
                store = await self._absent(storage)
            if store is not None:
                self._waits.opened(storage.name)
                self._limit(storage.name, store)
                self._pair_up()
                self._looked[storage.name].set()
                self._told.pop(storage.name, "")
                if attempt:
                    await self._parts.opened(storage.name)
                return
            self._looked[storage.name].set()
            self._retry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._retry.wait()

    async def _absent(self, storage: StorageConfig) -> AsyncStore | None:
        """A known volume that is not there, for which another storage stands in: it is opened when it comes."""
        options = await self._options(storage)
        if not storage.fallback or options.expected_volume is None:
            return None
        path = str(storage.path)
        store = AsyncStore.absent(
            storage.path, storage.name, server=self._parts.server, clock=self._parts.clock, options=options,
            listener=self._parts.listener(storage.name, path),
        )  # fmt: skip
        store.reopened = lambda volume, epoch: self._remember(KnownVolume(storage.name, volume, path, epoch))
        self.stores[storage.name] = store
        return store

    async def _options(self, storage: StorageConfig) -> StoreOptions:
        parts = self._parts
        known = (await parts.identities.volumes()).get(storage.name)
        expected = storage.id or (known.volume if known else None)  # a given id tells that the disk was replaced
        return StoreOptions(
            commit_us=storage.commit_us,
            segment_us=storage.segment_us,
            quota_bytes=storage.max_size_bytes,
            retention_us=storage.retention_us,
            limits=None,
            memory_bytes=storage.memory_bytes or parts.budget.limit,
            budget=parts.budget,
            create=expected is None and await asyncio.to_thread(storage.path.is_dir),
            run=self._run,
            first_number=self._first_number,
            waiting=self._waits.of(storage.name).ledger,
            ledger_us=storage.ledger_us,
            expected_volume=expected,
            known_epoch=known.epoch if known and known.volume == expected else None,
            known_tail=known.tail if known and known.volume == expected else None,
        )

    async def _open(self, storage: StorageConfig) -> AsyncStore:
        parts, path = self._parts, str(storage.path)
        options = await self._options(storage)
        store = await AsyncStore.open(
            storage.path, storage.name, server=parts.server, clock=parts.clock, options=options,
            listener=parts.listener(storage.name, path),
        )  # fmt: skip
        self.stores[storage.name] = store  # from here on somebody closes it, whatever happens to this task
        await parts.identities.remember_volume(KnownVolume(storage.name, store.volume_id, path, store.epoch))
        store.reopened = lambda volume, epoch: self._remember(KnownVolume(storage.name, volume, path, epoch))
        return store

    def _first_number(self, track: uuid.UUID) -> int:
        """A camera may go from one storage to another while we run: never the same number for two chunks of a track."""
        logs = self._logs_of[track] = self._logs_of.get(track, -1) + 1
        return logs << 32

    async def accept(self, name: str) -> None:
        """Use the disk that is there although it is older than what is known of this storage. KeyError when nothing is
        known."""
        known = (await self._parts.identities.volumes())[name]
        await self._parts.identities.remember_volume(replace(known, epoch=0, tail=None))
        self._tails.pop(name, None)
        store = self.stores.get(name)
        if store is not None:
            store.accept()
        else:
            self._retry.set()

    async def _keep_remembering(self) -> None:
        while True:
            await asyncio.sleep(REMEMBER_S)
            await self._remember_tails()

    async def _remember_tails(self) -> None:
        """What each storage holds by now: a copy that is put in its place later has less."""
        for name, store in list(self.stores.items()):
            tail = store.tail
            if tail is None or tail == self._tails.get(name):
                continue
            volume = KnownVolume(name, store.volume_id, str(self._configs[name].path), store.epoch, tail)
            try:
                async with asyncio.timeout(REMEMBER_WAIT_S):
                    await self._parts.identities.remember_volume(volume)
            except Exception as error:  # the disk of data_dir, told elsewhere; the same again next time
                _log.warning("tail-not-remembered", storage=name, error=str(error))
            else:
                self._tails[name] = tail

    def _remember(self, volume: KnownVolume) -> None:
        """It was away, came back and has a new epoch."""
        self._tree.start(f"remember {volume.name}", self._parts.identities.remember_volume(volume))

    def _tell(self, storage: StorageConfig, error: MediaDbError | OSError) -> None:
        """One event per kind of trouble, not per attempt."""
        code = error.code if isinstance(error, MediaDbError) else "storage-unusable"
        if self._told.get(storage.name) == code:
            return
        self._told[storage.name] = code
        _log.error("storage-not-opened", storage=storage.name, path=str(storage.path), code=code, error=str(error))
        watch = self._parts.listener(storage.name, str(storage.path))
        params: dict[str, object] = {"reason": code, "message": str(error), "path": str(storage.path)}
        if watch.cause is not None and watch.cause.reason == code:  # the state it begins in: the engine says nothing
            self._parts.events.emit("storage-error", params={"storage": storage.name, **params})
        watch.trouble("storage-error", params)
