"""frames/{time}.jpg: the right picture, by the real worker; every way it can fail."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest
from server_scene import T0, S, Scene, record, scene

from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import DecodePool, PoolOptions, WorkerBusy, WorkerFailed
from recorderd.core.timerange import format_time
from recorderd.media.pipe import PipeMessage

BASE = "/api/v1/cameras/gate/frames"


def at(seconds: float) -> str:
    return format_time(T0 + round(seconds * S))


@pytest.mark.parametrize(("asked", "shown"), [(0.0, 0.0), (3.45, 3.4), (9.9, 9.9), (60.0, 9.9)])
async def test_the_worker_is_given_the_group_up_to_the_picture(server: Scene, asked: float, shown: float) -> None:
    async with server.client.get(f"{BASE}/{at(asked)}.jpg?quality=50&width=100") as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg"), await answer.text()
        assert answer.headers["X-Frame-Time"] == at(shown)
        assert await answer.read() == b"\xff\xd8jpeg"
    head, payload = server.decoder.asked[-1]
    assert len(head["sizes"]) == round(shown * 10) % 10 + 1
    assert sum(head["sizes"]) == len(payload)
    assert (head["codec"], head["quality"], head["width"]) == ("h264", 50, 100)


async def test_a_picture_that_can_be_shown_is_an_earlier_one(server: Scene) -> None:
    server.decoder.answer = PipeMessage({"ok": True, "index": 2}, b"x")
    async with server.client.get(f"{BASE}/{at(3.7)}.jpg") as answer:
        assert answer.headers["X-Frame-Time"] == at(3.2)


async def test_refusals(server: Scene) -> None:
    await server.problem(f"{BASE}/{at(-5)}.jpg", "no-footage")
    await server.problem(f"{BASE}/soon.jpg", "bad-request")
    await server.problem(f"{BASE}/now.jpg?quality=96", "bad-request")
    await server.problem("/api/v1/cameras/yard/frames/now.jpg", "no-footage")
    await server.problem(f"{BASE}/now.jpg?stream=x", "not-found")
    for error, code in ((WorkerBusy("full"), "busy"), (WorkerFailed("twice"), "decode-failed")):
        server.decoder.answer = error
        refusal = await server.problem(f"{BASE}/now.jpg", code)
        assert refusal["status"] == 503
    server.decoder.answer = PipeMessage({"ok": False, "error": {"code": "decode-failed", "message": "no"}})
    await server.problem(f"{BASE}/now.jpg", "decode-failed")


async def test_a_real_picture_from_the_real_worker(tmp_path: Path) -> None:
    async with Supervisor("pool") as tree:
        pool = DecodePool(tree, PoolOptions(size=1, timeout_s=60))
        async with scene(tmp_path, decoder=pool) as made:
            await record(made.store, "gate", end=30)
            async with made.client.get(f"{BASE}/{at(1.5)}.jpg") as answer:
                assert answer.status == 200, await answer.text()
                data = await answer.read()
    with av.open(io.BytesIO(data), format="jpeg_pipe") as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (96, 160, 3)
    red = (picture[48].astype(int) @ [2, -1, -1]) > 200  # frame 15 has a red field of 45 pixels, the rest is grey
    assert abs(int(red.sum()) - 45) <= 3
