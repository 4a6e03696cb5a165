"""The tracks that follow a leading one: sound, metadata.

Law: blocking; `merge` runs on the volume's read pool. They come by their time of arrival, between the frames of the
leading track. What cannot be read is silence: the leading track tells why. Called by `player` only.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Sequence

from mediadb.errors import ChunkError, FormatError
from mediadb.read.reader import ChunkRef, Reader
from recorderd.services.playback.feeds import Entry
from recorderd.services.playback.gop import frames
from recorderd.services.playback.types import Frame, Hole, Item

NEAR_US = 2_000_000  # nearer than this, they go on where they were left
UNKNOWN_LENGTH_US = 40_000
OVERLAP_US = 200_000  # less is jitter of a chunk's nominal end


class Companions:
    """Remembers up to where the tracks were given, and up to which chunk."""

    def __init__(self, reader: Reader, tracks: Sequence[uuid.UUID]) -> None:
        self._reader, self._tracks = reader, tracks
        self._heard_us: int | None = None
        self._heard: dict[uuid.UUID, tuple[int, int]] = {}  # (run, seq) of the chunk given last

    def arrive(self, time_us: int) -> None:
        """The leading track goes on from another place."""
        self._heard_us = time_us
        self._heard.clear()

    def merge(self, entries: list[Entry]) -> list[Entry]:
        """`entries` of the leading track with those of the others between them. What lies in its holes is left out:
        it would be waited for, and there may be days of it."""
        if not self._tracks:
            return entries
        out: list[Entry] = []
        for stretch in _stretches(entries):
            out += self._merge(stretch)
        return out

    def _merge(self, entries: list[Entry]) -> list[Entry]:
        timed = [entry for entry in entries if entry.due_us is not None and isinstance(entry.item, Frame)]
        if not timed:
            return entries
        first, last = timed[0], timed[-1]
        begin_us, end_us = first.due_us or 0, (last.due_us or 0) + _length_us(last.item)
        if self._heard_us is not None and not first.barrier and abs(self._heard_us - begin_us) < NEAR_US:
            begin_us = self._heard_us
        self._heard_us = end_us
        runs = {entry.item.run for entry in timed if isinstance(entry.item, Frame)}
        found = [
            frame for track in self._tracks for frame in self._between(track, (begin_us, end_us), runs, first.back)
        ]
        return _merged(entries, sorted(found, key=_arrived))

    def _between(self, track: uuid.UUID, span: tuple[int, int], runs: set[int], back: bool) -> list[Frame]:
        """Of the leading track's own runs only: time that was lived twice has two sounds."""
        refs = [ref for ref in self._reader.chunks(track, *span) if ref.run in runs]
        out: list[Frame] = []
        for ref in self._scene(track, refs, back):
            self._heard[track] = ref.run, ref.seq
            try:
                found = frames(self._reader.read(ref))
            except (ChunkError, FormatError, OSError):
                continue
            out += [frame for frame in found if span[0] <= frame.sample.recv_us < span[1]]
        return out

    def _scene(self, track: uuid.UUID, refs: list[ChunkRef], back: bool) -> list[ChunkRef]:
        """Where the clock was set back inside a run: the chunks that go on behind those given last."""
        scenes: list[list[ChunkRef]] = []
        for ref in sorted(refs, key=lambda ref: (ref.run, ref.seq)):
            if not scenes or ref.recv_us < scenes[-1][-1].end_us - OVERLAP_US:
                scenes.append([])
            scenes[-1].append(ref)
        run, seq = self._heard.get(track, (None, 0))
        for scene in scenes if len(scenes) > 1 else ():
            at = scene[0] if back else scene[-1]
            if run is None or at.run != run or at.seq >= seq + back:
                return scene
        return scenes[-1] if scenes else []


def _stretches(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries cut where a hole or a step back of recorder time lies."""
    out: list[list[Entry]] = [[]]
    for entry in entries:
        if out[-1] and (entry.barrier or isinstance(entry.item, Hole)):
            out.append([])
        out[-1].append(entry)
    return out


def _length_us(item: Item) -> int:
    """How long a picture is shown, as far as its coding says."""
    config = item.config if isinstance(item, Frame) else None
    if config is None or not config.frame_ticks or not config.timebase_hz:
        return UNKNOWN_LENGTH_US
    return config.frame_ticks * 1_000_000 // config.timebase_hz


def _arrived(frame: Frame) -> int:
    return frame.sample.recv_us


def _merged(entries: Iterable[Entry], others: Iterable[Frame]) -> list[Entry]:
    """`others` put before the first entry that is due later."""
    out: list[Entry] = []
    waiting = deque(others)
    for entry in entries:
        while waiting and entry.due_us is not None and waiting[0].sample.recv_us < entry.due_us:
            out.append(Entry(waiting[0], waiting.popleft().sample.recv_us))
        out.append(entry)
    return out + [Entry(frame, frame.sample.recv_us) for frame in waiting]
