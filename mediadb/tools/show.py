"""`mediadb ls` and `mediadb dump`.

Law: print what the decoders say; decide nothing.
"""

from __future__ import annotations

import argparse
import json
import uuid
from pathlib import Path
from typing import Any

from mediadb.errors import FormatError
from mediadb.format.ledger_page import LedgerKind, scan_pages
from mediadb.format.records import run_text
from mediadb.fs import Fs, read_file
from mediadb.ledger import MAX_FILE_BYTES
from mediadb.locks import read_volume
from mediadb.segment_files import OPEN, SEALED, list_segments, list_storages, read_footer, read_header
from mediadb.segment_scan import scan_segment
from mediadb.times import show_bytes, show_time
from mediadb.tools.context import HELD, WRONG, Context
from mediadb.types import Kind


def ls(context: Context, args: argparse.Namespace) -> int:
    """Storages of a volume with their tracks and segments."""
    identity = read_volume(context.fs, args.path)
    storages = [
        _storage(context, args.path, name)
        for name in list_storages(context.fs, args.path)
        if args.storage in (None, name)
    ]
    if context.as_json:
        print(json.dumps({"volume": str(identity.volume), "storages": storages}))
        return HELD
    print(f"volume {identity.volume}")
    for storage in storages:
        print(f"storage {storage['name']}: {len(storage['segments'])} segments, {show_bytes(storage['bytes'])}")
        for track in storage["tracks"]:
            print(
                f"  {track['track']}  {track['name'] or track['camera']} {track['stream']} {track['kind']}"
                f"  {track['first']} .. {track['last']}"
            )
        for segment in storage["segments"]:
            state = "sealed" if segment["sealed"] else "open"
            print(f"  {segment['file']}  {show_bytes(segment['bytes'])}  {state}")
    return HELD


def _storage(context: Context, volume: Path, name: str) -> dict[str, Any]:
    places = list_segments(context.fs, volume, name)
    reader = context.open(volume, name)
    try:
        tracks = [
            {
                "track": str(t.spec.track),
                "camera": str(t.spec.camera),
                "name": t.names.camera,
                "stream": t.spec.stream,
                "kind": t.spec.kind.name.lower(),
                "first": show_time(t.first_us),
                "last": show_time(t.last_us),
            }
            for t in reader.tracks()
        ]
    finally:
        reader.close()
    segments = [{"file": str(p.path.relative_to(volume)), "bytes": p.size, "sealed": p.sealed} for p in places]
    return {"name": name, "bytes": sum(p.size for p in places), "tracks": tracks, "segments": segments}


def dump(context: Context, args: argparse.Namespace) -> int:
    """Everything but the media of one file. Exit code 1 when a part of it cannot be decoded."""
    path: Path = args.path
    show = _segment if path.suffix in (OPEN, SEALED) else _ledger
    record = show(context.fs, path)
    if context.as_json:
        print(json.dumps(record))
    else:
        _print(record, 0)
    return WRONG if record["damaged"] else HELD


def _segment(fs: Fs, path: Path) -> dict[str, Any]:
    scan = scan_segment(fs, path)
    record: dict[str, Any] = {"file": str(path), "damaged": []}
    fd = fs.open_read(path)
    try:
        header = read_header(fs, fd)
        record["segment"] = {
            "segment": str(header.segment),
            "log": str(header.log),
            "server": str(header.server),
            "run": run_text(header.run),
            "epoch": header.epoch,
            "number": header.number,
            "created": show_time(header.created_us),
            "origin": header.origin.name.lower(),
        }
        data_end = scan.size
        try:
            head, trailer = read_footer(fs, fd)
        except FormatError as error:
            record["footer"] = error.message
        else:
            data_end = head.data_end
            record["footer"] = {
                "offset": trailer.footer_offset,
                "tracks": len(head.tracks),
                "commits": [list(head.first_commit), list(head.last_commit)],
                "recovered": bool(head.flags & 1),
            }
    finally:
        fs.close(fd)
    record["damaged"] = [list(span) for span in scan.bad if span[0] < data_end]
    record["blocks"] = [
        {
            "offset": block.offset,
            "bytes": block.header.block_len,
            "commit": list(block.header.commit),
            "durable": list(block.header.durable),
            "wall": show_time(block.header.wall_us),
            "chunks": [
                {
                    "offset": block.offset + entry.offset,
                    "kind": Kind(entry.header.kind).name,
                    "track": str(uuid.UUID(bytes=entry.header.track)),
                    "seq": entry.header.seq if entry.header.kind != Kind.CONFIG else None,
                    "samples": entry.header.frame_count,
                    "bytes": entry.header.chunk_len,
                    "received": show_time(entry.header.recv_us) if entry.header.kind != Kind.CONFIG else None,
                }
                for entry in block.entries
            ],
        }
        for block in scan.blocks
        if block.offset < data_end
    ]
    return record


def _ledger(fs: Fs, path: Path) -> dict[str, Any]:
    record: dict[str, Any] = {"file": str(path), "damaged": [], "pages": []}
    for offset, page in scan_pages(read_file(fs, path, MAX_FILE_BYTES)):
        if page is None:
            record["damaged"].append(offset)
            continue
        record["pages"].append(
            {
                "offset": offset,
                "run": run_text(page.run),
                "number": page.number,
                "wall": show_time(page.wall_us),
                "records": [{"record": _kind(r.kind), "time": show_time(r.time_us), **r.body} for r in page.records],
            }
        )
    return record


def _kind(number: int) -> str:
    try:
        return LedgerKind(number).name
    except ValueError:
        return f"unknown {number}"


def _print(value: Any, depth: int) -> None:
    """A record as indented lines; flat ones in one line."""
    indent = "  " * depth
    for key, item in value.items():
        if isinstance(item, dict):
            print(f"{indent}{key}: {_flat(item)}")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            print(f"{indent}{key}:")
            for entry in item:
                lists = {k: v for k, v in entry.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
                print(f"{indent}  {_flat({k: v for k, v in entry.items() if k not in lists})}")
                _print(lists, depth + 2)
        else:
            print(f"{indent}{key}: {item}")


def _flat(value: dict[str, Any]) -> str:
    return " ".join(f"{key}={item}" for key, item in value.items())
