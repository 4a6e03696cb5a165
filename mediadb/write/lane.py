"""Late footage: one track, one source, one run, sealed segments under archive/.

Law: what did not come live (from a camera's card, another server, an import) never enters a log. A lane blocks, runs
on a thread of its job, commits when told and is sealed at its end; nothing of it is shown before the seal. Foreign
media keeps its times; an error leaves an unsealed file that is thrown away, because the source still has it.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mediadb.format.constants import NO_COMMIT
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record
from mediadb.format.segment_header import SegmentHeader
from mediadb.fs import Fs
from mediadb.ledger import LedgerWriter
from mediadb.types import Names, Origin, Sample, TrackConfig, TrackSpec
from mediadb.write.segment import OPEN_SUFFIX, Batch, SegmentWriter, seal_record
from mediadb.write.segment_chunk import Stamp, TrackState, add_sample, close_open, set_config
from mediadb.write.segment_layout import CommitStamp

COMMIT_BYTES = 16 << 20
SEGMENT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class LanePlace:
    """Where a lane goes and whose it is. `log` is the log whose ledger tells of it; `ledger` that log's writer."""

    volume: Path
    storage: str
    volume_id: uuid.UUID
    server: uuid.UUID
    log: uuid.UUID
    origin: Origin
    ledger: LedgerWriter | None = None


class LaneWriter:
    """Writes one lane. Use as a context manager: left without an error it is sealed, with one it is thrown away."""

    def __init__(self, fs: Fs, place: LanePlace, spec: TrackSpec, names: Names) -> None:
        if place.origin is Origin.LIVE:
            raise ValueError("live media belongs into a log, not into a lane")
        self._fs, self._place = fs, place
        self._track = TrackState(spec, names)
        self._stamp = Stamp(secrets.randbits(63) + 1, 0, origin=place.origin, late=True)
        self._segment: SegmentWriter | None = None
        self._held = self._number = self._counter = 0
        self._durable = NO_COMMIT
        self.sealed: list[Path] = []

    @property
    def run(self) -> int:
        return self._stamp.run

    def __enter__(self) -> LaneWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        elif self._segment is not None:
            self._segment.discard()
            self._segment = None

    def config(self, config: TrackConfig) -> None:
        """How the samples from here on are coded."""
        set_config(self._track, config)

    def extend(self, samples: Iterable[Sample]) -> None:
        """Samples in decode order; durable in pieces of 16 MiB. Raises OSError."""
        for sample in samples:
            if add_sample(self._track, sample, self._stamp):
                self._held += len(sample.data)
            if self._held >= COMMIT_BYTES:
                self.commit(sample.recv_us)

    def commit(self, wall_us: int) -> None:
        """Make durable what was taken so far; rolls to a new segment at 1 GiB. Raises OSError."""
        close_open(self._track)
        chunks, self._track.sealed, self._held = self._track.sealed, [], 0
        if not chunks:
            return
        segment = self._segment
        if segment is None:
            segment = self._segment = self._create(chunks[0].header.recv_us)
        header = segment.index.header
        commit = (0, self._counter)
        self._counter += 1
        stamp = CommitStamp(header.segment, header.run, commit, self._durable, wall_us)
        segment.append(Batch(chunks, {self._track.spec.track.bytes: self._track}), stamp)
        segment.sync()
        segment.publish()
        self._durable = commit
        if segment.end >= SEGMENT_BYTES:
            self._seal()

    def finish(self) -> list[Path]:
        """Commit the rest and seal; the paths of all segments of the lane. Raises OSError."""
        last = self._track.open
        self.commit(last.first.recv_us if last is not None else 0)
        self._seal()
        return self.sealed

    def _create(self, start_us: int) -> SegmentWriter:
        place, run = self._place, self._stamp.run
        at = datetime.fromtimestamp(start_us / 1_000_000, UTC)
        folder = place.volume / "archive" / place.storage / str(self._track.spec.track) / f"{at:%Y-%m-%d}"
        name = f"{at:%Y%m%dT%H%M%SZ}-{run:016x}-{self._number:06d}{OPEN_SUFFIX}"
        header = SegmentHeader(
            segment=uuid.uuid4(),
            log=place.log,
            volume=place.volume_id,
            server=place.server,
            run=run,
            epoch=0,
            number=self._number,
            created_us=start_us,
            origin=place.origin,
        )
        self._number += 1
        return SegmentWriter.create(self._fs, folder / name, header, SEGMENT_BYTES)

    def _seal(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        path, head = segment.seal()
        self.sealed.append(path)
        ledger = self._place.ledger
        if ledger is not None:
            status = self._fs.stat(path)
            name = str(path.relative_to(self._place.volume))
            body: Record = seal_record(head, name, status.size if status else 0)
            body["origin"] = self._place.origin.name.lower()
            ledger.add(LedgerKind.LANE, head.last_wall_us, body)
