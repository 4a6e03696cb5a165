"""What the ledger says that a segment held when it was sealed, against what is left in it: who lost what, and when.

Law: read-only. A segment that got its footer again was sealed twice: the seal that names most is what was there. What a
rule took out is no loss. Used by fsck.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mediadb.errors import FormatError
from mediadb.format.columns import ChunkColumns
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record, decode_names, decode_spec
from mediadb.fs import Fs
from mediadb.ledger import read_ledger
from mediadb.times import show_time
from mediadb.waiting import unwrap

MAX_SAID = 20  # stretches named one by one


class Held(NamedTuple):
    """What a segment held of a track: numbers of chunks [first, next), samples, from when to when."""

    first_seq: int
    next_seq: int
    samples: int
    first_us: int
    end_us: int


@dataclass(slots=True)
class Seals:
    """By segment id: what each track had; names of the tracks."""

    held: dict[str, dict[uuid.UUID, Held]] = field(default_factory=dict)
    names: dict[uuid.UUID, str] = field(default_factory=dict)

    def say(self, lost: list[tuple[uuid.UUID, int, int]]) -> str:
        """In words: "cam 1 from … to …"."""
        words = [
            f"{self.names.get(track, str(track))} from {show_time(low)} to {show_time(high)}"
            for track, low, high in lost[:MAX_SAID]
        ]
        return "; ".join(words) + (f"; and {len(lost) - MAX_SAID} stretches more" if len(lost) > MAX_SAID else "")


def read_seals(fs: Fs, ledger: Path, wanted: Collection[str]) -> Seals:
    """What the ledger of a log says of these segments. Raises OSError."""
    seals = Seals()
    for record in read_ledger(fs, ledger) if wanted else ():
        try:
            record = unwrap(record) if record.kind == LedgerKind.WAITED else record
            if record.kind == LedgerKind.SEGMENT_SEAL and record.body["segment"] in wanted:
                _seal(seals.held.setdefault(record.body["segment"], {}), record.body)
            elif record.kind == LedgerKind.TRACK:
                spec, names = decode_spec(record.body), decode_names(record.body["names"])
                seals.names[spec.track] = names.camera or str(spec.track)
        except (KeyError, ValueError, TypeError, AttributeError, FormatError):
            continue  # a record of a later program: it says nothing to us
    return seals


def _seal(held: dict[uuid.UUID, Held], body: Record) -> None:
    for one in body["tracks"]:
        if one["end_us"] is None:
            continue
        track = uuid.UUID(one["track"])
        new = Held(*(int(one[key]) for key in ("first_seq", "next_seq", "samples", "first_us", "end_us")))
        if track not in held or held[track].samples <= new.samples:
            held[track] = new


def lost_of(
    held: Mapping[uuid.UUID, Held], left: Mapping[uuid.UUID, tuple[ChunkColumns, ChunkColumns]]
) -> list[tuple[uuid.UUID, int, int]]:
    """(track, from, to) of what a segment held and does not hold any more; `left`: media and notes by track."""
    lost = []
    for track, had in held.items():
        media, notes = left.get(track, (ChunkColumns(), ChunkColumns()))
        if sum(media.frame_count[: media.count]) < had.samples:
            lost += [(track, low, high) for low, high in _holes(had, media, notes) if low < high]
    return lost


def _holes(had: Held, media: ChunkColumns, notes: ChunkColumns) -> Iterator[tuple[int, int]]:
    there = sorted(
        (columns.seq[i], columns.recv_us[i], columns.recv_us[i] + columns.duration_us[i])
        for columns in (media, notes)
        for i in range(columns.count)
    )
    seq, end_us = had.first_seq, had.first_us
    for number, start, end in there:
        if number > seq:
            yield end_us, start
        seq, end_us = number + 1, max(end_us, end)
    if had.next_seq > seq:
        yield end_us, had.end_us
