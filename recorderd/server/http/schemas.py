"""JSON schemas of the answers, as components of the API document.

Law: data only. A test checks real answers against these; `openapi` copies them out.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(doc: str, **properties: Schema) -> Schema:
    """All properties are required unless their schema says {"x-optional": true}."""
    optional = {name for name, schema in properties.items() if schema.pop("x-optional", False)}
    return {
        "type": "object",
        "description": doc,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list_of(item: Schema, doc: str) -> Schema:
    return _object(doc, items={"type": "array", "items": item}, next=_or_null(_text("cursor of the next page")))


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(doc: str = "") -> Schema:
    return {"type": "string", "description": doc} if doc else {"type": "string"}


def _number(doc: str = "") -> Schema:
    return {"type": "number", "description": doc} if doc else {"type": "number"}


def _whole(doc: str = "") -> Schema:
    return {"type": "integer", "description": doc} if doc else {"type": "integer"}


def _flag(doc: str) -> Schema:
    return {"type": "boolean", "description": doc}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _array(item: Schema) -> Schema:
    return {"type": "array", "items": item}


ID: Schema = {"type": "string", "format": "uuid"}
TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339 UTC, six digits"}
MAYBE_TIME = _or_null(TIME)
WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 256}
FREE: Schema = {"type": "object", "description": "parameters of the code, for the client's own words"}
_DAMAGE = _object("loss inside recorded footage", packets=_whole(), frames=_whole())
_STRETCH = {"start": TIME, "end": TIME, "state": _text("one of the coverage states"), "reason": _text(),
            "params": FREE, "damaged": {**_DAMAGE, "x-optional": True}}  # fmt: skip


def _copy(properties: dict[str, Schema]) -> dict[str, Schema]:
    return {name: dict(schema) for name, schema in properties.items()}


COMPONENTS: dict[str, Schema] = {
    "Problem": _object(
        "RFC 9457; `code` is stable, docs/api/errors.md lists all",
        type=_text(), title=_text(), status=_whole(), detail=_text(), instance=_text(), code=_text(), params=FREE,
    ),
    "Track": _object(
        "one video or audio track of a stream",
        id=ID, kind=_text("video or audio"), codec=_text(), codec_string=_text("RFC 6381"),
        state=_text("coverage state that holds now"), reason=_text(), since=MAYBE_TIME, last_committed=MAYBE_TIME,
        not_recording=_flag("wanted, but nothing was committed for too long"),
        counters={"type": "object", "additionalProperties": {"type": "integer"}},
    ),
    "Stream": _object(
        "one encoding of a camera",
        role=_text("main or sub"), connected=_flag("the connection"), reason=_text("why not connected"),
        codec=_text(), codec_string=_text("RFC 6381"), width=_whole(), height=_whole(), fps=_number("measured"),
        bitrate=_number("measured, bit/s"), viewers=_whole("live viewers"), tracks=_array(_ref("Track")),
    ),
    "Recording": _object(
        "the main video track", state=_text(), reason=_text(), since=MAYBE_TIME, last_committed=MAYBE_TIME,
        not_recording=_flag("the alarm"),
    ),
    "Camera": _object(
        "a camera and what it does now",
        id=ID, name=_text(), channel=_whole(), hardware_id=ID, hardware=_text(), storage=_text(),
        record=_text("always or never"), state=_text(), reason=_text(), connected=_flag("the connection"),
        streams=_array(_ref("Stream")), recording=_ref("Recording"),
    ),
    "CameraList": _list_of(_ref("Camera"), "cameras"),
    "Hardware": _object(
        "a device at one address; read-only when it stands in a file",
        id=ID, name=_text(), driver=_text(), address=_text(), state=_text(), reason=_text(), message=_text(),
        since=MAYBE_TIME, retry=MAYBE_TIME, attempts=_whole(), driver_bugs=_whole(), vendor=_text(), model=_text(),
        firmware=_text(), serial=_text(), cameras=_array(ID),
        stats={"type": "object", "additionalProperties": {"type": "integer"}},
    ),
    "HardwareList": _list_of(_ref("Hardware"), "hardware"),
    "Storage": _object(
        "a storage and its counters",
        name=_text(), path=_text(), state=_text("ok, error or missing"), code=_text("what is wrong"), params=FREE,
        since=MAYBE_TIME, last_commit=MAYBE_TIME, commits=_whole(), shed_samples=_whole(),
        stats={"type": "object", "additionalProperties": {"type": "integer"}},
    ),
    "StorageList": _list_of(_ref("Storage"), "storages"),
    "Reclaim": _object(
        "what retention would remove, and how far back footage will reach", storage=_text(),
        state=_text("free, held or paced: whether deletion by age waits"), reason=_text(),
        way=_text("how bytes of single cameras are given back: punching, rewriting, or unknown yet"),
        now=_ref("ReclaimPlan"), after_reload=_or_null(_ref("ReclaimPlan")), forecast=FREE,
    ),
    "ReclaimPlan": _object(
        "what would go", segments=_whole(), bytes=_whole(), until=MAYBE_TIME,
        parts=_array(_object(
            "of one camera by one rule", camera=_text("empty: all cameras"), rule=_text(), bytes=_whole(),
        )),
    ),
    "StorageAccepted": _object("what it was refused for until now", storage=_text(), state=_text(), reason=_text()),
    "ReclaimConfirmed": _object("what was held back until now", storage=_text(), state=_text(), reason=_text()),
    "Event": _object(
        "something that happened", id=_whole("grows"), time=TIME, code=_text("stable"), camera=_or_null(ID),
        hardware=_or_null(ID), params=FREE,
    ),
    "EventList": _list_of(_ref("Event"), "events, oldest first"),
    "Job": _object(
        "long work as a resource",
        id=ID, kind=_text(), state=_text("queued, running, done, failed or cancelled"), progress=_number("0 to 1"),
        detail=_or_null(FREE),
        params=FREE, result=_or_null(FREE), error=_or_null(FREE), created=TIME, started=MAYBE_TIME,
        finished=MAYBE_TIME,
    ),
    "ExportOrder": _object(
        "what to export",
        cameras={"type": "array", "items": WORD, "minItems": 1, "maxItems": 100, "description": "ids or names"},
        start=_text("first moment: RFC 3339, 'now' or relative as '-10m'"), end=_text("first moment after it"),
        streams={"type": "array", "items": {"enum": ["main", "sub"]}, "minItems": 1, "maxItems": 2,
                 "x-optional": True, "description": "roles; main without it"},
        audio={**_flag("with sound; true without it"), "x-optional": True},
    ),
    "LiveUrlOrder": _object(
        "which live media, and for how long", form={"enum": ["mp4", "hls"]}, stream={**WORD, "x-optional": True},
        lifetime={**_text("duration up to 24h, e.g. '1h', which is the default"), "x-optional": True},
    ),
    "RecordedUrlOrder": _object(
        "which recorded media, and for how long", form={"enum": ["mp4", "hls", "jpg"]},
        start={**_text("first moment; of jpg the moment"), "x-optional": True},
        end={**_text("first moment after it"), "x-optional": True}, stream={**WORD, "x-optional": True},
        lifetime={**_text("duration up to 24h, e.g. '1h', which is the default"), "x-optional": True},
    ),
    "SignedUrl": _object("an address that needs no headers", url=_text("path and query of this server"), expires=TIME),
    "JobList": _list_of(_ref("Job"), "jobs, newest first"),
    "Readiness": _object(
        "every part of the server", ready=_flag("recording can be relied on"),
        subsystems=_array(_object("one part", name=_text(), ready=_flag("it does its work"),
                                  reason=_text("what is missing"), needed=_flag("recording depends on it"))),
    ),
    "Status": _object(
        "the server at a glance",
        id=ID, name=_text(), version=_text(), time=TIME, started=TIME, ready=_flag("recording can be relied on"),
        not_ready=_array(_text()),
        cameras=_object("numbers of cameras", total=_whole(), recording=_whole(), offline=_whole(),
                        not_recording=_whole()),
        storages=_array(_ref("Storage")), viewers=_whole("live viewers of this interface"),
    ),
    "Stretch": _object("one stretch with exactly one state", **_copy(_STRETCH)),
    "CoverageList": _object(
        "coverage of several cameras: their main video", start=TIME, end=TIME,
        cameras=_array(_object("one camera", id=ID, name=_text(), intervals=_array(_ref("Stretch")))),
    ),
    "Coverage": _object(
        "coverage of every track of one camera", id=ID, name=_text(), start=TIME, end=TIME,
        tracks=_array(_object("one track", id=ID, stream=_text(), kind=_text(), intervals=_array(_ref("Stretch")))),
    ),
    "Timeline": _object(
        "where there is media", id=ID, name=_text(), start=TIME, end=TIME, resolution_us=_whole(),
        tracks=_array(_object("one track", id=ID, stream=_text(), kind=_text(),
                              spans=_array({"type": "array", "items": TIME, "minItems": 2, "maxItems": 2}))),
    ),
    "Why": _object(
        "the state at one moment and its neighbours", id=ID, name=_text(), time=TIME, **_copy(_STRETCH),
        before=_or_null(_ref("Stretch")), after=_or_null(_ref("Stretch")),
    ),
    "Share": _object(
        "time with one state and reason", state=_text("one of the coverage states"), reason=_text(),
        duration_us=_whole(), stretches=_whole("so many pieces"),
    ),
    "CoverageReport": _object(
        "what was recorded in a range; the states of every camera sum up to its length",
        start=TIME, end=TIME, week=_text("such as 2026-W47; empty for another range"), zone=_text("of the week"),
        length_us=_whole(), generated=TIME, statement=_text("causes are no proof"),
        cameras=_array(_object(
            "one camera: its main video", id=ID, name=_text(), storage=_text(),
            recorded_us=_whole("footage, live or retrieved"), wanted_us=_whole("without what nobody asked for"),
            recorded_percent=_or_null(_number("of what was wanted")), states=_array(_ref("Share")),
            gaps=_array(_object(
                "one of the longest stretches without footage", start=TIME, end=TIME, duration_us=_whole(),
                state=_text(), reason=_text(), params=FREE)),
            damaged=_object("footage with losses inside", packets=_whole(), frames=_whole(), duration_us=_whole()),
            shed_us=_whole("let go for want of speed"), clock_steps=_whole(), oldest=MAYBE_TIME,
            kept_us=_or_null(_whole("how far back footage reaches")),
            retention_us=_or_null(_whole("how far back it is to reach")),
        )),
        storages=_array(_object(
            "one storage", name=_text(), missing=_flag("it is not there: nothing could be asked"),
            restarts=_array(_object(
                "a start of the recorder", time=TIME, after=_text("stop or crash"), down_us=_or_null(_whole()))),
            troubles={"type": "object", "additionalProperties": {"type": "integer"}},
            stats={"type": "object", "additionalProperties": {"type": "integer"}},
        )),
        totals=_object(
            "all cameras together", cameras=_whole(), length_us=_whole(), recorded_us=_whole(), wanted_us=_whole(),
            recorded_percent=_or_null(_number()), states=_array(_ref("Share")),
        ),
    ),
    "MediaMap": _object(
        "the exact map between media.mp4 and wall time", id=ID, name=_text(), stream=_text(), start=TIME, end=TIME,
        etag=_text(), length=_whole("bytes of media.mp4"), file_start=TIME, duration_us=_whole(),
        tracks=_array(_object(
            "one track of the file", id=ID, kind=_text(), timescale=_whole(), samples=_whole("gap repeats included"),
            gap_repeats=_whole(), duration_us=_whole(),
            anchors=_array(_object(
                "presentation time `media_us` is wall time `time`; from here media time runs as the camera counted",
                media_us=_whole(), time=TIME)),
        )),
        gaps=_array(_ref("Stretch")),
        left_out=_array(_object(
            "recorded, and not in the file: no MP4 carries it", track=ID, kind=_text(), codec=_text(), what=_text())),
    ),
    "Reload": {"type": "object", "description": "what a reload changed, or why the old configuration stays"},
    "Document": {"type": "object", "description": "this document (OpenAPI 3.1)"},
}  # fmt: skip
