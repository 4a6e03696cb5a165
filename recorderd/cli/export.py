"""`recorderctl export`: MP4 files and one manifest per camera, from a running server.

Law: what the server serves is written unchanged, under a temporary name until it is complete and on disk. The
manifest says what was asked, what each file holds (length, SHA-256), and why anything is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recorderd.cli.arguments import HELD, WRONG
from recorderd.cli.client import Client, Refused, segment
from recorderd.cli.show import Progress, cause, print_json, printable, size
from recorderd.core.errors import UsageError
from recorderd.core.timerange import HOUR_US, format_time, parse_time

_PIECE_US = HOUR_US  # what the server gives in one file
_READ_BYTES = 1 << 18
_UNSAFE = re.compile(r"[^\w.-]+")
_STATEMENT = "Causes of gaps are the recorder's statements, not proofs."


@dataclass(frozen=True, slots=True)
class Order:
    """What to export; times in UTC microseconds."""

    cameras: tuple[str, ...]
    start_us: int
    end_us: int
    folder: Path
    stream: str = "main"
    replace: bool = False


@dataclass(slots=True)
class _Outcome:
    manifest: dict[str, Any]
    problems: list[str] = field(default_factory=list)


async def export(client: Client, order: Order, as_json: bool) -> int:
    """Exit code: WRONG when a camera has no footage there, or some of it could not be given."""
    order.folder.mkdir(parents=True, exist_ok=True)
    known = {str(view[key]): view for view in await client.items("cameras") for key in ("name", "id")}
    outcomes = []
    for camera in order.cameras:
        view = known.get(camera) or await client.get(f"cameras/{segment(camera)}")
        outcomes.append(await _one(client, order, view))
    if as_json:
        print_json({"exports": [outcome.manifest for outcome in outcomes]})
    else:
        for outcome in outcomes:
            _tell(order.folder, outcome)
    return WRONG if any(outcome.problems for outcome in outcomes) else HELD


def now_on(status: dict[str, Any]) -> int:
    """The server's clock, so that -10m means the same to both."""
    return parse_time(str(status["time"]), 0)


async def _one(client: Client, order: Order, view: dict[str, Any]) -> _Outcome:
    """All files of one camera, then its manifest."""
    base = file_name(view["name"], order.start_us)
    outcome = _Outcome(
        {
            "format": "recorderd-export-0",
            "program": f"recorderd {version('recorderd')}",
            "camera": {"id": view["id"], "name": view["name"]},
            "stream": order.stream,
            "start": format_time(order.start_us),
            "end": format_time(order.end_us),
            "files": [],
        }
    )
    for number, (start_us, end_us) in enumerate(pieces(order.start_us, order.end_us)):
        suffix = "" if number == 0 else f"-{number + 1:03}"
        path = order.folder / f"{base}{suffix}.mp4"
        try:
            entry = await _file(client, order, view, path, (start_us, end_us))
        except Refused as error:
            if error.problem_code != "no-footage":
                outcome.problems.append(f"{format_time(start_us)}: {error.message}")
            continue
        outcome.manifest["files"].append(entry)
    if not outcome.manifest["files"] and not outcome.problems:
        outcome.problems.append("nothing is recorded in that range")
    start, end = format_time(order.start_us), format_time(order.end_us)
    coverage = await client.get(f"cameras/{segment(view['id'])}/coverage", start=start, end=end)
    outcome.manifest |= {"coverage": coverage["tracks"], "statement": _STATEMENT, "problems": outcome.problems}
    text = json.dumps(outcome.manifest, indent=2, ensure_ascii=False) + "\n"
    _write_whole(order.folder / f"{base}.json", text.encode(), order.replace)
    return outcome


async def _file(
    client: Client, order: Order, view: dict[str, Any], path: Path, span_us: tuple[int, int]
) -> dict[str, Any]:
    """Fetch one MP4; raises Refused (nothing is left behind then)."""
    _refuse_existing(path, order.replace)
    part = path.with_suffix(".mp4.part")
    digest = hashlib.sha256()
    query = {"start": format_time(span_us[0]), "end": format_time(span_us[1]), "stream": order.stream}
    try:
        async with client.open("GET", f"cameras/{segment(view['id'])}/media.mp4", **query) as answer:
            total = answer.content_length or 0
            progress = Progress(path.name, total)
            done = 0
            with part.open("wb") as file:
                async for data in answer.content.iter_chunked(_READ_BYTES):
                    file.write(data)
                    digest.update(data)
                    done += len(data)
                    progress.add(len(data))
                file.flush()
                os.fsync(file.fileno())
            progress.finish()
            headers = answer.headers
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return {
        "name": path.name,
        "bytes": done,
        "sha256": digest.hexdigest(),
        "start": headers.get("X-Start-Time"),
        "etag": headers.get("ETag"),
    }


def pieces(start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """[start, end) in pieces of at most an hour."""
    while start_us < end_us:
        piece_end = min(end_us, start_us + _PIECE_US)
        yield start_us, piece_end
        start_us = piece_end


def file_name(camera: str, start_us: int) -> str:
    """'20260301T120000Z-gate': safe in every file system, sorted by time."""
    stamp = re.sub(r"[-:]|\.\d+", "", format_time(start_us))
    return f"{stamp}-{_UNSAFE.sub('_', camera).strip('.') or 'camera'}"


def _refuse_existing(path: Path, replace: bool) -> None:
    if path.exists() and not replace:
        raise UsageError(f"{path} exists already: choose another folder with -o, or add --replace")


def _write_whole(path: Path, data: bytes, replace: bool) -> None:
    _refuse_existing(path, replace)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _tell(folder: Path, outcome: _Outcome) -> None:
    name = printable(outcome.manifest["camera"]["name"])
    for entry in outcome.manifest["files"]:
        print(f"{name}: {folder / entry['name']}  {size(entry['bytes'])}  sha256 {entry['sha256']}")
    for track in outcome.manifest["coverage"]:
        for stretch in track["intervals"]:
            if stretch["state"] != "recorded" and track["kind"] == "video":
                print(f"{name}: {stretch['start']} .. {stretch['end']}  {cause(stretch)}")
    for problem in outcome.problems:
        print(f"{name}: {printable(problem)}", file=sys.stderr)
