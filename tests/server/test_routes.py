"""The route table and what its lists answer."""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from server_scene import CAMERAS, T0, S, Scene, record, scene

from recorderd.core.errors import RecorderdError
from recorderd.core.rights import LOCAL, Principal, Right
from recorderd.core.timerange import format_time
from recorderd.server.http import coverage_routes
from recorderd.server.http.app import ROUTES, build_app
from recorderd.server.http.cursor import decode_cursor, encode_cursor
from recorderd.server.http.openapi import EVERYWHERE, api_document
from recorderd.server.http.routing import Route, RouteTableError, check_table, path_params
from recorderd.server.http.schemas import COMPONENTS
from recorderd.server.http.ws_session import COMMANDS, CommandSpec, check_commands
from recorderd.server.problems import PROBLEMS, Refusal
from recorderd.server.readiness import Subsystem


def matches(value: Any, schema: dict[str, Any], place: str = "$") -> None:
    """A small JSON-schema check: exactly what our own schemas use."""
    if "$ref" in schema:
        return matches(value, COMPONENTS[schema["$ref"].rsplit("/", 1)[1]], place)
    if "anyOf" in schema:
        if value is None:
            assert {"type": "null"} in schema["anyOf"], place
            return None
        return matches(value, schema["anyOf"][0], place)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    assert isinstance(value, kinds[schema["type"]]), f"{place}: {value!r}"
    if schema["type"] == "array":
        for number, item in enumerate(value):
            matches(item, schema["items"], f"{place}[{number}]")
    properties = schema.get("properties")
    if properties is not None:
        assert set(schema.get("required", ())) <= set(value), f"{place}: lacks {set(schema['required']) - set(value)}"
        assert set(value) <= set(properties) or schema.get("additionalProperties", True), (
            f"{place}: undescribed {set(value) - set(properties)}"
        )
        for name, item in value.items():
            if name in properties:
                matches(item, properties[name], f"{place}.{name}")
    return None


@pytest.mark.fast
def test_a_route_without_a_right_stops_the_start() -> None:
    route = ROUTES[0]
    with pytest.raises(RouteTableError, match="declares no Right"):
        build_app(None, [replace(route, right=None)])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Route(method="GET", path="/x", operation="x", handler=route.handler, doc="", answer=route.answer)  # type: ignore[call-arg]
    with pytest.raises(RouteTableError, match="twice"):
        check_table([route, route])
    with pytest.raises(RouteTableError, match="unknown problems"):
        check_table([replace(route, problems=("nonsense",))])
    with pytest.raises(RouteTableError, match="declares no Right"):
        check_commands(COMMANDS | {"x": CommandSpec(None, COMMANDS["stop"].handler, "")})  # type: ignore[arg-type]


@pytest.mark.fast
def test_the_api_document_is_sound() -> None:
    document = json.loads(json.dumps(api_document(ROUTES, "1")))
    assert document["openapi"].startswith("3.1")
    seen = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert method in {"get", "post", "delete"}
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            assert operation["x-right"] in set(Right)
            assert operation["summary"]
            declared = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert declared == path_params(path)
            assert all(one["description"] and one["schema"] for one in operation["parameters"])
            assert any(int(status) < 400 for status in operation["responses"])

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if "$ref" in value else set()
            return own.union(*map(references, value.values())) if value else own
        return set().union(*map(references, value)) if isinstance(value, list) and value else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert set(EVERYWHERE) <= set(PROBLEMS)


async def test_every_path_of_the_document_is_served_and_nothing_else(server: Scene) -> None:
    document = await server.json("/api/v1/openapi.json")
    served = {resource.canonical for resource in server.client.app.router.resources()}
    assert served == set(document["paths"])
    await server.problem("/api/v1/nothing", "not-found")
    async with server.client.delete("/api/v1/cameras") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (405, "method-not-allowed")
        assert answer.headers["Allow"] == "GET,HEAD"


async def test_answers_match_their_schemas(server: Scene) -> None:
    server.events.emit("camera-online", camera=CAMERAS["gate"], params={"x": 1})
    params = {"cameras": [{"id": str(CAMERAS["gate"]), "name": "gate", "storage": "gone"}], "streams": ["main"]}
    job = await server.deps.jobs.create("export", {**params, "start_us": T0, "end_us": T0 + S, "audio": True})
    window = f"start={format_time(T0)}&end={format_time(T0 + 5 * S)}"
    paths = {
        "readyz": "/readyz",
        "listCameras": "/api/v1/cameras",
        "getCamera": "/api/v1/cameras/gate",
        "listHardware": "/api/v1/hardware",
        "listStorages": "/api/v1/storages",
        "listEvents": "/api/v1/events",
        "listJobs": "/api/v1/jobs",
        "getJob": f"/api/v1/jobs/{job.id}",
        "getStatus": "/api/v1/status",
        "listCoverage": f"/api/v1/coverage?{window}",
        "getCoverage": f"/api/v1/cameras/gate/coverage?{window}",
        "getTimeline": f"/api/v1/cameras/gate/timeline?{window}",
        "getWhy": f"/api/v1/cameras/gate/why?time={format_time(T0 + S)}",
        "getMediaMap": f"/api/v1/cameras/gate/media.json?{window}",
        "getCoverageReport": f"/api/v1/reports/coverage?{window}",
        "getReclaim": "/api/v1/storages/main/reclaim",
        "getApiDocument": "/api/v1/openapi.json",
        "listExports": "/api/v1/exports",
        "getExport": f"/api/v1/exports/{job.id}",
    }
    described = {
        route.operation: route.answer.schema for route in ROUTES if route.answer.schema and route.method == "GET"
    }
    assert set(paths) == set(described)
    for operation, path in paths.items():
        matches(await server.json(path), COMPONENTS[described[operation]], operation)


async def test_cameras_by_id_and_name(server: Scene) -> None:
    items = (await server.json("/api/v1/cameras"))["items"]
    assert [item["name"] for item in items] == ["away", "gate", "yard"]
    by_id = await server.json(f"/api/v1/cameras/{CAMERAS['gate']}")
    assert by_id == await server.json("/api/v1/cameras/gate")
    assert by_id["recording"]["last_committed"] == format_time(T0 + 9 * S)
    await server.problem("/api/v1/cameras/nobody", "not-found")


async def test_events_are_paged_with_an_opaque_cursor(server: Scene) -> None:
    for number in range(5):
        server.events.emit("config-changed", camera=CAMERAS["gate" if number % 2 else "yard"], params={"n": number})
    seen, cursor, pages = [], "", 0
    while True:
        page = await server.json(f"/api/v1/events?limit=2&cursor={cursor}")
        seen += [item["params"]["n"] for item in page["items"]]
        pages += 1
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == [0, 1, 2, 3, 4]
    assert pages == 3
    gate = await server.json("/api/v1/events?camera=gate")
    assert [item["params"]["n"] for item in gate["items"]] == [1, 3]
    newest = await server.json("/api/v1/events?newest=2")
    assert [item["params"]["n"] for item in newest["items"]] == [3, 4]
    assert (await server.json("/api/v1/events?code=nothing"))["items"] == []
    for bad in ("limit=0", "limit=x", "limit=1001", "limit=2&limit=3", "newest=-1"):
        await server.problem(f"/api/v1/events?{bad}", "bad-request")
    await server.problem("/api/v1/events?cursor=zzz", "bad-cursor")
    await server.problem(f"/api/v1/events?cursor={encode_cursor('jobs', 3)}", "bad-cursor")


@pytest.mark.fast
def test_cursors_come_back_as_given_and_nothing_else_is_one() -> None:
    assert decode_cursor("events", encode_cursor("events", 12)) == 12
    for bad in ("%", "é", "ZXZlbnRzOi0x", "ZXZlbnRzOuKRoA"):
        with pytest.raises(Refusal):
            decode_cursor("events", bad)


async def test_jobs(server: Scene) -> None:
    made = [await server.deps.jobs.create("export", {"n": n}) for n in range(3)]
    page = await server.json("/api/v1/jobs?limit=2")
    rest = await server.json(f"/api/v1/jobs?limit=2&cursor={page['next']}")
    assert {item["id"] for item in page["items"] + rest["items"]} == {str(job.id) for job in made}
    await server.problem("/api/v1/jobs/not-an-id", "not-found")
    await server.problem("/api/v1/jobs/00000000-0000-0000-0000-000000000000", "not-found")


async def test_times_at_the_end_of_the_calendar_stay_rfc_3339(server: Scene) -> None:
    why = await server.json("/api/v1/cameras/gate/why?time=9999-12-31T23:59:59Z")
    assert why["end"] == "9999-12-31T23:59:59.999999Z"
    await server.problem("/api/v1/cameras/gate/timeline?resolution=99999999999999d", "bad-request")


async def test_stretches_are_written_out_beside_the_loop_and_counted_together(
    server: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(server.store, "gate")
    asked = T0 - 5 * S, T0 + 11 * S  # these two are written on the loop
    window = f"start={format_time(asked[0])}&end={format_time(asked[1])}"
    loop_thread, on_loop = threading.get_ident(), list[Any]()

    def seen(real: Any) -> Any:
        def call(one: Any) -> Any:
            if threading.get_ident() == loop_thread and one not in asked:
                on_loop.append(one)
            return real(one)

        return call

    for name in ("interval_json", "show_time"):
        monkeypatch.setattr(coverage_routes, name, seen(getattr(coverage_routes, name)))
    for path in ("coverage", "cameras/gate/coverage", "cameras/gate/timeline"):
        await server.json(f"/api/v1/{path}?{window}")
        assert not on_loop, path
    line = await server.json(f"/api/v1/cameras/gate/timeline?{window}")
    counts = [len(track["spans"]) for track in line["tracks"]]
    assert len(counts) == 2
    monkeypatch.setattr(coverage_routes, "MAX_INTERVALS", max(counts))
    await server.problem(f"/api/v1/cameras/gate/timeline?{window}", "answer-too-long")


async def test_coverage_timeline_and_why_say_the_same(server: Scene) -> None:
    start, end = format_time(T0 + 2 * S), format_time(T0 + 20 * S)
    server.clock.advance(20 * S)
    covered = await server.json(f"/api/v1/coverage?cameras=gate&start={start}&end={end}")
    intervals = covered["cameras"][0]["intervals"]
    assert intervals[0]["state"] == "recorded"
    assert intervals[0]["start"] == start
    assert intervals[-1]["end"] == end
    assert all(one["end"] == other["start"] for one, other in pairwise(intervals))
    line = await server.json(f"/api/v1/cameras/gate/timeline?start={start}&end={end}&resolution=1s")
    assert line["tracks"][0]["spans"] == [[start, format_time(T0 + 10 * S)]]
    why = await server.json(f"/api/v1/cameras/gate/why?time={format_time(T0 + 5 * S)}")
    assert (why["state"], why["name"]) == ("recorded", "gate")
    await server.problem("/api/v1/cameras/gate/why", "bad-request")
    await server.problem("/api/v1/coverage?start=-401d&end=now", "range-too-long")
    await server.problem("/api/v1/coverage?cameras=nobody", "not-found")
    many = ",".join(f"c{n}" for n in range(101))
    await server.problem(f"/api/v1/coverage?cameras={many}", "not-found")
    await server.problem(f"/api/v1/coverage?cameras={'x' * 5000}", "bad-request")


async def test_times_as_people_write_them(server: Scene) -> None:
    for time in ("now", "-5s", "2026-09-21T14:13:21Z", "2026-09-21T16:13:21%2B02:00", "2026-09-21T16:13:21+02:00"):
        await server.json(f"/api/v1/cameras/gate/why?time={time}")
    for time in ("soon", "2026-13-01T00:00:00Z", "-99999d", "2026-09-21", "%00"):
        await server.problem(f"/api/v1/cameras/gate/why?time={time}", "bad-request")


async def test_health_readiness_metrics(tmp_path: Any) -> None:
    parts = [Subsystem("event loop", True), Subsystem("decode workers", False, "all died", needed=False)]
    gauges = {"loop_lag_p99_seconds": 0.01}
    async with scene(tmp_path, subsystems=lambda: parts, gauges=lambda: gauges) as made:
        async with made.client.get("/healthz") as answer:
            assert answer.status == 200
        found = await made.json("/readyz")
        assert found["ready"] is True  # what is not needed for recording makes nothing unready
        assert [part["ready"] for part in found["subsystems"]] == [True, False]
        parts.append(Subsystem("storage main", False, "storage-missing"))
        refusal = await made.problem("/readyz", "unavailable")
        assert refusal["params"]["missing"] == ["storage main: storage-missing"]
        assert refusal["params"]["subsystems"][2]["reason"] == "storage-missing"
        async with made.client.get("/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'recorderd_camera_lost_packets_total{camera="gate"} 6' in text
    assert 'recorderd_camera_state{camera="away",cause="camera-offline/refused"} 1' in text
    assert "recorderd_loop_lag_p99_seconds 0.01" in text
    names, labels = set(), set()
    for line in text.splitlines():
        if not line.startswith("#"):
            series, _ = line.rsplit(" ", 1)
            name, _, rest = series.partition("{")
            names.add(name)
            labels |= {part.split("=")[0] for part in rest.rstrip("}").split('",') if part}
    assert all(name.startswith("recorderd_") for name in names)
    assert labels <= {"camera", "storage", "cause"}
    assert 'recorderd_subsystem_ready{cause="storage main"} 0' in text


async def test_reload_and_its_refusal(tmp_path: Any) -> None:
    class Rejected(RecorderdError):
        code = "config-rejected"

    async def refuse() -> dict[str, Any]:
        raise Rejected("2 errors; the old configuration stays", errors=[{"path": "http.listen", "message": "no"}])

    async with scene(tmp_path, reload=refuse) as made, made.client.post("/api/v1/reload") as answer:
        body = await answer.json(content_type=None)
        assert (answer.status, body["code"]) == (422, "config-rejected")
        assert body["params"]["errors"][0]["path"] == "http.listen"


async def test_a_missing_storage_is_said(tmp_path: Any) -> None:
    async with scene(tmp_path, stores={}) as made:
        for path in (
            "timeline",
            "media.mp4?start=-1m",
            "media.json?start=-1m",
            "frames/now.jpg",
        ):
            await made.problem(f"/api/v1/cameras/gate/{path}", "storage-unavailable")
        # What is asked of the ledger has an answer all the same: it cannot be seen, and why.
        why = await made.json(f"/api/v1/cameras/gate/why?time={format_time(T0)}")
        assert (why["state"], why["reason"], why["params"]) == ("storage-error", "storage-missing", {"storage": "main"})
        window = f"start={format_time(T0)}&end={format_time(T0 + 60 * S)}"
        (track,) = (await made.json(f"/api/v1/cameras/gate/coverage?{window}"))["tracks"]
        every = (await made.json(f"/api/v1/coverage?{window}"))["cameras"]
        for intervals in (track["intervals"], *(camera["intervals"] for camera in every)):
            assert [one["reason"] for one in intervals] == ["storage-missing", "future"]
        (storage,) = (await made.json(f"/api/v1/reports/coverage?{window}"))["storages"]
        assert storage["missing"]


async def test_a_bug_is_answered_without_its_inside(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def boom() -> Any:
        raise ValueError("secret detail")

    monkeypatch.setattr(server.engine, "cameras", boom)
    body = await server.problem("/api/v1/cameras", "internal")
    assert "secret" not in json.dumps(body)
    assert body["params"]["incident"]


async def test_a_disk_that_gives_errors_while_it_is_read_is_no_bug(
    server: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick() -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(server.engine, "cameras", sick)
    body = await server.problem("/api/v1/cameras", "storage-unavailable")
    assert body["detail"] == "a disk gave an error while it was read (Input/output error): see the kernel's log"


async def test_a_name_of_any_bytes_stops_no_answer(server: Scene) -> None:
    server.events.emit("file-left-alone", params={"path": os.fsdecode(b"/srv/\xff\xfe")})
    assert (await server.json("/api/v1/events?code=file-left-alone"))["items"][0]["params"] == {"path": "/srv/??"}


async def test_rights_are_checked_per_route_and_camera(server: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    gate_only = Principal("guest", LOCAL.rights - {Right.ADMINISTER}, frozenset({CAMERAS["gate"]}))
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", gate_only)
    server.events.emit("camera-online", camera=CAMERAS["yard"])
    assert [one["name"] for one in (await server.json("/api/v1/cameras"))["items"]] == ["gate"]
    assert (await server.json("/api/v1/events"))["items"] == []
    assert [one["name"] for one in (await server.json("/api/v1/coverage"))["cameras"]] == ["gate"]
    for path in (
        "",
        "/coverage",
        "/timeline",
        "/why?time=now",
        "/media.mp4",
        "/media.json",
        "/frames/now.jpg",
        "/live.mp4",
    ):
        await server.problem(f"/api/v1/cameras/yard{path}", "forbidden")
    await server.problem("/api/v1/coverage?cameras=gate,yard", "forbidden")
    async with server.client.post("/api/v1/reload") as answer:
        assert answer.status == 403
    nobody = Principal("nobody", frozenset())
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", nobody)
    for route in ROUTES:
        path = (
            route.path.replace("{camera}", "gate")
            .replace("{time}", "now")
            .replace("{job}", "x")
            .replace("{file}", "main.js")
            .replace("{export}", "x")
            .replace("{name}", "x")
            .replace("{storage}", "x")
        )
        async with server.client.request(route.method, path) as answer:
            assert (answer.status == 403) == (route.right is not Right.PUBLIC), path


async def test_footage_of_a_camera_that_is_away_is_found(tmp_path: Any) -> None:
    async with scene(tmp_path) as made:
        await record(made.store, "away", end=20)
        line = await made.json(f"/api/v1/cameras/away/timeline?start={format_time(T0)}&end={format_time(T0 + 9 * S)}")
        assert line["tracks"][0]["spans"] == [[format_time(T0), format_time(T0 + 2 * S)]]
