"""`recorderctl export --job`, `recorderctl jobs` and `recorderctl url`: what the server makes or signs, from here.

Law: orders, waits, fetches; the work is the server's. A file is written under a temporary name until its hash is
that which the job names. Interrupting the wait leaves the job alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from recorderd.cli.arguments import HELD, WRONG
from recorderd.cli.client import PAGE, Client, Refused, segment
from recorderd.cli.show import Progress, print_json, printable, size, table
from recorderd.core.errors import UsageError

POLL_S = 0.5
_READ_BYTES = 1 << 18
_OPEN = ("queued", "running")


async def export_by_job(client: Client, args: argparse.Namespace) -> int:
    """Order it; with -o wait for it and fetch its files, else tell its id."""
    order = {
        "cameras": args.cameras, "start": args.start, "end": args.end, "streams": [args.stream],
        "audio": not args.no_audio,
    }  # fmt: skip
    job = await client.post("exports", order)
    if args.output is None:
        _show(job, args.json)
        return HELD
    folder = Path(args.output)
    _make(folder)
    job = await _wait(client, job, args.json)
    if job["state"] == "done":
        await _fetch(client, job, folder, args.replace)
    _show(job, args.json)
    return _verdict(job)


async def jobs(client: Client, args: argparse.Namespace) -> int:
    """All of them; or one, to wait for, cancel or go on with."""
    if args.job is None:
        if args.wait or args.cancel or args.resume:
            raise UsageError("name the job: recorderctl jobs ID")
        return await _list(client, args)
    path = f"exports/{segment(args.job)}"
    if args.cancel:
        job = await client.post(f"{path}/cancel")
    elif args.resume:
        job = await client.post(f"{path}/resume")
    else:
        job = await client.get(f"jobs/{segment(args.job)}")
    if args.wait:
        job = await _wait(client, job, args.json)
    _show(job, args.json)
    return _verdict(job) if not args.cancel else HELD


async def url(client: Client, args: argparse.Namespace) -> int:
    """An address for a player that sends no headers: live, or recorded with --start (and --end)."""
    if args.end is not None and args.start is None:
        raise UsageError("--end needs --start")
    form = args.form or ("mp4" if args.start is None or args.end is not None else "jpg")
    order = {"form": form, "stream": args.stream, "lifetime": args.lifetime}
    kind = "live" if args.start is None else "recorded"
    for name in ("start", "end"):
        if getattr(args, name) is not None:
            order[name] = getattr(args, name)
    found = await client.post(f"cameras/{segment(args.camera)}/{kind}-url", order)
    if args.json:
        print_json({**found, "url": f"{client.base}{found['url']}"})
        return HELD
    print(f"{client.base}{found['url']}")
    if not client.base:
        print("put the server's address in front of it: it was asked over its socket", file=sys.stderr)
    return HELD


async def _list(client: Client, args: argparse.Namespace) -> int:
    page = await client.get("jobs", limit=str(min(args.limit, PAGE)))
    found = page["items"]
    if args.json:
        print_json({"items": found})
        return HELD
    rows = [
        (
            job["id"],
            job["kind"],
            job["state"],
            f"{job['progress']:.0%}",
            job["created"],
            (job["error"] or {}).get("code"),
        )
        for job in found
    ]
    print(table(("ID", "KIND", "STATE", "PROGRESS", "CREATED", "ERROR"), rows))
    return HELD


async def _wait(client: Client, job: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """The job when it has ended, with a bar meanwhile."""
    bar: Progress | None = None
    told = 0
    while job["state"] in _OPEN:
        detail = job["detail"]
        if detail and detail["total_bytes"] and not quiet:
            bar = bar or Progress(job["id"], detail["total_bytes"])
            bar.add(detail["done_bytes"] - told)
            told = detail["done_bytes"]
        await asyncio.sleep(POLL_S)
        job = await client.get(f"jobs/{segment(job['id'])}")
    if bar is not None:
        bar.finish()
    return job


async def _fetch(client: Client, job: dict[str, Any], folder: Path, replace: bool) -> None:
    """Every file of a finished export. Raises Refused, UsageError for a file that is there already."""
    for one in job["result"]["files"]:
        path = folder / Path(one["name"]).name
        if path.exists() and not replace:
            raise UsageError(f"{path} exists already: choose another folder with -o, or add --replace")
        part = path.with_name(f"{path.name}.part")
        digest = hashlib.sha256()
        try:
            async with client.open("GET", f"exports/{segment(job['id'])}/files/{segment(one['name'])}") as answer:
                with part.open("wb") as file:
                    async for data in answer.content.iter_chunked(_READ_BYTES):
                        file.write(data)
                        digest.update(data)
                    file.flush()
                    os.fsync(file.fileno())
            if digest.hexdigest() != one["sha256"]:
                raise Refused(502, {"code": "changed", "detail": f"{one['name']} is not what the job names"})
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _show(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    print(f"{job['id']}  {job['kind']}  {job['state']}  {job['progress']:.0%}")
    for one in (job["result"] or {}).get("files", ()):
        print(f"  {printable(one['name'])}  {size(one['bytes'])}  sha256 {one['sha256']}")
    for name in (job["result"] or {}).get("incomplete", ()):
        print(f"  {printable(name)}: not all of it could be given; its manifest says why", file=sys.stderr)
    if job["error"] is not None:
        print(f"  {printable(job['error']['code'])}: {printable(job['error']['message'])}", file=sys.stderr)


def _verdict(job: dict[str, Any]) -> int:
    """WRONG for a job that failed, was cancelled, or gave less than was asked for."""
    if job["state"] in _OPEN:
        return HELD
    return HELD if job["state"] == "done" and (job["result"] or {}).get("complete", True) else WRONG
