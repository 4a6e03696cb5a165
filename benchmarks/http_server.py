"""The HTTP server of the product over a volume made for a benchmark, in a process of its own: prints its port.

Law: the application, the store and its reader are the product's; only the engine behind them is a stand-in that knows
one camera. Called by `playback` and `timeline` as `python -m benchmarks.http_server VOLUME`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from mediadb.aio import AsyncStore
from mediadb.types import TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock
from recorderd.engine.stream import track_id
from recorderd.engine.views import CameraView, RecordingView, StreamView
from recorderd.server import footage
from recorderd.server.deps import ServerDeps, ServerInfo
from recorderd.server.http import movie
from recorderd.server.http.app import build_app

OWNER = uuid.UUID(int=7)
CAMERA = uuid.UUID(int=0xCA)
PATH = f"/api/v1/cameras/{CAMERA}"


def spec(kind: TrackKind) -> TrackSpec:
    return TrackSpec(track_id(CAMERA, "main", kind), CAMERA, OWNER, kind)


class _Engine:
    """Knows one camera."""

    live = None

    def camera(self, _: str) -> CameraView:
        stream = StreamView("main", False, "", "h264", "", 640, 360, 25.0, 0, 0, 0, 0, ())
        recording = RecordingView("camera-offline", "", 0, None, False)
        return CameraView(CAMERA, "bench", 0, OWNER, "box", "main", "never", "", "", False, recording, (stream,))


class _Listener:
    def committed(self, info: object) -> None:
        pass

    def trouble(self, code: str, params: dict[str, object]) -> None:
        print(code, params, file=sys.stderr)

    def shed(self, *_: object) -> None:
        pass


async def serve(volume: Path, storage: str) -> None:
    """Until standard input ends."""
    clock = SystemClock()
    options = StoreOptions(commit_us=3_600_000_000, create=True)
    store = await AsyncStore.open(
        volume, storage, server=OWNER, clock=clock, options=options, listener=cast(Any, _Listener())
    )
    async with Supervisor("bench") as tree:
        deps = ServerDeps(
            clock=clock, supervisor=tree, engine=cast(Any, _Engine()), stores={"main": store}, events=cast(Any, None),
            jobs=cast(Any, None), decoder=cast(Any, None), info=ServerInfo(OWNER, "bench", "0", clock.utc_us()),
            reload=cast(Any, None), data_dir=volume.parent,
        )  # fmt: skip
        runner = web.AppRunner(build_app(deps), access_log=None)
        await runner.setup()
        await store.read(store.reader.tracks)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()
    await store.close()


@contextmanager
def server(volume: Path, storage: str = "main", track: uuid.UUID | None = None) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server over this volume; `track` is its camera's video, whatever the camera's id."""
    argv = [sys.executable, "-m", "benchmarks.http_server", str(volume), storage, *([str(track)] if track else [])]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.communicate(timeout=30)


if __name__ == "__main__":
    if os.environ.get("BENCH_LONG_FORM"):
        movie.LONG_US = 0
    if len(sys.argv) > 3:
        own = uuid.UUID(sys.argv[3])
        vars(footage)["track_id"] = lambda camera, role, kind: (
            own if kind is TrackKind.VIDEO else track_id(camera, role, kind)
        )
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
