"""Cameras, hardware, storages, events, jobs, status and reload.

Law: asks, shapes, answers; decides nothing. Lists that grow are paged with an opaque cursor.
"""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from mediadb.types import State
from recorderd.core.rights import Right
from recorderd.server.http.answers import json_answer
from recorderd.server.http.cursor import decode_cursor, encode_cursor
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.problems import Refusal
from recorderd.server.shapes import camera_json, event_json, hardware_json, job_json, storage_json
from recorderd.server.timespan import show_time

MAX_PAGE = 1_000
LIMIT = Param("limit", "count", "items of a page", default="100", highest=MAX_PAGE)
CURSOR = Param("cursor", "text", "`next` of the page before")


async def list_cameras(call: Call) -> web.StreamResponse:
    """Every camera and what it does now."""
    views = [view for view in call.deps.engine.cameras() if call.sees(view.id)]
    return json_answer({"items": [camera_json(view) for view in views], "next": None})


async def get_camera(call: Call) -> web.StreamResponse:
    """One camera, by id or name."""
    return json_answer(camera_json(call.camera()))


async def list_hardware(call: Call) -> web.StreamResponse:
    """Every device and how the connection to it stands."""
    return json_answer({"items": [hardware_json(view) for view in call.deps.engine.hardware()], "next": None})


async def list_storages(call: Call) -> web.StreamResponse:
    """Every storage, whether it is written to, and its counters."""
    return json_answer({"items": [storage_json(view) for view in call.deps.engine.storages()], "next": None})


async def list_events(call: Call) -> web.StreamResponse:
    """Events, oldest first. `newest` begins that many ids before the end instead of at the beginning."""
    after = decode_cursor("events", call.text("cursor"))
    if after is None:
        newest = call.text("newest")
        after = max(0, call.deps.events.last_id - int(newest)) if newest else 0
    camera = call.deps.engine.camera(call.text("camera")).id if call.text("camera") else None
    if camera is not None:
        call.principal.require(call.route.right, camera)
    limit = int(call.text("limit"))
    found = await call.deps.events.list(after=after, limit=limit, camera=camera, code=call.text("code") or None)
    following = encode_cursor("events", found[-1].id) if len(found) == limit else None
    items = [event_json(event) for event in found if call.sees(event.camera)]
    return json_answer({"items": items, "next": following})


async def list_jobs(call: Call) -> web.StreamResponse:
    """Jobs, newest first."""
    after = decode_cursor("jobs", call.text("cursor")) or 0
    limit = int(call.text("limit"))
    found = await call.deps.jobs.list(after=after, limit=limit)
    following = encode_cursor("jobs", after + limit) if len(found) == limit else None
    return json_answer({"items": [job_json(job) for job in found], "next": following})


async def get_job(call: Call) -> web.StreamResponse:
    """One job with its progress, result or error."""
    text = call.request.match_info["job"]
    try:
        job = uuid.UUID(text)
    except ValueError:
        raise Refusal("not-found", f"{text[:100]!r} is no job id") from None
    return json_answer(job_json(await call.deps.jobs.get(job)))


async def get_status(call: Call) -> web.StreamResponse:
    """The server at a glance."""
    deps = call.deps
    views = deps.engine.cameras()
    missing = deps.not_ready()
    return json_answer(
        {
            "id": str(deps.info.id),
            "name": deps.info.name,
            "version": deps.info.version,
            "time": show_time(deps.clock.utc_us()),
            "started": show_time(deps.info.started_us),
            "ready": not missing,
            "not_ready": missing,
            "cameras": {
                "total": len(views),
                "recording": sum(view.state == State.RECORDED for view in views),
                "offline": sum(view.state == State.CAMERA_OFFLINE for view in views),
                "not_recording": sum(view.recording.not_recording for view in views),
            },
            "storages": [storage_json(view) for view in deps.engine.storages()],
            "viewers": sum(stream.viewers for view in views for stream in view.streams),
        }
    )


async def reload(call: Call) -> web.StreamResponse:
    """Re-read the configuration; what did not change is not touched, a bad file leaves the old one in force."""
    return json_answer(await call.deps.reload())


def _get(path: str, operation: str, handler: Any, schema: str, **more: Any) -> Route:
    more.setdefault("right", Right.READ_STATUS)
    return Route(
        method="GET", path=f"{API}/{path}", operation=operation, handler=handler, doc=handler.__doc__,
        answer=Answer(schema=schema), **more,
    )  # fmt: skip


ROUTES = (
    _get("cameras", "listCameras", list_cameras, "CameraList", tag="cameras"),
    _get("cameras/{camera}", "getCamera", get_camera, "Camera", tag="cameras", problems=("not-found",)),
    _get("hardware", "listHardware", list_hardware, "HardwareList", tag="cameras", right=Right.READ_CONFIG),
    _get("storages", "listStorages", list_storages, "StorageList"),
    _get("events", "listEvents", list_events, "EventList", problems=("bad-cursor", "not-found"),
         query=(LIMIT, CURSOR, Param("camera", "text", "only about this camera: id or name"),
                Param("code", "text", "only with this code"),
                Param("newest", "count", "begin that many ids before the end", highest=MAX_PAGE))),
    _get("jobs", "listJobs", list_jobs, "JobList", query=(LIMIT, CURSOR), problems=("bad-cursor",)),
    _get("jobs/{job}", "getJob", get_job, "Job", problems=("not-found",)),
    _get("status", "getStatus", get_status, "Status"),
    Route(method="POST", path=f"{API}/reload", operation="reload", handler=reload, right=Right.ADMINISTER,
          doc=reload.__doc__ or "", answer=Answer(schema="Reload"), problems=("config-rejected",)),
)  # fmt: skip
