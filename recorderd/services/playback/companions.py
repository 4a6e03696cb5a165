"""The tracks that follow a leading one: sound, metadata.

Law: blocking; `merge` runs on the volume's read pool. They come by their time of arrival, between the frames of the
leading track. What cannot be read is silence: the leading track tells why. Called by `player` only.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Sequence

from mediadb.errors import ChunkError, FormatError
from mediadb.reader import Reader
from recorderd.services.playback.feeds import Entry
from recorderd.services.playback.gop import frames
from recorderd.services.playback.types import Frame, Item

NEAR_US = 2_000_000  # nearer than this, they go on where they were left
UNKNOWN_LENGTH_US = 40_000


class Companions:
    """Remembers up to where the tracks were given."""

    def __init__(self, reader: Reader, tracks: Sequence[uuid.UUID]) -> None:
        self._reader, self._tracks = reader, tracks
        self._heard_us: int | None = None

    def arrive(self, time_us: int) -> None:
        """The leading track goes on from another place."""
        self._heard_us = time_us

    def merge(self, entries: list[Entry]) -> list[Entry]:
        """`entries` of the leading track with those of the others between them."""
        timed = [entry for entry in entries if entry.due_us is not None and isinstance(entry.item, Frame)]
        if not self._tracks or not timed:
            return entries
        begin_us, end_us = timed[0].due_us or 0, (timed[-1].due_us or 0) + _length_us(timed[-1].item)
        if self._heard_us is not None and not timed[0].barrier and abs(self._heard_us - begin_us) < NEAR_US:
            begin_us = self._heard_us
        self._heard_us = end_us
        found = [frame for track in self._tracks for frame in self._between(track, begin_us, end_us)]
        return _merged(entries, sorted(found, key=_arrived))

    def _between(self, track: uuid.UUID, start_us: int, end_us: int) -> list[Frame]:
        out: list[Frame] = []
        for ref in self._reader.chunks(track, start_us, end_us):
            try:
                found = frames(self._reader.read(ref))
            except (ChunkError, FormatError, OSError):
                continue
            out += [frame for frame in found if start_us <= frame.sample.recv_us < end_us]
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
