"""What must be true of a recorder's life: disk, product reader, coverage and `verify` against the plain model.

Law: judges only, changes nothing. `World` gives the state; a violated promise raises `Red`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import rig
from fault_fs import FaultFs
from rig import Rig
from truth import Found, samples_on_disk

from mediadb.errors import MediaDbError
from mediadb.read.reader import ChunkRef, Reader
from mediadb.tools.verify import verify_volume
from mediadb.types import Kind, State

S = 1_000_000
FPS = 5
FRAME_US = S // FPS


class Red(AssertionError):
    """A promise was broken."""


@dataclass
class Line:
    """What must be true of one track. Numbers are given once and for all, over all runs."""

    given: list[tuple[int, int]] = field(default_factory=list)  # by number: (run, recv_us)
    acked: set[int] = field(default_factory=set)
    waiting: list[int] = field(default_factory=list)  # of this run, not acknowledged
    removed: set[int] = field(default_factory=set)
    maybe: set[int] = field(default_factory=set)  # a removal was interrupted: there or gone


class Judged:
    """See the module. `faulty`: something failed since the last recovery, so alarms may be true."""

    fs: FaultFs
    lines: dict[uuid.UUID, Line]
    rig: Rig | None
    utc_us: int
    recovered: bool
    faulty: bool

    def _learn(self) -> None:
        """Take note of what was acknowledged."""
        raise NotImplementedError

    def check(self) -> None:
        """Every promise, now."""
        self._learn()
        self.check_disk()
        if self.rig is not None and self.recovered and not self.faulty:
            self.check_reader(self.rig)
            self.check_structure()

    def check_disk(self) -> None:
        for track, rows in self._on_disk().items():
            self._check_line(uuid.UUID(bytes=track), rows)
        for track, line in self.lines.items():
            if line.acked - line.removed - line.maybe and track.bytes not in self._on_disk():
                raise Red(f"{track}: everything acknowledged is gone")

    def _check_line(self, track: uuid.UUID, rows: list[Found]) -> None:
        line = self.lines[track]
        found = [row.number for row in rows]
        if len(set(found)) != len(found):
            raise Red(f"{track}: a sample is there twice: {_doubles(found)}")
        if found and max(found) >= len(line.given):
            raise Red(f"{track}: samples that nobody gave")
        there, gone = set(found), line.removed | line.maybe
        if lost := line.acked - there - gone:
            raise Red(f"{track}: {len(lost)} acknowledged samples are lost: {sorted(lost)[:9]}")
        if back := there & line.removed:
            raise Red(f"{track}: removed samples came back: {sorted(back)[:9]}")
        for row, following in pairwise(rows):
            if row.run == following.run and row.number > following.number:
                raise Red(f"{track}: out of order in run {row.run}")
        for run in {row.run for row in rows}:
            last = max(row.number for row in rows if row.run == run)
            holes = [n for n, (of, _) in enumerate(line.given[:last]) if of == run and n not in there and n not in gone]
            if holes:
                raise Red(f"{track}: run {run} has holes before {last}: {holes[:9]}")

    def check_reader(self, run: Rig) -> None:
        """The product's reader shows all of it and nothing else, and coverage says so."""
        reader = Reader(rig.ROOT, "main", lambda: self.utc_us, fs=self.fs, live=run.writer, cache=False)
        try:
            reader.refresh()
            for track, line in self.lines.items():
                shown = list(self._read(reader, track))
                if len(set(shown)) != len(shown):
                    raise Red(f"{track}: the reader shows a sample twice: {_doubles(shown)}")
                if hidden := line.acked - set(shown) - line.removed - line.maybe:
                    raise Red(f"{track}: the reader does not show {sorted(hidden)[:9]}")
                if set(shown) & line.removed:
                    raise Red(f"{track}: the reader shows what was removed")
                if shown:
                    self._check_coverage(reader, track, set(shown), self._headless(reader, track))
        finally:
            reader.close()

    def _read(self, reader: Reader, track: uuid.UUID) -> Iterator[int]:
        for ref in reader.chunks(track, 0, 1 << 61):
            try:
                chunk = reader.read(ref)
            except MediaDbError as error:
                raise Red(f"{track}: a chunk cannot be read: {error}") from error
            for sample in chunk.samples:
                data = bytes(sample.data)
                number = int.from_bytes(data[:4], "big")
                if data != rig.content(track, number, len(data)):
                    raise Red(f"{track}: the reader gives wrong bytes")
                yield number

    def _headless(self, reader: Reader, track: uuid.UUID) -> set[int]:
        """Samples that are there and refer to a chunk that is not: no decoder shows them."""
        found: set[int] = set()
        before: ChunkRef | None = None
        for ref in sorted(reader.chunks(track, 0, 1 << 61), key=lambda one: (one.run, one.seq)):
            alone = ref.kind == Kind.KEY or not ref.seq
            if alone or (before is not None and reader.follows(before, ref)):
                before = ref
            else:
                before = None
                found |= {int.from_bytes(sample.data[:4], "big") for sample in reader.read(ref).samples}
        return found

    def _check_coverage(self, reader: Reader, track: uuid.UUID, shown: set[int], headless: set[int]) -> None:
        line = self.lines[track]
        times = [line.given[number][1] for number in shown]
        low = min(times)
        high = max(times) + FRAME_US
        intervals = reader.coverage([track], low, high)[track]
        position = low
        for interval in intervals:
            if interval.start_us != position:
                raise Red(f"{track}: coverage has a hole or an overlap at {position}")
            position = interval.end_us
            if interval.cause.state is State.UNEXPLAINED:
                raise Red(f"{track}: unexplained {interval} {[t for t in sorted(times)][-3:]}")
            if interval.cause.state is State.RECORDED:
                self._check_filled(track, sorted(times), interval.start_us, interval.end_us)
        for number in shown:
            at = line.given[number][1]
            states = [i.cause.state for i in intervals if i.start_us <= at < i.end_us]
            if number in headless and any(abs(line.given[other][1] - at) < FRAME_US for other in shown - headless):
                continue  # a clock that was set back showed this time twice
            if (states == [State.RECORDED]) == (number in headless):
                there = "there that nobody can show" if number in headless else "there"
                raise Red(f"{track}: a sample is {there} at {at}, coverage says {states}")
        for number in line.removed - shown:
            at = line.given[number][1]
            states = [i.cause.state for i in intervals if i.start_us <= at < i.end_us]
            if states and states[0] not in (State.DELETED, State.RECORDED):
                raise Red(f"{track}: the sample at {at} was removed, coverage says {states}")

    def _check_filled(self, track: uuid.UUID, times: list[int], start_us: int, end_us: int) -> None:
        """Recorded time has samples, nowhere more than 1.5 seconds apart; what is not committed yet counts."""
        if end_us == self.utc_us:
            end_us = max([start_us, *[at for at in times if at < end_us]])
        inside = [start_us, *[at for at in times if start_us <= at < end_us], end_us]
        for before, after in pairwise(inside):
            if after - before > 3 * S // 2:
                raise Red(f"{track}: coverage says recorded in [{before}, {after}), where nothing is")

    def check_structure(self) -> None:
        verdict = verify_volume(self.fs, rig.ROOT)
        if not verdict.sound:
            raise Red(f"verify: {verdict.findings[:3]}")
        epoch = self.rig.log.identity.epoch if self.rig is not None else 0
        for path in self.fs.names:
            if path.suffix == ".open" and int(path.name.split("-")[1]) < epoch:
                raise Red(f"recovery left {path.name}")

    def _files(self) -> list[tuple[Path, bytes]]:
        nodes = [(path, node) for path, node in self.fs.names.items() if path.suffix in (".open", ".rseg")]
        return [(path, bytes(node.data)) for path, node in sorted(nodes)]

    def _on_disk(self) -> dict[bytes, list[Found]]:
        try:
            return samples_on_disk(self._files(), _content, self._may_be_gone)
        except AssertionError as error:
            raise Red(str(error)) from error

    def _may_be_gone(self, path: Path, track: bytes) -> bool:
        """Was something of the track taken out of that segment? Then what the footer still lists need not be there."""
        return path.with_suffix(".gone") in self.fs.names and bool(self._line(track).removed | self._line(track).maybe)

    def _line(self, track: bytes) -> Line:
        return self.lines[uuid.UUID(bytes=track)]


def _content(track: bytes, number: int, size: int) -> bytes:
    return rig.content(uuid.UUID(bytes=track), number, size)


def _doubles(numbers: list[int]) -> list[int]:
    seen: set[int] = set()
    return [n for n in numbers if n in seen or seen.add(n)][:9]  # type: ignore[func-returns-value]
