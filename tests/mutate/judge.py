"""What the product makes of a damaged volume: every sample it gives is right, the rest is a typed gap, nothing breaks.

Law: right bytes are known per sample (`sample.content`), never taken from the product. A change whose checksums were
made right again cannot be told from the truth in format 0, so there only crashes, memory and bystanders count.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.errors import ChunkError, StorageError, UnsupportedVersion
from mediadb.gone import GONE
from mediadb.ledger_facts import FUTURE_US, PAST_US
from mediadb.read.reader import Reader
from mediadb.tools.fsck import fsck
from mediadb.tools.verify import verify_volume
from tests.mutate.memory import MemoryFs
from tests.mutate.mutations import Mutation
from tests.mutate.sample import FPS, ROOT, SPECS, STORAGE, T0, Place, Run, S, Volume, content

MAY_REFUSE = ("log", "volume")
MAX_READ = 32 << 20
REPAIR_SHARE = 0.3


class Wrong(AssertionError):
    """The product did what it must not do."""


@dataclass
class Seen:
    """What a reader gave: samples by place with the segment they came from, and how many chunks it could not give."""

    samples: dict[Place, str] = field(default_factory=dict)
    gaps: int = 0


def read_all(fs: MemoryFs, *, exact: bool) -> Seen:
    """Everything a reader can reach, sample by sample, and the coverage of all of it."""
    seen = Seen()
    end = T0 + 90 * S
    reader = Reader.open_offline(ROOT, STORAGE, lambda: end, fs)
    try:
        for spec in SPECS:
            _read_track(reader, spec.track, seen, exact=exact)
        for intervals in reader.coverage([spec.track for spec in SPECS], T0 - S, end).values():
            _tiled(intervals, T0 - S, end)
    finally:
        reader.close()
    return seen


def _read_track(reader: Reader, track: uuid.UUID, seen: Seen, *, exact: bool) -> None:
    for part in reader.index.parts(track, PAST_US, FUTURE_US):
        for n in range(part.count):
            ref = reader.part_ref(track, part, n)
            try:
                samples = reader.read(ref).samples
            except ChunkError:
                seen.gaps += 1
                continue
            for sample in samples:
                if sample.data == content(track, sample.recv_us):
                    seen.samples[track, sample.recv_us] = part.name
                elif exact:
                    raise Wrong(f"wrong bytes at {ref.name} {ref.row.offset}")
    reader.spans(track, T0, T0 + 60 * S)
    reader.locate_key(track, T0 + 22 * S)
    list(reader.chunks(track, T0 + 20 * S, T0 + 24 * S))


def _tiled(intervals: object, start_us: int, end_us: int) -> None:
    assert isinstance(intervals, list)
    at = start_us
    for interval in intervals:
        if interval.start_us != at or interval.end_us <= at:
            raise Wrong(f"coverage has a seam at {at}")
        at = interval.end_us
    if at != end_us:
        raise Wrong("coverage does not reach the end")


def judge(mutation: Mutation, volume: Volume, whole: Seen, rng: random.Random) -> str:
    """Raise Wrong, or whatever escaped the product. Returns what became of it, in a word, for the count."""
    files = {**volume.files}
    if mutation.content is None:
        del files[mutation.path]
    else:
        files[mutation.path] = mutation.content
    fs = MemoryFs(files)
    exact = not mutation.sealed
    before = read_all(fs, exact=exact)
    named = _named(fs)
    changed = mutation.content != volume.files[mutation.path]
    if exact and changed and not named:
        raise Wrong("nobody names the damage")
    own = _stem(mutation.path)
    bystanders = {place for place, name in whole.samples.items() if exact and name != own}
    if missing := bystanders - before.samples.keys():
        raise Wrong(f"{len(missing)} samples of other files cannot be read")
    word = _start(fs.copy(), mutation, bystanders, exact=exact)
    if rng.random() < REPAIR_SHARE or word == "refused":
        begun = min(_stem(path) for path in volume.files if path.suffix == GONE)
        removed = {place for place, name in whole.samples.items() if name == begun}
        # The last two commits of the unsealed segment count as acknowledged by the block behind them only.
        removed |= {place for place in whole.samples if place[1] >= volume.end_us - 2 * S}
        _repair(fs, before, removed, exact=exact)
    if fs.asked > MAX_READ:
        raise Wrong(f"one read of {fs.asked} bytes")
    return word


def _named(fs: MemoryFs) -> bool:
    verdict = verify_volume(fs, ROOT)
    try:
        report = fsck(fs, ROOT, None, repair=False)
    except (StorageError, UnsupportedVersion):
        return True
    return bool(verdict.findings or report.problems or verdict.notes != _HEALTHY_NOTES)


_HEALTHY_NOTES: list[str] = []


def learn(volume: Volume) -> Seen:
    """What a reader sees of the healthy volume; the notes that verify makes of it are no news later."""
    fs = MemoryFs(volume.files)
    whole = read_all(fs, exact=True)
    assert whole.samples.keys() == volume.places
    assert not whole.gaps
    verdict = verify_volume(fs, ROOT)
    assert not verdict.findings, verdict.findings
    _HEALTHY_NOTES[:] = verdict.notes
    return whole


def _start(fs: MemoryFs, mutation: Mutation, bystanders: set[Place], *, exact: bool) -> str:
    """The daemon's way: open, recover, record, stop. One bad file refuses no start."""
    start = T0 + 60 * S
    try:
        run = Run(fs, 0x33, start)
    except (StorageError, UnsupportedVersion):
        if mutation.kind in MAY_REFUSE:
            return "refused"
        raise
    run.film(2)
    run.stop()
    after = read_all(fs, exact=exact)
    fresh = {(s.track, start + n * S // FPS) for s in SPECS for n in range(2 * FPS)}
    if missing := (fresh | bystanders) - after.samples.keys():
        raise Wrong(f"after the start {len(missing)} samples of other files cannot be read")
    return "started"


def _repair(fs: MemoryFs, before: Seen, removed: set[Place], *, exact: bool) -> None:
    """fsck --repair loses nothing that could be read, and the second time it has nothing to do. `removed`: what may
    go: the segment whose removal was begun, and what nobody vouches for."""
    try:
        fsck(fs, ROOT, None, repair=True)
    except (StorageError, UnsupportedVersion):
        return  # nothing tells which volume it is
    after = read_all(fs, exact=exact)
    if exact and (missing := before.samples.keys() - after.samples.keys() - removed):
        raise Wrong(f"repair lost {len(missing)} samples")
    second = fsck(fs, ROOT, None, repair=True)
    if second.repaired:
        raise Wrong(f"the second repair repaired again: {second.repaired}")


def _stem(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix(""))
