"""What retention knows of the sealed segments of a log: size, end, and whose footage each holds.

Law: read-only. Ends and sizes come from the footer; when that cannot be read the end comes from the file's own time, so
that a damaged segment ages like the others. Whose footage it is is kept only where limits differ by camera (16 bytes a
track and segment). Used by `mediadb.reclaim.plan` and `mediadb.reclaim.reclaimer`.
"""

from __future__ import annotations

import errno
import uuid
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from mediadb.errors import MediaDbError
from mediadb.format.constants import NO_TIME
from mediadb.format.footer import FooterHead
from mediadb.format.records import decode_spec
from mediadb.fs import FileStat, Fs
from mediadb.gone import GONE, removed_tracks
from mediadb.read.part import Part, part_spans
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.segment_files import OPEN, SEALED, belongs, read_config, read_footer, read_header, read_track, walk_index
from mediadb.types import TrackConfig

NIL: Final = uuid.UUID(int=0)
MAX_SPANS: Final = 64  # stretches kept per track and segment; more are merged over their shortest holes
NEW_PER_STEP: Final = 256  # footers read in one step where limits differ by camera
NEVER: Final = 1 << 62
Spans = dict[uuid.UUID, list[tuple[int, int]]]


class Member(NamedTuple):
    """A track in a segment."""

    track: uuid.UUID
    camera: uuid.UUID


@dataclass(slots=True)
class SegmentFact:
    """A sealed segment. `members`, `ends` and `sizes` go together and are empty where nobody asked for them.

    `due_us`: earliest time at which something in it is too old; 0 while that is not known. `load_spans` reads the
    stretches of media of the tracks given (None: all) when a removal is written down.
    """

    path: Path
    segment: uuid.UUID
    end_us: int
    disk_bytes: int
    load_spans: Callable[[Collection[uuid.UUID] | None], Spans]
    members: tuple[Member, ...] = ()
    ends: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    due_us: int = 0

    def class_ends(self, options: ReclaimOptions) -> list[int | None]:
        """When the last footage of each class ends; None for a class of which it holds none."""
        out: list[int | None] = [None] * len(options.classes.limits_us)
        if not self.members:
            out[-1] = self.end_us  # whose footage it is cannot be known: it is kept as long as any
        for member, end_us in zip(self.members, self.ends, strict=True):
            number = options.classes.number(member.camera)
            known = out[number]
            out[number] = end_us if known is None else max(known, end_us)
        return out


class Facts:
    """The sealed segments of a log folder, oldest name first, with what was learnt of them."""

    def __init__(self, fs: Fs, folder: Path) -> None:
        self._fs, self._folder = fs, folder
        self._known: dict[str, SegmentFact] = {}
        self._begins: dict[str, str] = {}  # by day
        self._members: dict[tuple[Member, ...], tuple[Member, ...]] = {}  # most segments hold the same tracks
        self._options = ReclaimOptions()
        self.cameras: dict[uuid.UUID, int] = {}  # bytes kept of each, as far as its segments were looked at

    def under(self, options: ReclaimOptions) -> Facts:
        """The same segments judged by other limits; what was learnt is not read again. Callable from any thread."""
        other = Facts(self._fs, self._folder)
        other.use(options)
        if options.by_track == self._options.by_track:
            for name, fact in dict(self._known).items():
                other._enter(name, replace(fact, due_us=0))
        return other

    def use(self, options: ReclaimOptions) -> None:
        """Judge by other limits."""
        if options == self._options:
            return
        if options.by_track != self._options.by_track:
            self._known.clear()
            self.cameras.clear()
        for fact in self._known.values():
            fact.due_us = 0
        self._options = options

    def forget(self, path: Path) -> None:
        """The segment is gone, or holds less now."""
        fact = self._known.pop(str(path), None)
        for member, size in zip(fact.members, fact.sizes, strict=True) if fact is not None else ():
            self.cameras[member.camera] -= size

    def disown(self, path: Path) -> None:
        """Nothing can be taken out of the segment: whose its footage is does not matter any more."""
        fact = self._known.get(str(path))
        self.forget(path)
        if fact is not None:
            self._known[str(path)] = replace(fact, members=(), ends=array("q"), sizes=array("q"), due_us=0)

    def days(self) -> Iterator[Path]:
        for day in self._fs.listdir(self._folder):
            folder = self._folder / day
            status = self._fs.stat(folder)
            if status is not None and status.is_dir:
                yield folder

    def used_bytes(self, open_bytes: int | None) -> int:
        """On disk: sealed segments with their journals, and open ones as if each were `open_bytes` long already (None:
        without them)."""
        total = 0
        for folder in self.days():
            base = f"{folder}/"  # paths as text: this looks at every segment there is, every few seconds
            for name in self._fs.listdir(folder):
                known = self._known.get(base + name)
                if known is not None:
                    total += known.disk_bytes
                elif name.endswith(SEALED) or (name.endswith(OPEN) and open_bytes is not None):
                    status = self._fs.stat(folder / name)
                    disk = status.disk_bytes if status is not None else 0
                    total += max(disk, open_bytes or 0) if name.endswith(OPEN) and status is not None else disk
        return total

    def oldest(self, *, every: bool = False) -> Iterator[SegmentFact]:
        """Sealed segments in the order in which they were recorded, day by day; where limits differ by camera, no
        further than NEW_PER_STEP unknown ones, unless `every`."""
        new = 0
        for folder in sorted(self.days(), key=self._begin_of):
            base = f"{folder}/"
            for name in sorted((n for n in self._fs.listdir(folder) if n.endswith(SEALED)), key=_recorded):
                fact = self._known.get(base + name)
                if fact is None:
                    if self._options.by_track and new >= NEW_PER_STEP and not every:
                        return
                    fact = self._learn(folder / name)
                    new += 1
                if fact is not None:
                    yield fact

    def recorded_last_us(self, epoch: int) -> int | None:
        """When the last sealed segment was recorded, by the clock of then, of those made before an `epoch`; None: there
        is none. Raises OSError."""
        names = {name: folder for folder in self.days() for name in self._fs.listdir(folder) if name.endswith(SEALED)}
        last = max((name for name in names if _recorded(name)[:8] < f"{epoch:08d}"), key=_recorded, default=None)
        fact = self._learn(names[last] / last) if last is not None else None
        return fact.end_us if fact is not None else None

    def _begin_of(self, folder: Path) -> str:
        """Where a day stands in the order of recording: that of its first segment, looked up once."""
        begin = self._begins.get(folder.name)
        if begin is None:
            begin = min((_recorded(name) for name in self._fs.listdir(folder) if name.endswith(SEALED)), default="")
            if begin:
                self._begins[folder.name] = begin
        return begin

    def _learn(self, path: Path) -> SegmentFact | None:
        status = self._fs.stat(path)
        try:
            fact = self._read(path, status) if status is not None and not status.is_dir else None
        except FileNotFoundError:
            return None  # somebody took it in between
        if fact is None:
            return None
        self._enter(str(path), fact)
        return fact

    def _enter(self, name: str, fact: SegmentFact) -> None:
        self._known[name] = fact
        for member, size in zip(fact.members, fact.sizes, strict=True):
            self.cameras[member.camera] = self.cameras.get(member.camera, 0) + size

    def _read(self, path: Path, status: FileStat) -> SegmentFact | None:
        """None for a copy, or a segment of another log: retention takes none of those."""
        fs, segment, end_us = self._fs, NIL, NO_TIME
        members: tuple[Member, ...] = ()
        ends, sizes = array("q"), array("q")
        fd = fs.open_read(path)
        try:
            header = read_header(fs, fd)
            if not belongs(path, header):
                return None
            segment = header.segment
            head, _ = read_footer(fs, fd)
            gone = removed_tracks(fs, path.with_suffix(GONE))
            kept = [t for t in head.tracks if t.media_count and t.track not in gone]
            end_us = max((t.end_us for t in kept), default=head.last_wall_us)
            if self._options.by_track:
                cameras = _cameras(head)
                members = tuple(Member(t.track, cameras.get(t.track, NIL)) for t in kept)
                members = self._members.setdefault(members, members)
                ends, sizes = array("q", (t.end_us for t in kept)), array("q", (t.stored_bytes for t in kept))
        except (MediaDbError, OSError) as error:  # a bad place of the disk is damage like another
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            end_us = status.changed_us
        finally:
            fs.close(fd)
        end_us = end_us if end_us != NO_TIME else status.changed_us
        disk = status.disk_bytes + _journal_bytes(fs, path)
        return SegmentFact(
            path, segment, end_us, disk, lambda tracks: load_spans(fs, path, tracks), members, ends, sizes
        )


def _recorded(name: str) -> str:
    """Epoch and number of a segment's name: its order of recording; the time in front is what the clock said."""
    return name.partition("-")[2]


def _journal_bytes(fs: Fs, path: Path) -> int:
    status = fs.stat(path.with_suffix(GONE))
    return status.disk_bytes if status is not None else 0


def _cameras(head: FooterHead) -> dict[uuid.UUID, uuid.UUID]:
    specs = [decode_spec(record["spec"]) for record in head.meta.get("tracks", [])]
    return {spec.track: spec.camera for spec in specs}


def load_spans(fs: Fs, path: Path, tracks: Collection[uuid.UUID] | None) -> Spans:
    """Stretches of media of the tracks given that are left in a segment, None: of all; empty when nothing in it can be
    read."""
    fd = fs.open_read(path)
    try:
        gone = removed_tracks(fs, path.with_suffix(GONE))
        return {
            part_track: thin_out([(s.start_us, s.end_us) for s in part_spans(part, codings)])
            for part_track, part, codings in _parts(
                fs, fd, path, lambda t: t not in gone and (not tracks or t in tracks)
            )
        }
    except (MediaDbError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EIO:
            raise
        return {}  # nothing in it could be read: the removal names the segment alone
    finally:
        fs.close(fd)


def _parts(
    fs: Fs, fd: int, path: Path, wanted: Callable[[uuid.UUID], bool]
) -> Iterator[tuple[uuid.UUID, Part, list[TrackConfig | None]]]:
    header = read_header(fs, fd)
    try:
        head, _ = read_footer(fs, fd)
        tracks = [(t.track, *read_track(fs, fd, t)) for t in head.tracks if t.media_count and wanted(t.track)]
    except MediaDbError:
        index = walk_index(fs, path)
        tracks = [
            (track, t.configs, t.media, t.notes) for track, t in index.tracks.items() if t.media.count and wanted(track)
        ]
    for track, configs, media, notes in tracks:
        codings: list[TrackConfig | None] = []
        for place in configs:
            try:
                codings.append(read_config(fs, fd, place)[1])
            except MediaDbError:
                codings.append(None)
        part = Part(path.name, header.segment, header.run, "", 0, 0, configs, media, notes, media.count)
        yield track, part, codings


def thin_out(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most MAX_SPANS stretches: neighbours with the shortest holes between them are merged."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    while len(out) > MAX_SPANS:
        at = min(range(len(out) - 1), key=lambda i: out[i + 1][0] - out[i][1])
        out[at : at + 2] = [(out[at][0], out[at + 1][1])]
    return out
