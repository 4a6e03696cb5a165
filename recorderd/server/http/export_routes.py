"""Exports: ordered, looked at, cancelled, gone on with, fetched, removed.

Law: reads the request, asks the service, answers; the work is `services.exports`. An export belongs to whoever holds
the right for every camera in it. A file is whole or not there:
what is served has the length and hash of the job's result.
"""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from recorderd.core.rights import Right
from recorderd.core.timerange import DAY_US
from recorderd.server.footage import stream_tracks
from recorderd.server.http.answers import json_answer
from recorderd.server.http.bodies import json_body, take_flag, take_texts, take_time
from recorderd.server.http.byte_range import NotModified, Part, PreconditionFailed, Unsatisfiable, decide
from recorderd.server.http.cursor import decode_cursor, encode_cursor
from recorderd.server.http.list_routes import CURSOR, LIMIT
from recorderd.server.http.routing import API, Answer, Call, Route
from recorderd.server.problems import Refusal
from recorderd.server.shapes import job_json
from recorderd.server.timespan import MAX_MEDIA_US
from recorderd.services.exports.order import KIND, ExportOrder, Target
from recorderd.services.exports.service import ExportService
from recorderd.state.jobs import Job, JobState

MAX_CAMERAS = 100
MAX_KEY_CHARS = 200
PIECE_BYTES = 256 * 1024


async def create_export(call: Call) -> web.StreamResponse:
    """Order an export: MP4 files and one manifest per camera and stream, made beside recording.

    With the header Idempotency-Key a request that is repeated gives the job made first."""
    key = call.request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= MAX_KEY_CHARS:
        raise Refusal("bad-request", f"Idempotency-Key has 1 to {MAX_KEY_CHARS} characters", name="Idempotency-Key")
    order = await _order(call)
    job = await _service(call).submit(order, key)
    answer = json_answer(job_json(job), 202)
    answer.headers["Location"] = f"{API}/exports/{job.id}"
    return answer


async def list_exports(call: Call) -> web.StreamResponse:
    """Exports, newest first."""
    after = decode_cursor("exports", call.text("cursor")) or 0
    limit = int(call.text("limit"))
    found = await call.deps.jobs.list(after=after, limit=limit, kind=KIND)
    following = encode_cursor("exports", after + limit) if len(found) == limit else None
    return json_answer({"items": [job_json(job) for job in found if _sees(call, job)], "next": following})


async def get_export(call: Call) -> web.StreamResponse:
    """One export: its progress, then its files."""
    return json_answer(job_json(await _job(call)))


async def cancel_export(call: Call) -> web.StreamResponse:
    """End an export that is not done; what it wrote is removed. One that has ended stays as it is."""
    job = await _job(call)
    return json_answer(job_json(await _service(call).cancel(job.id)))


async def resume_export(call: Call) -> web.StreamResponse:
    """Go on with a failed export from what is on disk."""
    job = await _job(call)
    return json_answer(job_json(await _service(call).resume(job.id)))


async def remove_export(call: Call) -> web.StreamResponse:
    """Cancel it if it is not done, remove its files and forget it."""
    job = await _job(call)
    await _service(call).remove(job.id)
    return web.Response(status=204)


async def export_file(call: Call) -> web.StreamResponse:
    """A file of a finished export, with Range and ETag; its SHA-256 is in the job's result."""
    job = await _job(call)
    name = call.request.match_info["name"]
    files = job.result["files"] if job.state is JobState.DONE and job.result is not None else []
    found = next((one for one in files if one["name"] == name), None)
    if found is None:
        raise Refusal("not-found", f"the export is {job.state} and has no file {name[:100]!r}", state=str(job.state))
    return await _send(call, job, found)


async def _send(call: Call, job: Job, found: dict[str, Any]) -> web.StreamResponse:
    request, length, etag = call.request, int(found["bytes"]), f'"{found["sha256"]}"'
    decision = decide(request.headers, etag, length)
    kind = "application/json" if found["name"].endswith(".json") else "video/mp4"
    headers = {
        "Content-Type": kind,
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Disposition": f'attachment; filename="{found["name"]}"',
    }
    if isinstance(decision, PreconditionFailed):
        raise Refusal("precondition-failed", "If-Match does not name this file", etag=etag)
    if isinstance(decision, NotModified):
        return web.Response(status=304, headers={"ETag": etag})
    if isinstance(decision, Unsatisfiable):
        raise Refusal("range-not-satisfiable", f"the file has {length} bytes", length=length,
                      headers={"Content-Range": f"bytes */{length}"})  # fmt: skip
    start, end = (decision.start, decision.end) if isinstance(decision, Part) else (0, length)
    response = web.StreamResponse(status=206 if isinstance(decision, Part) else 200, headers=headers)
    if isinstance(decision, Part):
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
    response.content_length = end - start
    service, path = _service(call), _service(call).folder_of(job.id) / found["name"]
    try:
        piece = await service.read(path, start, min(PIECE_BYTES, end - start))
    except FileNotFoundError:
        raise Refusal("not-found", "the files of this export have been removed; order it again") from None
    await response.prepare(request)
    while request.method != "HEAD" and start < end:
        if not piece:
            raise ConnectionError("the file ends before its time")
        await response.write(piece)
        start += len(piece)
        piece = await service.read(path, start, min(PIECE_BYTES, end - start))
    if request.method != "HEAD":
        await response.write_eof()
    return response


async def _order(call: Call) -> ExportOrder:
    body = await json_body(call, ("cameras", "start", "end", "streams", "audio"))
    names = take_texts(body, "cameras", MAX_CAMERAS)
    streams = take_texts(body, "streams", 2, ["main"])
    now_us = call.deps.clock.utc_us()
    start_us, end_us = take_time(body, "start", now_us), min(now_us, take_time(body, "end", now_us))
    if start_us >= end_us:
        raise Refusal("bad-request", "the range is empty: `end` must lie after `start`, and `start` before now")
    if end_us - start_us > MAX_MEDIA_US:
        days = MAX_MEDIA_US // DAY_US
        raise Refusal("range-too-long", f"an export holds at most {days} days: ask in pieces", longest_s=days * 86_400)
    targets = []
    for name in names:
        view = call.deps.engine.camera(name)
        call.principal.require(call.route.right, view.id)
        for stream in streams:
            stream_tracks(view, stream)
        targets.append(Target(view.id, view.name, view.storage))
    return ExportOrder(
        tuple(dict.fromkeys(targets)), start_us, end_us, tuple(streams), take_flag(body, "audio", True),
        (body["start"], body["end"]),
    )  # fmt: skip


def _service(call: Call) -> ExportService:
    if call.deps.exports is None:
        raise Refusal("unavailable", "this server makes no exports")
    return call.deps.exports


def _sees(call: Call, job: Job) -> bool:
    seen = call.principal.cameras
    return seen is None or all(uuid.UUID(one["id"]) in seen for one in job.params["cameras"])


async def _job(call: Call) -> Job:
    """The export of the path, if the caller holds the right for all of it."""
    text = call.request.match_info["export"]
    try:
        job = await call.deps.jobs.get(uuid.UUID(text))
    except ValueError:
        raise Refusal("not-found", f"{text[:100]!r} is no export") from None
    if job.kind != KIND:
        raise Refusal("not-found", f"{text} is no export")
    for one in job.params["cameras"]:
        call.principal.require(call.route.right, uuid.UUID(one["id"]))
    return job


def _route(method: Any, path: str, operation: str, handler: Any, **more: Any) -> Route:
    more.setdefault("answer", Answer(schema="Job"))
    problems = ("unavailable", *more.pop("problems", ()), *(("not-found",) if "{" in path else ()))
    return Route(method=method, path=f"{API}/exports{path}", operation=operation, handler=handler, right=Right.EXPORT,
                 doc=handler.__doc__, tag="exports", problems=problems, **more)  # fmt: skip


_FILE = Answer("application/octet-stream", headers=("ETag", "Accept-Ranges"))

ROUTES = (
    _route("POST", "", "createExport", create_export, body="ExportOrder",
           problems=("not-found", "conflict", "range-too-long"),
           answer=Answer(schema="Job", status=202, headers=("Location",))),
    _route("GET", "", "listExports", list_exports, query=(LIMIT, CURSOR), answer=Answer(schema="JobList"),
           problems=("bad-cursor",)),
    _route("GET", "/{export}", "getExport", get_export),
    _route("POST", "/{export}/cancel", "cancelExport", cancel_export),
    _route("POST", "/{export}/resume", "resumeExport", resume_export, problems=("conflict",)),
    _route("DELETE", "/{export}", "removeExport", remove_export, answer=Answer(status=204)),
    _route("GET", "/{export}/files/{name}", "getExportFile", export_file, answer=_FILE,
           problems=("precondition-failed", "range-not-satisfiable")),
)  # fmt: skip
