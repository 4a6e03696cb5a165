"""Exports over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, T0, S, Scene

from mediadb.fs import RealFs
from mediadb.tools.verify import verify_export
from recorderd.core.rights import LOCAL, Principal, Right
from recorderd.core.timerange import format_time

PATH = "/api/v1/exports"
ORDER = {"cameras": ["gate"], "start": format_time(T0), "end": format_time(T0 + 10 * S)}


async def order(server: Scene, body: Any = ORDER, **headers: str) -> tuple[int, Any]:
    async with server.client.post(PATH, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def done(server: Scene, job: str) -> Any:
    async with asyncio.timeout(30):
        while (found := await server.json(f"{PATH}/{job}"))["finished"] is None:  # noqa: ASYNC110 - polling is the interface
            await asyncio.sleep(0.01)
    return found


async def test_order_watch_fetch_check_remove(server: Scene, tmp_path: Path) -> None:
    status, job = await order(server)
    assert status == 202
    assert (job["kind"], job["params"]["cameras"][0]["name"]) == ("export", "gate")
    job = await done(server, job["id"])
    assert (job["state"], job["result"]["complete"]) == ("done", True), job
    for one in job["result"]["files"]:
        async with server.client.get(f"{PATH}/{job['id']}/files/{one['name']}") as answer:
            data = await answer.read()
            assert answer.headers["ETag"] == f'"{one["sha256"]}"'
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["bytes"], one["sha256"])
        (tmp_path / one["name"]).write_bytes(data)
    manifest = tmp_path / next(one["name"] for one in job["result"]["files"] if one["name"].endswith(".json"))
    assert verify_export(RealFs(), manifest).sound
    assert json.loads(manifest.read_text())["format"] == "recorderd-export"
    assert [one["id"] for one in (await server.json(PATH))["items"]] == [job["id"]]
    async with server.client.delete(f"{PATH}/{job['id']}") as answer:
        assert answer.status == 204
    await server.problem(f"{PATH}/{job['id']}", "not-found")


async def test_a_file_in_ranges(server: Scene) -> None:
    job = await done(server, (await order(server))[1]["id"])
    movie = next(one for one in job["result"]["files"] if one["name"].endswith(".mp4"))
    path = f"{PATH}/{job['id']}/files/{movie['name']}"
    async with server.client.get(path) as answer:
        whole = await answer.read()
    async with server.client.get(path, headers={"Range": "bytes=100-299"}) as answer:
        assert (answer.status, await answer.read()) == (206, whole[100:300])
        assert answer.headers["Content-Range"] == f"bytes 100-299/{len(whole)}"
    async with server.client.get(path, headers={"If-None-Match": f'"{movie["sha256"]}"'}) as answer:
        assert answer.status == 304
    async with server.client.head(path) as answer:
        assert answer.content_length == len(whole)
    await server.problem(path, "range-not-satisfiable", headers={"Range": f"bytes={len(whole)}-"})
    await server.problem(path, "precondition-failed", headers={"If-Match": '"x"'})
    await server.problem(f"{PATH}/{job['id']}/files/..%2F..%2Fstate.db", "not-found")


async def test_a_key_a_conflict_cancel_and_resume(server: Scene) -> None:
    first = await order(server, **{"Idempotency-Key": "k"})
    again = await order(server, **{"Idempotency-Key": "k"})
    assert first[1]["id"] == again[1]["id"]
    other = await order(server, {**ORDER, "audio": False}, **{"Idempotency-Key": "k"})
    assert (other[0], other[1]["code"]) == (409, "conflict")
    await done(server, first[1]["id"])
    async with server.client.post(f"{PATH}/{first[1]['id']}/resume") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (409, "conflict")
    async with server.client.post(f"{PATH}/{first[1]['id']}/cancel") as answer:
        assert (await answer.json())["state"] == "done"


async def test_a_repeated_request_with_relative_times_gives_the_job_made_first(server: Scene) -> None:
    for number, (start, end) in enumerate((("-11s", "now"), (format_time(T0), format_time(T0 + 60 * S)))):
        body = {**ORDER, "start": start, "end": end}
        first = await order(server, body, **{"Idempotency-Key": f"k{number}"})
        server.clock.advance(3 * S)
        again = await order(server, body, **{"Idempotency-Key": f"k{number}"})
        assert (again[0], again[1].get("id")) == (202, first[1]["id"]), again
        other = await order(server, {**body, "start": "-10s"}, **{"Idempotency-Key": f"k{number}"})
        assert (other[0], other[1]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "bad-request"),
        ({}, "bad-request"),
        ({**ORDER, "more": 1}, "unknown-parameter"),
        ({**ORDER, "cameras": []}, "bad-request"),
        ({**ORDER, "cameras": ["nobody"]}, "not-found"),
        ({**ORDER, "cameras": "gate"}, "bad-request"),
        ({**ORDER, "streams": ["third"]}, "not-found"),
        ({**ORDER, "audio": "yes"}, "bad-request"),
        ({**ORDER, "start": 5}, "bad-request"),
        ({**ORDER, "start": "now", "end": "-1h"}, "bad-request"),
        ({**ORDER, "start": "-32d", "end": "now"}, "range-too-long"),
        ({**ORDER, "start": "2027-01-01T00:00:00Z", "end": "2027-01-02T00:00:00Z"}, "bad-request"),
    ],
)  # fmt: skip
async def test_bad_orders(server: Scene, body: Any, code: str) -> None:
    assert (await order(server, body))[1]["code"] == code


async def test_bodies_that_are_none(server: Scene) -> None:
    for data, kind in ((b"{", "application/json"), (b"[" * 30_000, "application/json"), (b"{}", "text/plain")):
        async with server.client.post(PATH, data=data, headers={"Content-Type": kind}) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "bad-request")


async def test_only_who_may_export_every_camera_sees_it(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await done(server, (await order(server, {**ORDER, "cameras": ["gate", "yard"]}))[1]["id"])
    who = Principal("guard", LOCAL.rights, frozenset({CAMERAS["gate"]}))
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", who)
    await server.problem(f"{PATH}/{job['id']}", "forbidden")
    assert (await server.json(PATH))["items"] == []
    assert (await order(server, {**ORDER, "cameras": ["yard"]}))[1]["code"] == "forbidden"
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", Principal("viewer", LOCAL.rights - {Right.EXPORT}))
    await server.problem(PATH, "forbidden")
