"""A program that records two known tracks with the real store and prints what was acknowledged; made to be killed.

Arguments: folder, start number. Prints `ack <track number> <samples so far>` per commit and never ends by itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import rig

from mediadb.aio import AsyncStore, CommitInfo, StoreOptions
from mediadb.types import Names


def say(*words: object) -> None:
    """One line, written at once: a kill never cuts it."""
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


class SystemClock:
    def utc_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


class Printer:
    def __init__(self, start: int) -> None:
        self.counts = {rig.track_id(n): start for n in range(2)}

    def committed(self, info: CommitInfo) -> None:
        for track, fact in info.tracks.items():
            self.counts[track] += fact.samples
            say("ack", track.int - rig.track_id(0).int, self.counts[track])

    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None:
        say("shed", samples)

    def trouble(self, code: str, params: dict[str, object]) -> None:
        say("trouble", code, params)


async def main(root: Path, start: int) -> None:
    options = StoreOptions(create=True, commit_us=20_000, slot_us=5_000, segment_us=100_000)
    clock = SystemClock()
    store = await AsyncStore.open(
        root, "main", server=rig.SERVER, clock=clock, options=options, listener=Printer(start)
    )
    say("open")
    writers = [store.track(rig.video_spec(n), Names("cam", "hw")) for n in range(2)]
    for writer in writers:
        writer.config(rig.VIDEO)
    number, base_us = start, clock.utc_us()
    while True:
        for which, writer in enumerate(writers):
            sample = rig.frame(rig.track_id(which), number, size=2000, base_us=base_us - start * rig.FRAME_US)
            writer.append(sample)
        number += 1
        await asyncio.sleep(0.001)


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
