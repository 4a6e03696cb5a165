"""Record a camera to an MP4 file: live, or a recorded range.

    python examples/record_to_mp4.py gate -o gate.mp4                               until Ctrl-C
    python examples/record_to_mp4.py gate -o gate.mp4 --seconds 30 --audio
    python examples/record_to_mp4.py gate -o night.mp4 --start -2h --end -1h        from the recordings

The file is fragmented MP4: it grows picture by picture and can be played whenever the recording stops. Nothing is
decoded or encoded. A hole in the footage keeps its length: the picture before it stands still.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import command_line

from mediadb.mp4.fragment import FragmentTrack, fragment_head, init_segment
from recorderd.client import Chunk, Client, Config, LiveOptions, PullOptions, Unit
from recorderd.media.access_unit import MediaKind

PATIENCE_S = 3.0
JUMP_S = 1.0  # media time may leave wall time by so much, then it is set anew


@dataclass(frozen=True, slots=True)
class Sample:
    """What both ways of reading come down to."""

    config: Config
    data: bytes | memoryview
    pts: int
    dts: int
    recv_us: int
    key: bool


class Movie:
    """Writes samples to a file, from a keyframe on. The file's head names its tracks, so the first samples wait until
    one of every kind in `wanted` has come, or PATIENCE_S have passed without."""

    def __init__(self, out: BinaryIO, wanted: set[MediaKind]) -> None:
        self._out, self._wanted = out, wanted
        self._waiting: list[Sample] = []
        self._tracks: dict[MediaKind, int] = {}
        self._shift: dict[MediaKind, int] = {}  # ticks from media time to the file's time
        self._last: dict[MediaKind, Sample] = {}
        self._entries: dict[MediaKind, bytes] = {}
        self.samples = self.first_us = 0

    def add(self, sample: Sample) -> None:
        kind = sample.config.kind
        if not self._tracks:
            if not self._waiting and not (sample.key and kind is MediaKind.VIDEO):
                return  # begin with a picture that needs no other
            self._waiting.append(sample)
            waited_us = sample.recv_us - self._waiting[0].recv_us
            if self._wanted <= {one.config.kind for one in self._waiting} or waited_us >= PATIENCE_S * 1e6:
                self._begin()
            return
        if kind not in self._tracks:
            return  # came into being later: the file's head is written
        if sample.config.entry != self._entries[kind]:
            raise ValueError(f"the coding of the {kind} changed; start a new file")
        before, self._last[kind] = self._last.get(kind), sample
        if before is not None:
            self._write(before, self._place(sample) - self._place(before))
        self._keep_time(sample)

    def finish(self) -> None:
        """Write what waits; the last sample of a track lasts as long as it nominally does."""
        if self._waiting and not self._tracks:
            self._begin()
        for sample in self._last.values():
            self._write(sample, sample.config.frame_ticks or sample.config.timebase_hz // 25)

    def _begin(self) -> None:
        configs = {sample.config.kind: sample.config for sample in self._waiting}
        self._tracks = {kind: number for number, kind in enumerate(sorted(configs, reverse=True), 1)}  # video first
        self._entries = {kind: configs[kind].entry for kind in self._tracks}
        tracks = [
            FragmentTrack(
                number, "video" if kind is MediaKind.VIDEO else "audio", configs[kind].timebase_hz, configs[kind].entry
            )
            for kind, number in self._tracks.items()
        ]
        self._out.write(init_segment(tracks))
        self.first_us = min(sample.recv_us for sample in self._waiting)
        waiting, self._waiting = self._waiting, []
        for sample in waiting:
            self.add(sample)

    def _place(self, sample: Sample) -> int:
        """Where on the file's clock, in ticks: by media time; by wall time where media time jumped."""
        kind, hz = sample.config.kind, sample.config.timebase_hz
        wall = (sample.recv_us - self.first_us) * hz // 1_000_000
        shift = self._shift.get(kind)
        if shift is None or abs(sample.dts + shift - wall) > JUMP_S * hz:
            return max(wall, 0)
        return sample.dts + shift

    def _keep_time(self, sample: Sample) -> None:
        self._shift[sample.config.kind] = self._place(sample) - sample.dts

    def _write(self, sample: Sample, duration: int) -> None:
        self.samples += 1
        place = sample.dts + self._shift[sample.config.kind]
        timing = (max(duration, 0), sample.pts - sample.dts, sample.key)
        track = self._tracks[sample.config.kind]
        self._out.write(fragment_head(self.samples, track, place, len(sample.data), timing))
        self._out.write(sample.data)


def can_start(unit: Unit) -> bool:
    return unit.key or unit.kind is not MediaKind.VIDEO


async def live(client: Client, args: argparse.Namespace) -> AsyncIterator[Sample]:
    first_us = None
    async with client.live(args.camera, LiveOptions(args.stream, args.audio)) as stream:
        async for unit in stream:
            if isinstance(unit, Unit):
                first_us = first_us or unit.recv_us
                if args.seconds is not None and unit.recv_us - first_us >= args.seconds * 1e6:
                    return
                yield Sample(unit.config, unit.data, unit.pts, unit.dts, unit.recv_us, can_start(unit))


async def recorded(client: Client, args: argparse.Namespace) -> AsyncIterator[Sample]:
    tracks = ("video", "audio") if args.audio else ("video",)
    async with client.pull(args.camera, args.start, args.end, options=PullOptions(args.stream, tracks)) as pull:
        async for item in pull:
            if isinstance(item, Chunk):
                for one in item.samples():
                    key = one.key or item.kind is not MediaKind.VIDEO
                    yield Sample(item.config, one.data, one.pts, one.dts, one.recv_us, key)
            elif isinstance(item, Unit):
                yield Sample(item.config, item.data, item.pts, item.dts, item.recv_us, can_start(item))


async def main(args: argparse.Namespace) -> int:
    source = recorded if args.start is not None else live
    with args.output.open("wb") as out:
        movie = Movie(out, {MediaKind.VIDEO, MediaKind.AUDIO} if args.audio else {MediaKind.VIDEO})
        try:
            async with command_line.client(args) as client:
                async for sample in source(client, args):
                    movie.add(sample)
        except ValueError as error:
            print(error, file=sys.stderr)
            return command_line.WRONG
        finally:  # also after Ctrl-C or a lost server: what is there can be played
            movie.finish()
            print(f"{args.output}: {movie.samples} samples, {out.tell()} bytes", file=sys.stderr)
    return command_line.DONE if movie.samples else command_line.WRONG


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument("camera")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--stream", default="main", help="main or sub")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--seconds", type=float, help="live: end after so long")
    parser.add_argument("--start", type=command_line.moment, help="recorded: 2026-11-21T22:00:00Z, -2h, now")
    parser.add_argument("--end", type=command_line.moment)
    args = command_line.arguments(parser)
    if (args.start is None) != (args.end is None):
        parser.error("--start and --end go together")
    sys.exit(command_line.run(main(args)))
