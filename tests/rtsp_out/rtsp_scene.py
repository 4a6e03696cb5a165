"""RtspOut over a real store and a stand-in engine, on the system's clock and loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mediadb.aio import AsyncStore, StoreOptions
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock
from recorderd.media.access_unit import MediaKind
from recorderd.server.deps import ServerDeps, ServerInfo
from recorderd.server.rtsp.listener import RtspLimits, RtspOut
from recorderd.state.database import StateDb
from recorderd.state.events import EventLog
from recorderd.state.jobs import Jobs
from tests.server.server_scene import (
    CAMERAS,
    SERVER,
    T0,
    FakeDecoder,
    FakeEngine,
    Listener,
    Source,
    audio_clip,
    units,
    video_clip,
)

GATE = CAMERAS["gate"]


async def until(done: Callable[[], object]) -> None:
    """Wait, patiently, for what other tasks bring about."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.002)


@dataclass
class RtspScene:
    """`failures`: tasks of the server that ended with an error."""

    server: RtspOut
    engine: FakeEngine
    store: AsyncStore
    failures: list[BaseException]
    clock: SystemClock

    def tasks(self) -> int:
        """Of all viewers, alive now."""
        return self.server.tree.census()

    @property
    def port(self) -> int:
        return self.server.addresses[0][1]

    def url(self, path: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}{path}"

    def source(self, camera: str = "gate", role: str = "main") -> Source:
        return self.engine.sources[CAMERAS[camera], role]

    def hold_gop(self, audio: bool = True) -> None:
        """The camera sends, and its newest GOP is the clip's first."""
        self.source().gop = units(video_clip(), 0, 3) + (units(audio_clip(), 0, 4, MediaKind.AUDIO) if audio else [])

    async def feed(self, frames: int = 60, start: int = 3, audio: bool = True) -> None:
        """Push the rest of the clip in order of time, a yield to the loop between units."""
        items = units(video_clip(), start, start + frames)
        if audio:
            items += units(audio_clip(), 4, 4 + int(frames * 1.6), MediaKind.AUDIO)
        for kind, unit in sorted(items, key=lambda item: item[1].recv_us):
            self.source().push(kind, unit)
            await asyncio.sleep(0)


@asynccontextmanager
async def rtsp_scene(folder: Path, limits: RtspLimits | None = None) -> AsyncIterator[RtspScene]:
    clock = SystemClock()
    options = StoreOptions(commit_us=10**12, slot_us=20_000, create=True)
    store = await AsyncStore.open(
        folder / "volume", "main", server=SERVER, clock=clock, options=options, listener=Listener()
    )
    db = await StateDb.open(folder / "state.db")
    failures: list[BaseException] = []

    async def reload() -> dict[str, object]:
        return {}

    engine = FakeEngine()
    async with Supervisor("test", report=lambda _, error: failures.append(error)) as tree:
        deps = ServerDeps(
            clock=clock, supervisor=tree, engine=engine, stores={"main": store},
            events=await EventLog.open(db, clock), jobs=Jobs(db, clock), decoder=FakeDecoder(),
            info=ServerInfo(SERVER, "hq", "0.1.0", T0), reload=reload,
        )  # fmt: skip
        server = RtspOut(deps, limits)
        await server.start(("127.0.0.1", 0))
        try:
            yield RtspScene(server, engine, store, failures, clock)
        finally:
            await server.stop()
    await store.close()
    await db.close()
    assert not failures, failures
