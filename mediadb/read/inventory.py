"""Which segments a storage has: the catalog compared with the folders, the writer's open ones, those left by a crash.

Law: read-only, blocking, thread-safe; runs on the volume's read pool. Knows segments and what their footers name, no
chunk. The catalog may vanish at any call: it is filled again from footers and the call goes on. Tracks that a segment's
removal journal says are gone are left out. Base of `mediadb.read.index`.
"""

from __future__ import annotations

import errno
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from mediadb.catalog import Catalog, CatalogLost, SegmentRow, folder_of
from mediadb.errors import FormatError, StorageMissing
from mediadb.format.block import Commit
from mediadb.format.footer import FooterHead, TrackSummary
from mediadb.format.records import decode_names, decode_spec
from mediadb.fs import FileStat, Fs
from mediadb.gone import journal_of, removed_tracks
from mediadb.ledger_facts import MediaSpan
from mediadb.read.folders import UNSETTLED, find_changes, remember, unfit_folders
from mediadb.segment_files import (
    SEALED,
    SegmentFiles,
    SegmentPlace,
    Voids,
    belongs,
    read_footer,
    read_header,
    stem,
    walk_index,
)
from mediadb.segment_index import LiveSource, SegmentIndex
from mediadb.types import Names, TrackSpec

LOOKED_AGAIN: Final = 64  # segments of a range whose files are looked at before their coverage is told
T = TypeVar("T")


class Inventory:
    """All segments of one storage, by name (`SegmentPlace.name`)."""

    def __init__(
        self,
        fs: Fs,
        volume: Path,
        storage: str,
        catalog: Catalog,
        live: LiveSource | None = None,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        self.fs, self.volume, self.storage = fs, volume, storage
        self.files = SegmentFiles(fs, volume)
        self.damaged: dict[str, str] = {}  # segments whose footer cannot be read, and why
        self._catalog = catalog
        self._live = live
        self._now_us = now_us  # None: no folder is taken as compared, each is listed at every refresh
        self._lock = threading.RLock()
        self._walked: dict[str, SegmentIndex] = {}
        self._voids: Voids = {}
        self._looked = False  # were the folders looked at yet?
        self._seen: dict[str, Path] = {}  # what the writer showed last
        self._entered: set[str] = set()  # sealed and entered while the writer still showed them

    def _dropped(self, name: str | None) -> None:
        """A segment (None: every one) is not known any more: forget what was derived from it."""

    def _live_spans(self, name: str) -> dict[uuid.UUID, list[MediaSpan]]:
        """Gapless stretches of a segment that is still in the writer's memory, where they are cheap to have."""
        return {}

    def refresh(self) -> None:
        """Compare the folders with the catalog; enter what is new, forget what is gone."""
        with self._lock:
            self._looked = True
            try:
                self._refresh()
            except CatalogLost:
                self._refresh()

    def _refresh(self) -> None:
        changes = find_changes(self.fs, self.volume, self.storage, self._catalog)
        places, known = changes.places, changes.known
        for name, row in known.items():
            place = places.get(name)
            if place is None or not place.sealed or place.size != row.size:
                self._drop(name)
        live = {name for name, _ in self._open_live()}
        for name in [n for n in self._walked if n not in places or places[n].sealed]:
            del self._walked[name]
        for name, place in places.items():
            row_known = known.get(name)
            if place.sealed and (row_known is None or row_known.size != place.size or place.journal):
                self._enter(place)
        # Newest first: what a later segment wrote again is void in the earlier one.
        for name, place in sorted(places.items(), reverse=True):
            if not place.sealed and name not in live:
                self._walk(place)
        unfit = unfit_folders(changes, {*self._walked, *self.damaged})
        remember(self._catalog, changes, unfit, self._now_us)

    def _enter(self, place: SegmentPlace, spans: Mapping[uuid.UUID, list[MediaSpan]] | None = None) -> None:
        try:
            fd = self.fs.open_read(place.path)
        except FileNotFoundError:
            return  # reclaimed since the folder was listed
        try:
            header = read_header(self.fs, fd)
            if not place.archive and not belongs(place.path, header):
                return
            head, _ = read_footer(self.fs, fd)
        except FormatError as error:
            self.damaged[place.name] = error.message
            self._walk(place)
            return
        finally:
            self.fs.close(fd)
        self.damaged.pop(place.name, None)
        self._walked.pop(place.name, None)
        for old in head.meta.get("supersedes", []):
            self._void(uuid.UUID(old["segment"]), (int(old["epoch"]), int(old["counter"])))
        try:
            gone = removed_tracks(self.fs, journal_of(place.path))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.damaged[place.name] = f"its removal journal cannot be read: {error.strerror}"
            return  # what is left in it nobody can say
        there = [entry for entry in footer_tracks(head) if entry[0].track not in gone]
        self._catalog.add(
            SegmentRow(place.name, place.size, head.segment, head.run, int(header.origin)),
            [(spec, names, t, (spans or {}).get(spec.track)) for spec, names, t in there],
        )

    def _walk(self, place: SegmentPlace) -> None:
        try:
            index = walk_index(self.fs, place.path, self._voids)
        except FileNotFoundError:
            return  # sealed or reclaimed since the folder was listed
        except FormatError as error:
            self.damaged[place.name] = error.message
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.damaged[place.name] = f"a block cannot be read: {error.strerror}"
        else:
            if not place.archive and not belongs(place.path, index.header):
                return
            self._walked[place.name] = index
            for old in index.supersedes:
                self._void(old.segment, old.first)

    def _void(self, segment: uuid.UUID, first: Commit) -> None:
        self._voids[segment] = min(self._voids.get(segment, first), first)

    def sealed(self, path: Path) -> None:
        """A segment got its footer (by the writer or by recovery): enter it."""
        name = stem(self.volume, path)
        spans = self._live_spans(name)
        with self._lock:
            status = self.fs.stat(path)
            if status is not None:
                archive = path.is_relative_to(self.volume / "archive")
                place = SegmentPlace(path, name, True, archive, status.size)
                self._with_catalog(lambda: self._enter(place, spans))
                self._entered.add(name)

    def removed(self, name: str) -> None:
        """A segment was reclaimed: forget it, close its file."""
        with self._lock:
            self._with_catalog(lambda: self._drop(name))

    def changed(self, name: str) -> None:
        """Tracks of a sealed segment were taken out: know what is left, from the file that is there now."""
        with self._lock:
            status = self.fs.stat(self.volume / (name + SEALED))
            self._with_catalog(lambda: self._renew(name, status))

    def look_again(self, track: uuid.UUID, start_us: int, end_us: int) -> None:
        """Find sealed segments of a range that went or were cut without a word; of a long range, what reads found."""
        rows = self._with_catalog(lambda: self._catalog.parts(track, start_us, end_us, LOOKED_AGAIN + 1))
        if len(rows) <= LOOKED_AGAIN:
            self.recheck({row.segment.name for row in rows})

    def recheck(self, names: set[str]) -> None:
        """Of sealed segments that are not as long as they were (a read met too few bytes), know what is there."""
        for folder in {folder_of(name) for name in names}:
            known = self._with_catalog(lambda folder=folder: self._catalog.segments(folder))  # type: ignore[misc]
            for name in names & known.keys():
                status = self.fs.stat(self.volume / (name + SEALED))
                if status is None or status.size != known[name].size:
                    with self._lock:
                        self._with_catalog(lambda name=name, status=status: self._renew(name, status))  # type: ignore[misc]

    def _renew(self, name: str, status: FileStat | None) -> None:
        self._drop(name)
        self._catalog.keep_folders({folder_of(name): UNSETTLED}, ())  # to be listed at the next start
        if status is not None:
            path, archive = self.volume / (name + SEALED), name.startswith("archive/")
            self._enter(SegmentPlace(path, name, True, archive, status.size))

    def _drop(self, name: str) -> None:
        self._catalog.remove(name)
        self._walked.pop(name, None)
        self.damaged.pop(name, None)
        self.files.forget(name)
        self._dropped(name)

    def rebuild(self) -> int:
        """Throw the catalog away and fill it from the footers; returns the number of segments."""
        with self._lock:
            self._with_catalog(self._catalog.clear)
            self._dropped(None)
            self.refresh()
            return len(self._catalog.segments())

    def _with_catalog(self, call: Callable[[], T]) -> T:
        """Run `call`; when the catalog was deleted or damaged, fill it again and run it once more."""
        self._look_once()
        try:
            self._catalog.check()
            return call()
        except CatalogLost:
            with self._lock:
                self._refresh()
            return call()

    def answering(self) -> None:
        """StorageMissing while the volume is let go: what is at its place then is none of ours."""
        if self.files.shut:
            raise StorageMissing(f"{self.volume} does not answer at present; see the storages", path=str(self.volume))

    def _look_once(self) -> None:
        self.answering()
        if not self._looked:
            with self._lock:
                if not self._looked:
                    self.refresh()

    def _open_live(self) -> list[tuple[str, SegmentIndex]]:
        """The writer's segments; one that left since the last look was sealed and is entered before we go on."""
        if self._live is None:
            return []
        shown = {stem(self.volume, live.path): live for live in self._live.live_segments()}
        with self._lock:
            left = [(name, path) for name, path in self._seen.items() if name not in shown]
            self._seen = {name: live.path for name, live in shown.items()}
            for name, path in left:
                if name not in self._entered:
                    self.sealed(path.with_suffix(SEALED))
            self._entered.intersection_update(shown)
        return [(name, live.index) for name, live in shown.items()]

    def shut(self) -> None:
        """The volume is let go: close its files, answer StorageMissing until `reopen`."""
        self.files.shut = True
        with self._lock:
            self.files.close()
            self._catalog.close()

    def reopen(self, catalog: Catalog) -> None:
        """The volume is back: look at everything again."""
        with self._lock:
            self._catalog = catalog
            self.damaged.clear()
            self._walked.clear()
            self._voids.clear()
            self._seen.clear()
            self._entered.clear()
            self._dropped(None)
            self._looked = self.files.shut = False

    def unsealed(self) -> list[tuple[str, SegmentIndex]]:
        """Segments that the catalog does not have: the writer's, and those left by a crash."""
        self._look_once()
        live = self._open_live()
        names = {name for name, _ in live}
        return live + [(name, index) for name, index in list(self._walked.items()) if name not in names]

    def durable_end(self, name: str) -> int | None:
        """Where the durable bytes of an unsealed segment end; None for a sealed one."""
        if name in self.damaged:
            return None  # a sealed one that is walked because its footer is damaged
        return next((index.durable_end for known, index in self.unsealed() if known == name), None)


def footer_tracks(head: FooterHead) -> list[tuple[TrackSpec, Names, TrackSummary]]:
    """Identity, names and summary of every track of a sealed segment. FormatError when they do not belong together."""
    found = []
    records = head.meta.get("tracks", [])
    if len(records) != len(head.tracks):
        raise FormatError("footer names another number of tracks than it indexes")
    for record, summary in zip(records, head.tracks, strict=True):
        found.append((decode_spec(record["spec"]), decode_names(record["names"]), summary))
    return found
