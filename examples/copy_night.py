"""Copy a night: recorded footage of cameras, at full speed, into local files that can be played.

    python examples/copy_night.py gate yard --start 2026-11-20T18:00:00Z --end 2026-11-21T06:00:00Z -o night

Writes per camera and track NAME.mp4 (fragmented MP4, a fragment per stored chunk) and NAME.jsonl (a line per chunk: its
number, times, place in the file and SHA-256). A line is written only once the bytes before it are on the disk, so
that after a cut of the connection, a kill of this program or of the machine, the same command goes on where it was:
what lies behind the last line is cut off and pulled again. At the end everything is read back and checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import command_line

from mediadb.mp4.fragment import FragmentRun, FragmentSample, FragmentTrack, fragment, init_segment
from mediadb.mp4.plan import Kind
from recorderd.client import Chunk, Client, Hole, PullOptions, Unit
from recorderd.media.access_unit import MediaKind

JUMP_S = 1.0  # media time may leave wall time by so much, then the file's time is set anew


@dataclass(frozen=True, slots=True)
class Line:
    """One chunk in the log. Its samples lie at `at` in `file`, which ended at `end` behind it; `shift`: ticks from
    media time to the file's time; `coding`: of the sample entry."""

    cursor: str
    run: int
    seq: int
    recv_us: int
    end_us: int
    frames: int
    file: str
    at: int
    bytes: int
    end: int
    shift: int
    coding: str
    salt: str
    sha256: str


class TrackCopy:
    """The files of one track, begun or taken up behind the last line of its log. `start_us` is 0 of the file's time."""

    def __init__(self, folder: Path, name: str, start_us: int, sync_bytes: int) -> None:
        self._folder, self._name, self._start_us, self._sync_bytes = folder, name, start_us, sync_bytes
        self._log = folder / f"{name}.jsonl"
        self._fresh: list[Line] = []  # written, not yet known to be on the disk
        self._out: BinaryIO | None = None
        self.lines = self._read_log()
        if self.lines:
            self._out = (folder / self.lines[-1].file).open("r+b")
            self._out.truncate(self.lines[-1].end)
            self._out.seek(self.lines[-1].end)

    def add(self, chunk: Chunk) -> None:
        """Append one chunk as a fragment."""
        before = self._fresh[-1] if self._fresh else self.lines[-1] if self.lines else None
        coding = hashlib.sha256(chunk.config.entry).hexdigest()[:16]
        if before is None or before.coding != coding:
            self._begin_file(chunk, len({line.file for line in self.lines}))
            before = None
        assert self._out is not None
        hz = chunk.config.timebase_hz
        wall = (chunk.recv_us - self._start_us) * hz // 1_000_000
        shift = before.shift if before is not None else wall - chunk.base_dts
        if chunk.discontinuity or abs(chunk.base_dts + shift - wall) > JUMP_S * hz:
            shift = wall - chunk.base_dts
        run = FragmentRun(1, max(chunk.base_dts + shift, 0), fragment_samples(chunk))
        self._out.write(fragment(len(self.lines) + len(self._fresh) + 1, [run]))
        end, size = self._out.tell(), len(chunk.data)
        self._fresh.append(Line(
            chunk.cursor, chunk.run, chunk.seq, chunk.recv_us, chunk.end_us, chunk.count, Path(self._out.name).name,
            end - size, size, end, shift, coding, chunk.salt.hex(), chunk.sha256.hex(),
        ))  # fmt: skip
        if end - self._fresh[0].at >= self._sync_bytes:
            self.sync()

    def sync(self) -> None:
        """First the bytes, then the lines that vouch for them."""
        if self._out is None or not self._fresh:
            return
        self._out.flush()
        os.fdatasync(self._out.fileno())
        with self._log.open("a") as log:
            log.writelines(json.dumps(asdict(line)) + "\n" for line in self._fresh)
            log.flush()
            os.fdatasync(log.fileno())
        self.lines += self._fresh
        self._fresh = []

    def check(self) -> list[str]:
        """Read everything back: what is wrong, in words."""
        wrong = []
        for line in self.lines:
            with (self._folder / line.file).open("rb") as file:
                file.seek(line.at)
                data = file.read(line.bytes)
            if hashlib.sha256(bytes.fromhex(line.salt) + data).hexdigest() != line.sha256:
                wrong.append(f"{line.file} at {line.at}: chunk {line.seq} does not have its SHA-256")
        if len({(line.run, line.seq) for line in self.lines}) != len(self.lines):
            wrong.append(f"{self._log}: a chunk is there twice")
        return wrong

    def _read_log(self) -> list[Line]:
        """Whole lines only; a torn last one is cut off."""
        if not self._log.exists():
            return []
        whole = self._log.read_text().rpartition("\n")[0]
        os.truncate(self._log, len(whole.encode()) + bool(whole))
        return [Line(**json.loads(line)) for line in whole.splitlines()]

    def _begin_file(self, chunk: Chunk, number: int) -> None:
        """A file of its own for each coding: `-2` and so on behind the name."""
        self.sync()
        name = self._name + (f"-{number + 1}" if number else "") + ".mp4"
        kind: Kind = "video" if chunk.kind is MediaKind.VIDEO else "audio"
        self._out = (self._folder / name).open("wb")
        self._out.write(init_segment([FragmentTrack(1, kind, chunk.config.timebase_hz, chunk.config.entry)]))


def fragment_samples(chunk: Chunk) -> list[FragmentSample]:
    """Each lasts until the next; the last as long as it nominally does (the next fragment has its own time)."""
    rows = chunk.rows()
    ends = [row.dts for row in rows[1:]] + [rows[-1].dts + chunk.config.frame_ticks]
    return [
        FragmentSample(bytes(one.data), end - row.dts, row.cts, one.key or chunk.kind is not MediaKind.VIDEO)
        for one, row, end in zip(chunk.samples(), rows, ends, strict=True)
    ]  # fmt: skip


async def copy_camera(client: Client, camera: str, args: argparse.Namespace) -> list[str]:
    """One camera; returns what is wrong, in words."""
    folder = Path(args.output)
    kinds = ("video", "audio") if args.audio else ("video",)
    copies = {kind: TrackCopy(folder, f"{camera}-{kind}", args.start, args.sync_mb * 10**6) for kind in kinds}
    cursors = {}
    for copy in copies.values():
        if copy.lines:
            cursors[str(uuid.UUID(copy.lines[-1].cursor.split(":")[0]))] = copy.lines[-1].cursor
    wrong: list[str] = []
    options = PullOptions(args.stream, kinds)
    try:
        async with client.pull(camera, args.start, args.end, cursors, options) as pull:
            async for item in pull:
                if isinstance(item, Chunk):
                    copies[item.kind].add(item)
                elif isinstance(item, Hole):
                    wrong += told(camera, item)
                elif isinstance(item, Unit):
                    raise ValueError(f"{camera}: a chunk above the limit of a message; this program does not join it")
    finally:  # also after Ctrl-C: what came is kept
        for copy in copies.values():
            copy.sync()
    for kind, copy in copies.items():
        wrong += copy.check()
        frames, size = sum(line.frames for line in copy.lines), sum(line.bytes for line in copy.lines)
        print(f"{camera} {kind}: {len(copy.lines)} chunks, {frames} frames, {size / 1e6:.1f} MB")
    return wrong


def told(camera: str, hole: Hole) -> list[str]:
    """Print why footage is missing; what is nobody's intention counts as wrong."""
    wrong = []
    for cause in hole.causes:
        text = f"{camera}: no footage for {(cause.end_us - cause.start_us) / 1e6:.1f} s: {cause.state} {cause.reason}"
        print(text)
        if cause.state in ("storage-error", "unexplained"):
            wrong.append(text)
    return wrong


def same_night(args: argparse.Namespace) -> bool:
    """Is the folder of this very night? A new one is marked."""
    args.output.mkdir(parents=True, exist_ok=True)
    mark, night = args.output / "night.json", {"start_us": args.start, "end_us": args.end, "stream": args.stream}
    if not mark.exists():
        mark.write_text(json.dumps(night))
    return bool(json.loads(mark.read_text()) == night)


async def main(args: argparse.Namespace) -> int:
    if not same_night(args):
        print(f"{args.output} holds another range; give its --start and --end, or another folder", file=sys.stderr)
        return command_line.USAGE
    wrong: list[str] = []
    async with command_line.client(args) as client:
        for camera in args.camera:
            wrong += await copy_camera(client, camera, args)
    for line in wrong:
        print(line, file=sys.stderr)
    return command_line.WRONG if wrong else command_line.DONE


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument("camera", nargs="+")
    parser.add_argument("--start", type=command_line.moment, required=True, help="2026-11-20T18:00:00Z")
    parser.add_argument("--end", type=command_line.moment, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--stream", default="main", help="main or sub")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument(
        "--sync-mb", type=int, default=64, help="so much is pulled again after a kill, at the most (64)"
    )
    sys.exit(command_line.run(main(command_line.arguments(parser))))
