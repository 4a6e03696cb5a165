"""The commands of recorderctl: ask the server, show the answer.

Law: one function per command, `(client, args) -> exit code`; no judgement that the server could make.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mediadb.cause_words import sentence
from recorderd.cli.arguments import HELD, WRONG
from recorderd.cli.client import PAGE, Client, segment
from recorderd.cli.completion import script
from recorderd.cli.export import Order, export, now_on
from recorderd.cli.export_job import export_by_job
from recorderd.cli.show import cause, print_json, printable, size, table
from recorderd.core.errors import UsageError
from recorderd.core.timerange import parse_time

_NEXT_MOVES = {  # of a storage that still takes footage; the other words are those of coverage
    "storage-slow": "commits take longer than what they hold - look at the disk's load, or record fewer cameras to it",
    "storage-full": "nothing is left that retention may remove - remove what is not footage, or keep less",
    "segment-not-created": "the next file cannot be made - make room, and see the kernel's log",
    "ledger-error": "statements cannot be written, footage can - make room, and see the kernel's log",
}


async def status(client: Client, args: argparse.Namespace) -> int:
    """Exit code WRONG when the server is not ready or a camera that should record does not."""
    found = await client.get("status")
    cameras = found["cameras"]
    healthy = found["ready"] and not cameras["not_recording"]
    if args.json:
        print_json(found)
        return HELD if healthy else WRONG
    print(f"{printable(found['name'])}  recorderd {printable(found['version'])}  up since {found['started']}")
    print("ready" if found["ready"] else f"NOT READY: {printable('; '.join(found['not_ready']))}")
    print(
        f"cameras: {cameras['total']}, recording {cameras['recording']}, offline {cameras['offline']}, "
        f"not recording {cameras['not_recording']}"
    )
    _show_storages(found["storages"])
    return HELD if healthy else WRONG


async def cameras(client: Client, args: argparse.Namespace) -> int:
    found = await client.items("cameras")
    if args.json:
        print_json({"items": found})
        return HELD
    rows = [
        (view["name"], view["state"], view["reason"], _streams(view), view["storage"],
         view["recording"]["last_committed"], view["id"])
        for view in found
    ]  # fmt: skip
    print(table(("NAME", "STATE", "REASON", "STREAMS", "STORAGE", "LAST COMMITTED", "ID"), rows))
    return HELD


async def snapshot(client: Client, args: argparse.Namespace) -> int:
    """The newest picture at or before a time, as JPEG."""
    target = Path(args.output or f"{args.camera.replace('/', '_')}.jpg")
    path = f"cameras/{segment(args.camera)}/frames/{segment(args.time)}.jpg"
    async with client.open("GET", path) as answer:
        picture = await answer.read()
        time = answer.headers.get("X-Frame-Time", "")
    if args.output == "-":
        sys.stdout.buffer.write(picture)
        return HELD
    _write(target, picture)
    if args.json:
        print_json({"camera": args.camera, "time": time, "file": str(target), "bytes": len(picture)})
    else:
        print(f"{target}  {size(len(picture))}  taken {printable(time)}")
    return HELD


async def timeline(client: Client, args: argparse.Namespace) -> int:
    found = await client.get(
        f"cameras/{segment(args.camera)}/timeline", start=args.start, end=args.end, resolution=args.resolution
    )
    if args.json:
        print_json(found)
        return HELD
    for track in found["tracks"]:
        for start, end in track["spans"]:
            print(f"{track['stream']}/{track['kind']}  {start} .. {end}")
    return HELD


async def coverage(client: Client, args: argparse.Namespace) -> int:
    found = await client.get("coverage", cameras=",".join(args.cameras), start=args.start, end=args.end)
    if args.json:
        print_json(found)
        return HELD
    for camera in found["cameras"]:
        print(printable(camera["name"]))
        for stretch in camera["intervals"]:
            print(f"  {stretch['start']} .. {stretch['end']}  {printable(cause(stretch))}")
    return HELD


async def export_footage(client: Client, args: argparse.Namespace) -> int:
    """Here, hour by hour; with --job by the server."""
    if args.job:
        return await export_by_job(client, args)
    if args.output is None or args.no_audio:
        raise UsageError("without --job name a folder with -o, and keep the sound")
    now_us = now_on(await client.get("status"))
    start_us, end_us = parse_time(args.start, now_us), parse_time(args.end, now_us)
    if start_us >= end_us:
        raise UsageError("the range is empty: --end must lie after --start")
    order = Order(tuple(args.cameras), start_us, end_us, Path(args.output), args.stream, args.replace)
    return await export(client, order, args.json)


async def events(client: Client, args: argparse.Namespace) -> int:
    """The newest `limit` of those asked for, oldest first."""
    if args.camera or args.code or args.limit > PAGE:
        found = await client.items("events", limit=str(PAGE), camera=args.camera, code=args.code)
    else:
        found = await client.items("events", limit=str(PAGE), newest=str(args.limit))
    found = found[-args.limit :]
    if args.json:
        print_json({"items": found})
        return HELD
    names = await _names(client, found)
    rows = [
        (event["id"], event["time"], event["code"], names.get(event["camera"] or event["hardware"]),
         _params(event["params"]))
        for event in found
    ]  # fmt: skip
    print(table(("ID", "TIME", "CODE", "CAMERA OR HARDWARE", "DETAIL"), rows))
    return HELD


async def _names(client: Client, found: list[dict[str, Any]]) -> dict[str, str]:
    """'NAME (ID)' for the cameras and hardware of these events; the id alone for what is no longer configured."""
    shown = {event[kind]: str(event[kind]) for event in found for kind in ("camera", "hardware") if event[kind]}
    for path, kind in (("cameras", "camera"), ("hardware", "hardware")):
        if any(event[kind] for event in found):
            shown |= {one["id"]: f"{one['name']} ({one['id']})" for one in await client.items(path)}
    return shown


async def storage(client: Client, args: argparse.Namespace) -> int:
    """Exit code WRONG when a storage is not ok."""
    if args.accept:
        one = await client.post(f"storages/{quote(args.accept, safe='')}/accept")
        print(f"{printable(one['storage'])}: {one['reason']} -> the disk that is there is opened, events tell")
        return HELD
    found = await client.items("storages")
    if args.json:
        print_json({"items": found})
    else:
        _show_storages(found)
    return HELD if all(one["state"] == "ok" for one in found) else WRONG


async def completion(client: Client, args: argparse.Namespace) -> int:
    """Asks no server."""
    print(script(args.shell))
    return HELD


async def reload(client: Client, args: argparse.Namespace) -> int:
    """Refused (the old configuration stays in force) is a Refused with every error in its text."""
    found = await client.post("reload")
    if args.json:
        print_json(found)
        return HELD
    for key, value in found.items():
        print(f"{key.replace('_', ' ')}: {printable(', '.join(map(str, value)) if isinstance(value, list) else value)}")
    return HELD


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _streams(view: dict[str, Any]) -> str:
    return ", ".join(
        f"{stream['role']} {stream['codec'] or '?'} {stream['width']}x{stream['height']}" for stream in view["streams"]
    )


def _show_storages(found: list[dict[str, Any]]) -> None:
    rows = [
        (one["name"], one["state"], one["code"], one["last_commit"], one["commits"], one["shed_samples"], one["path"])
        for one in found
    ]
    print(table(("STORAGE", "STATE", "CODE", "LAST COMMIT", "COMMITS", "SHED", "PATH"), rows))
    for one in found:
        for key, text in _LOSSES.items():
            if number := (one.get("stats") or {}).get(key):
                print(f"{printable(one['name'])}: {number} {text}")
    for one in found:
        if one["state"] != "ok":
            what = _NEXT_MOVES.get(one["code"]) or sentence("storage-error", one["code"])
            print(f"{printable(one['name'])}: {printable(what)}")
            if said := one.get("params", {}).get("message") or one.get("params", {}).get("text"):
                print(f"  {printable(str(said))}")  # what the database or the system said of this very disk


_LOSSES = {
    "missing_segments": "files of footage missing or cut by other hands: recorderctl events --code segment-missing",
    "damaged_chunks": "pieces of footage do not verify: recorderctl events --code chunk-corrupt",
}


def _params(params: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items())
