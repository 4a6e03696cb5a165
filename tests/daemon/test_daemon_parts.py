"""Parts of the composition root by themselves: redaction, re-binding, closing storages."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from mediadb.aio import AsyncStore
from mediadb.errors import StorageStalled
from mediadb.types import Names, TrackKind, TrackSpec
from recorderd.aio.supervisor import Supervisor
from recorderd.config.schema import CameraConfig, Config, HardwareConfig, HttpConfig
from recorderd.core.secret import Secret
from recorderd.daemon import engine_store, logs
from recorderd.daemon.rebind import bindings
from recorderd.daemon.serving import socket_path
from recorderd.daemon.storages import Storages

CANARY = "canary-7Xq2-secret"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.setup("debug", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_no_way_of_logging_shows_a_secret(log: io.StringIO) -> None:
    logger = structlog.get_logger("x")
    logger.info("login", password=CANARY, secret=Secret(CANARY), params={"user": "u", "password": CANARY})
    logger.info(f"dialling rtsp://admin:{CANARY}@192.0.2.1/x", urls=[f"rtsp://:{CANARY}@h/"])
    logging.getLogger("library").warning("rtsp://u:%s@h/ refused", CANARY)
    try:
        raise ValueError(f"cannot open rtsp://u:{CANARY}@h/")
    except ValueError:
        logger.exception("broken", authorization=f"Basic {CANARY}")
    text = log.getvalue()
    assert CANARY not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines][:2] == ["login", "dialling rtsp://***@192.0.2.1/x"]
    assert lines[0]["params"] == {"user": "u", "password": "***"}
    assert "ValueError" in lines[3]["exception"]


@dataclass
class Track:
    spec: TrackSpec
    names: Names


def test_cameras_of_a_new_state_database_are_found_again_by_their_names() -> None:
    ids = [uuid.uuid4() for _ in range(6)]

    def track(hardware: uuid.UUID, camera: uuid.UUID, hardware_name: str, name: str) -> Track:
        return Track(TrackSpec(uuid.uuid4(), camera, hardware, TrackKind.VIDEO), Names(name, hardware_name))

    tracks = [
        track(ids[0], ids[1], "gate", "gate"), track(ids[0], ids[1], "gate", "gate"),  # video and audio
        track(ids[2], ids[3], "twice", "twice"), track(ids[4], ids[5], "twice", "twice"),  # doubtful
    ]  # fmt: skip
    devices = [
        HardwareConfig(name, "rtsp", f"rtsp://{name}/", cameras=(CameraConfig(name),))
        for name in ("gate", "twice", "new")
    ]
    (found,) = bindings(Config(hardware=tuple(devices)), tracks)
    assert (found.address, found.hardware, found.cameras) == ("rtsp://gate/", ids[0], ((0, ids[1]),))


class StoreThatCloses:
    """Ends with what it was told: a list, an error, or never."""

    abroad = False
    tail = None

    def __init__(self, end: list[str] | Exception | None) -> None:
        self._end = end
        self.given_up_on = False

    def given_up(self) -> None:
        self.given_up_on = True

    def stats(self) -> dict[str, int]:
        return {"held_bytes": 7}

    async def close(self) -> list[str]:
        if self._end is None:
            await asyncio.Event().wait()
        if isinstance(self._end, Exception):
            raise self._end
        return cast("list[str]", self._end)


async def test_closing_names_what_is_not_durable_and_never_waits_for_a_hung_disk() -> None:
    async with Supervisor("test", report=lambda name, error: None) as tree:
        storages = Storages(cast("Any", SimpleNamespace(data_dir=Path("/data"), clock=None)), tree)
        ends: dict[str, Any] = {"good": [], "lossy": ["3 samples"], "broken": OSError(5, "I/O error"), "hung": None}
        storages.stores.update({name: cast("Any", StoreThatCloses(end)) for name, end in ends.items()})
        stores: dict[str, Any] = dict(storages.stores)
        lost = await storages.close(0.05)
    assert [name for name, store in stores.items() if store.given_up_on] == ["hung"]
    assert [text.partition(":")[0] for text in lost] == ["storage lossy", "storage broken", "storage hung"]
    assert "3 samples" in lost[0]


def test_the_socket_lies_in_the_data_folder_unless_the_kernel_refuses_its_length() -> None:
    assert socket_path(HttpConfig(), Path("/data")) == Path("/data/api.sock")
    assert socket_path(HttpConfig(socket=Path("/run/x.sock")), Path("/data")) == Path("/run/x.sock")
    assert socket_path(HttpConfig(), Path("/" + "d" * 120)) is None


class ReaderOfAStalledDisk:
    """Answers the third question."""

    def __init__(self) -> None:
        self.reader = self
        self.asked = 0

    def tracks(self) -> list[object]:
        return []

    async def read(self, call: Callable[[], list[object]]) -> list[object]:
        self.asked += 1
        if self.asked < 3:
            raise StorageStalled("the storage 'main' does not answer")
        return call()


async def test_what_a_stalled_disk_knew_is_asked_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_store, "AGAIN_S", 0)
    disk = ReaderOfAStalledDisk()
    assert await engine_store.EngineStore(cast(AsyncStore, disk)).known_tracks() == []
    assert disk.asked == 3
