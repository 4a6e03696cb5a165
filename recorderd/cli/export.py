"""`recorderctl export`: MP4 files and one manifest per camera, from a running server.

Law: what the server serves is written unchanged, under a temporary name until it is complete and on disk. The
manifest is that of `mediadb export` (`mediadb.movie.manifest`), so that `mediadb verify` checks both.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from mediadb.movie.manifest import FileFacts, Manifest, file_name, file_stem, skipped_record, track_record
from recorderd.cli.arguments import HELD, WRONG
from recorderd.cli.client import Client, Refused, Unreachable, segment
from recorderd.cli.show import Progress, cause, print_json, printable, size
from recorderd.core.errors import UsageError
from recorderd.core.timerange import HOUR_US, format_time, parse_time

_PIECE_US = HOUR_US  # what the server gives in one file
_READ_BYTES = 1 << 18
_ATTEMPTS = 30  # each shows the server one more damaged segment, which the next answer leaves out


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
    path: Path
    manifest: dict[str, Any]

    @property
    def wrong(self) -> bool:
        return bool(self.manifest["problems"] or self.manifest["skipped"])


@dataclass(slots=True)
class _Fetched:
    files: list[FileFacts] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Changed(Exception):
    """The file is not the one its map tells of."""


async def export(client: Client, order: Order, as_json: bool) -> int:
    """Exit code: WRONG when a camera has no footage there, or some of it could not be given."""
    order.folder.mkdir(parents=True, exist_ok=True)
    known = {str(view[key]): view for view in await client.items("cameras") for key in ("name", "id")}
    views: dict[str, dict[str, Any]] = {}
    for camera in order.cameras:
        view = known.get(camera) or await client.get(f"cameras/{segment(camera)}")
        views[view["id"]] = view
    outcomes, taken = [], Counter[str]()
    for view in views.values():
        stem = file_stem(view["name"], order.stream, order.start_us)
        taken[stem] += 1  # names that differ may make one file name
        outcomes.append(await _one(client, order, view, stem if taken[stem] == 1 else f"{stem}_{taken[stem]}"))
    if as_json:
        print_json({"exports": [outcome.manifest for outcome in outcomes]})
    else:
        for outcome in outcomes:
            _tell(outcome)
    return WRONG if any(outcome.wrong for outcome in outcomes) else HELD


def now_on(status: dict[str, Any]) -> int:
    """The server's clock, so that -10m means the same to both."""
    return parse_time(str(status["time"]), 0)


async def _one(client: Client, order: Order, view: dict[str, Any], stem: str) -> _Outcome:
    """All files of one camera, then its manifest; their names begin with `stem`."""
    manifest = order.folder / f"{stem}.json"
    _refuse_existing(manifest, order.replace)
    fetched = _Fetched()
    for number, span_us in enumerate(pieces(order.start_us, order.end_us)):
        try:
            await _file(client, order, view, (order.folder / file_name(stem, number), span_us), fetched)
        except Refused as error:
            if error.problem_code != "no-footage":
                fetched.problems.append(f"{format_time(span_us[0])}: {error.message}")
    if not fetched.files and not fetched.problems:
        fetched.problems.append("nothing is recorded in that range")
    start, end = format_time(order.start_us), format_time(order.end_us)
    coverage = await client.get(f"cameras/{segment(view['id'])}/coverage", start=start, end=end)
    record = Manifest(
        view["id"], view["name"], view.get("hardware", ""), order.stream, order.start_us, order.end_us, fetched.files,
        [
            track_record(track["id"], track["kind"], [_timed(one) for one in track["intervals"]])
            for track in coverage["tracks"] if track["stream"] == order.stream
        ],
        fetched.skipped, fetched.problems,
    ).record()  # fmt: skip
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    _write_whole(manifest, text.encode(), order.replace)
    return _Outcome(manifest, record)


async def _file(
    client: Client, order: Order, view: dict[str, Any], place: tuple[Path, tuple[int, int]], fetched: _Fetched
) -> None:
    """Fetch one MP4; raises Refused (nothing is left behind then). Damage that the server meets makes it another file
    without the damaged part, so the request is repeated."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            return await _try_file(client, order, view, place, fetched)
        except (_Changed, Unreachable) as error:
            broken_off = isinstance(error.__cause__, aiohttp.ClientPayloadError)
            if isinstance(error, Unreachable) and not broken_off:
                raise
            if not left:
                problem = "the file changed with every attempt to fetch it"
                fetched.problems.append(f"{format_time(place[1][0])}: {problem}")
        except Refused as error:
            if error.problem_code != "footage-damaged" or not left:
                raise


async def _try_file(
    client: Client, order: Order, view: dict[str, Any], place: tuple[Path, tuple[int, int]], fetched: _Fetched
) -> None:
    path, (start_us, end_us) = place
    _refuse_existing(path, order.replace)
    part = path.with_suffix(".mp4.part")
    camera = f"cameras/{segment(view['id'])}"
    query = {"start": format_time(start_us), "end": format_time(end_us), "stream": order.stream}
    try:
        async with client.open("GET", f"{camera}/media.mp4", **query) as answer:
            size_bytes, digest = await _save(answer, part, path.name)
            etag, end = answer.headers.get("ETag"), answer.headers.get("X-End-Time", query["end"])
        known = await client.get(f"{camera}/media.json", **{**query, "end": end})
        if known["etag"] != etag:
            raise _Changed
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    samples = sum(track["samples"] - track["gap_repeats"] for track in known["tracks"])
    fetched.files.append(FileFacts(path.name, size_bytes, digest, samples, parse_time(known["file_start"], 0)))
    fetched.skipped += [
        skipped_record(gap["params"]["track"], *_ends(gap), gap["params"]["what"])
        for gap in known["gaps"] if gap["reason"] == "chunk-damaged" and "track" in gap["params"]
    ]  # fmt: skip


async def _save(answer: aiohttp.ClientResponse, part: Path, name: str) -> tuple[int, str]:
    """(bytes, SHA-256) of what was written."""
    digest, done = hashlib.sha256(), 0
    progress = Progress(name, answer.content_length or 0)
    with part.open("wb") as file:
        async for data in answer.content.iter_chunked(_READ_BYTES):
            file.write(data)
            digest.update(data)
            done += len(data)
            progress.add(len(data))
        file.flush()
        os.fsync(file.fileno())
    progress.finish()
    return done, digest.hexdigest()


def _ends(stretch: dict[str, Any]) -> tuple[int, int]:
    return parse_time(stretch["start"], 0), parse_time(stretch["end"], 0)


def _timed(stretch: dict[str, Any]) -> dict[str, Any]:
    """A stretch of the API as an interval of a manifest."""
    start_us, end_us = _ends(stretch)
    timed = {**stretch, "start_us": start_us, "end_us": end_us}
    if "damaged" in stretch:
        timed["damaged"] = {"packets": stretch["damaged"]["packets"], "samples": stretch["damaged"]["frames"]}
    return timed


def pieces(start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """[start, end) in pieces of at most an hour."""
    while start_us < end_us:
        piece_end = min(end_us, start_us + _PIECE_US)
        yield start_us, piece_end
        start_us = piece_end


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


def _tell(outcome: _Outcome) -> None:
    manifest = outcome.manifest
    name = printable(manifest["name"])
    for entry in manifest["files"]:
        print(f"{name}: {outcome.path.parent / entry['name']}  {size(entry['bytes'])}  sha256 {entry['sha256']}")
    for track in manifest["tracks"]:
        for stretch in track["coverage"]:
            if stretch["state"] != "recorded" and track["kind"] == "video":
                print(f"{name}: {stretch['start']} .. {stretch['end']}  {cause(stretch)}")
    for left in manifest["skipped"]:
        print(f"{name}: left out: {left['start']} .. {left['end']}  {printable(left['what'])}", file=sys.stderr)
    for problem in manifest["problems"]:
        print(f"{name}: {printable(problem)}", file=sys.stderr)
