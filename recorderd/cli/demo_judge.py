"""How the demo's recording is judged: the farm's own log against the media database, read without the server.

Law: what was sent comes from the farm, what is there comes from the database's reader; the server's own counters
are never believed. Runs after both children have ended, except for `interview`, which asks the running server.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mediadb.read.reader import Reader
from mediadb.types import State
from recorderd.cli.demo_scene import SCENE, Outcome, SceneCamera
from recorderd.core.ids import derived_uuid
from recorderd.core.timerange import parse_time
from recorderd.media.access_unit import Codec
from recorderd.media.marker import find_marker

_TOLD_BY_EVENT = ("config-changed", "clock-drift", "clock-step")


@dataclass(frozen=True, slots=True)
class Interview:
    """What the running server was asked before the farm stopped: [start, end) judged, ids by name, events by id."""

    start_us: int
    end_us: int
    cameras: dict[str, uuid.UUID]
    events: dict[uuid.UUID, set[str]]


async def interview(port: int) -> Interview:
    """Ask the server at `port` for its clock, cameras and events; raises aiohttp.ClientError."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", raise_for_status=True) as http:
        async with http.get("/api/v1/status") as answer:
            status = await answer.json()
        async with http.get("/api/v1/cameras") as answer:
            cameras = {item["name"]: uuid.UUID(item["id"]) for item in (await answer.json())["items"]}
        events: dict[uuid.UUID, set[str]] = {}
        async with http.get("/api/v1/events", params={"limit": "1000"}) as answer:
            for item in (await answer.json())["items"]:
                if item.get("camera"):
                    events.setdefault(uuid.UUID(item["camera"]), set()).add(item["code"])
    return Interview(parse_time(status["started"], 0), parse_time(status["time"], 0), cameras, events)


def outcomes(folder: Path, asked: Interview) -> list[Outcome]:
    """One outcome per camera of the scene, in its order. `folder` holds farm.jsonl and the storage `video`."""
    connections = [json.loads(line) for line in (folder / "farm.jsonl").read_text().splitlines()]
    reader = Reader.open_offline(folder / "video", "demo", lambda: asked.end_us)
    return [
        _outcome(camera, [c for c in connections if c["camera"] == number], reader, asked)
        for number, camera in enumerate(SCENE)
    ]


def _outcome(camera: SceneCamera, connections: list[dict[str, Any]], reader: Reader, asked: Interview) -> Outcome:
    found = Outcome(camera.name, camera.fault)
    identity = asked.cameras[camera.name]
    track = derived_uuid(identity, "main/video")
    numbers = _committed(reader, track)
    found.committed = len(numbers)
    for line in connections:
        if line["sent"]:
            found.sent += line["sent"]
            sent = set(range(line["first"], line["last"] + 1)) - set(line["lost_frames"])
            for first, last in line["skipped"]:
                sent -= set(range(first, last + 1))
            found.missing += sorted(sent - numbers)
    _causes(found, reader, track, asked)
    found.causes += sorted(f"event {code}" for code in asked.events.get(identity, ()) if code in _TOLD_BY_EVENT)
    return found


def _causes(found: Outcome, reader: Reader, track: uuid.UUID, asked: Interview) -> None:
    """Every state but 'recorded' between the camera's first sample (or the start) and the end of the scene."""
    media = reader.spans(track, asked.start_us, asked.end_us)
    start = media[0].start_us if media else asked.start_us
    for interval in reader.coverage([track], start, asked.end_us)[track]:
        cause = interval.cause
        if cause.state is State.UNEXPLAINED:
            found.unexplained_us += interval.end_us - interval.start_us
        elif cause.state is not State.RECORDED:
            text = f"{cause.state} ({cause.reason})" if cause.reason else str(cause.state)
            if text not in found.causes:
                found.causes.append(text)


def _committed(reader: Reader, track: uuid.UUID) -> set[int]:
    """The frame numbers that the database gives back for a track."""
    numbers: set[int] = set()
    for reference in reader.chunks(track, 0, 2**62):
        data = reader.read(reference)
        codec = Codec(data.config.codec)
        for sample in data.samples:
            marker = find_marker(sample.data, codec)
            if marker is not None:
                numbers.add(marker.number)
    return numbers
