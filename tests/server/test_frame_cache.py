"""A picture is decoded once, kept within bounds, and named so that nobody gets another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from server_scene import T0, S, Scene

from recorderd.aio.supervisor import Supervisor
from recorderd.core.timerange import format_time
from recorderd.media.pipe import PipeMessage
from recorderd.server.http.frame_cache import ENTRY_BYTES, FrameCache, Picture


def path(seconds: float, query: str = "") -> str:
    return f"/api/v1/cameras/gate/frames/{format_time(T0 + int(seconds * S))}.jpg{query}"


async def fetch(server: Scene, where: str, **headers: str) -> tuple[int, bytes, Any]:
    async with server.client.get(where, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_many_who_ask_at_once_cost_one_decoding(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = asyncio.Event(), 0

    async def ask(head: Any, payload: bytes) -> PipeMessage:
        nonlocal asked
        asked += 1
        await go.wait()
        return PipeMessage({"ok": True}, b"\xff\xd8one")

    monkeypatch.setattr(server.decoder, "ask", ask)
    gone = asyncio.ensure_future(fetch(server, path(3.25)))
    while not asked:  # noqa: ASYNC110 - the request is on its way
        await asyncio.sleep(0.002)
    others = [asyncio.ensure_future(fetch(server, path(3.25))) for _ in range(8)]
    gone.cancel()  # who began it leaves; the others get it all the same
    await asyncio.wait([gone])
    await asyncio.sleep(0.05)
    go.set()
    answers = await asyncio.gather(*others)
    assert asked == 1
    assert {body for _, body, _ in answers} == {b"\xff\xd8one"}
    assert {headers["X-Frame-Time"] for *_, headers in answers} == {format_time(T0 + 3_200_000)}
    assert (await fetch(server, path(3.28)))[1] == b"\xff\xd8one"
    assert asked == 1
    for other in (path(3.35), path(3.25, "?width=80"), path(3.25, "?quality=50")):
        await fetch(server, other)
    assert asked == 4


async def test_not_modified_and_how_long_it_may_be_kept(server: Scene) -> None:
    status, _, headers = await fetch(server, path(3.25))
    assert (status, headers["Cache-Control"]) == (200, "private, max-age=3600")
    etag = headers["ETag"]
    asked = len(server.decoder.asked)
    status, body, headers = await fetch(server, path(3.28), **{"If-None-Match": etag})
    assert (status, body, headers["ETag"]) == (304, b"", etag)
    assert (await fetch(server, path(3.35), **{"If-None-Match": etag}))[0] == 200
    assert len(server.decoder.asked) == asked + 1
    for moving in ("/api/v1/cameras/gate/frames/now.jpg", path(20)):
        assert (await fetch(server, moving))[2]["Cache-Control"] == "private, no-cache"


async def test_a_failure_is_told_to_all_and_not_kept(server: Scene) -> None:
    server.decoder.answer = PipeMessage({"ok": False, "error": {"code": "x", "message": "y"}}, b"")
    for _ in range(2):
        await server.problem(path(3), "decode-failed")
    assert len(server.decoder.asked) == 2
    server.decoder.answer = PipeMessage({"ok": True}, b"\xff\xd8")
    assert (await fetch(server, path(3)))[0] == 200


async def test_the_bytes_are_bounded_and_the_least_used_go(server: Scene) -> None:
    made: list[str] = []

    async def picture(name: str) -> Picture:
        made.append(name)
        return Picture(bytes(1000), 0)

    async with Supervisor("frames") as tree:
        cache = FrameCache(tree, 3 * (1000 + ENTRY_BYTES))
        for name in ("a", "b", "c", "a", "d", "a", "b"):
            await cache.get(name, lambda name=name: picture(name))  # type: ignore[misc]
            assert cache.bytes <= 3 * (1000 + ENTRY_BYTES)
    assert made == ["a", "b", "c", "d", "b"]
