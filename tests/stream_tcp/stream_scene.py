"""A stream API server over the real media database with footage of `gate`, and live streams that tests push into."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mediadb.aio import AsyncStore, StoreOptions
from recorderd.aio.supervisor import Supervisor
from recorderd.core.clock import FakeClock
from recorderd.engine.storage import StorageWatch
from recorderd.server.deps import ServerDeps, ServerInfo
from recorderd.server.stream_tcp.limits import StreamLimits
from recorderd.server.stream_tcp.listener import StreamServer
from recorderd.state.database import StateDb
from recorderd.state.events import EventLog
from recorderd.state.jobs import Jobs
from tests.server.server_scene import CAMERAS, SERVER, T0, FakeDecoder, FakeEngine, S
from tests.stream_tcp.raw_peer import Peer


class StreamEngine(FakeEngine):
    """With the watch of the storage."""

    def __init__(self, watch: StorageWatch) -> None:
        super().__init__()
        self._watch = watch

    def listener(self, storage: str) -> StorageWatch:
        assert storage == "main"
        return self._watch


class _Later:
    """The store's listener is needed before the watch can be made."""

    def __init__(self) -> None:
        self.watch: StorageWatch | None = None

    def __getattr__(self, name: str) -> Callable[..., None]:
        def told(*facts: Any, **more: Any) -> None:
            if self.watch is not None:
                getattr(self.watch, name)(*facts, **more)

        return told


@dataclass
class StreamScene:
    deps: ServerDeps
    engine: StreamEngine
    store: AsyncStore
    clock: FakeClock
    server: StreamServer
    tree: Supervisor
    peers: list[Peer] = field(default_factory=list)

    async def peer(self, **more: Any) -> Peer:
        peer = await Peer.connect(self.server.addresses[0], **more)
        self.peers.append(peer)
        return peer

    def source(self, camera: str = "gate", role: str = "main") -> Any:
        return self.engine.sources[CAMERAS[camera], role]


@asynccontextmanager
async def stream_scene(folder: Path, limits: StreamLimits | None = None, **changes: Any) -> AsyncIterator[StreamScene]:
    clock, later = FakeClock(T0 + 11 * S), _Later()
    options = StoreOptions(commit_us=10**12, slot_us=20_000, create=True, **changes.pop("store", {}))
    store = await AsyncStore.open(
        folder / "volume", "main", server=SERVER, clock=clock, options=options, listener=later
    )
    db = await StateDb.open(folder / "state.db")
    events = await EventLog.open(db, clock)
    later.watch = StorageWatch("main", str(folder / "volume"), clock, events)
    engine = StreamEngine(later.watch)
    async with Supervisor("test") as tree:

        async def reload() -> dict[str, Any]:
            return {}

        deps = ServerDeps(
            clock=clock, supervisor=tree, engine=engine, stores={"main": store}, events=events, jobs=Jobs(db, clock),
            decoder=FakeDecoder(), info=ServerInfo(SERVER, "hq", "0.1.0", T0), reload=reload,
        )  # fmt: skip
        server = StreamServer(deps, limits)
        await server.start(("127.0.0.1", 0))
        made = StreamScene(deps, engine, store, clock, server, tree)
        try:
            yield made
        finally:
            for peer in made.peers:
                await peer.close()
            await server.stop()
    await store.close()
    await db.close()


def camera_id(name: str = "gate") -> uuid.UUID:
    return CAMERAS[name]
