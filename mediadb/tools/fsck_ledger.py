"""What the ledger of a log says of its segments, against what is there; and pages that do not verify.

Law: nothing in a ledger is ever rewritten; a repair only adds what a segment's own footer says. What is missing for
good stays a problem: coverage calls its time `storage-error`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.errors import FormatError
from mediadb.format.columns import ChunkColumns
from mediadb.format.ledger_page import LedgerKind, Page, scan_pages
from mediadb.fs import Fs, read_file
from mediadb.gone import journal_of, removed_tracks
from mediadb.ledger import MAX_FILE_BYTES, LedgerWriter, ledger_files
from mediadb.locks import LogHandle
from mediadb.segment_files import OPEN, SEALED, belongs, read_footer, read_header, read_track
from mediadb.times import show_bytes
from mediadb.tools.findings import NOTHING, Problem
from mediadb.tools.seals import Held, lost_of, read_seals
from mediadb.waiting import unwrap
from mediadb.write.segment import seal_record


@dataclass(slots=True)
class _Says:
    """Sealed segments by id: name below the log without suffix, and bytes; those that were sealed again, or with
    damage; ids that a rule removed; where pages lie."""

    sealed: dict[str, tuple[str, int]] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    pages: dict[tuple[int, int], dict[int, tuple[int, Path]]] = field(default_factory=dict)  # see `note`

    def note(self, run: tuple[int, int], low: int, high: int, path: Path) -> None:
        """Pages [low, high) of a run and epoch lie in `path`: by the first one, so that memory follows files."""
        known = self.pages.setdefault(run, {})
        if high > known.get(low, (low, path))[0]:
            known[low] = high, path


class LogLedger:
    """Ledger and segments of one log."""

    def __init__(self, fs: Fs, volume: Path, storage: str, log: str, handle: Callable[[], LogHandle]) -> None:
        self._fs, self._handle = fs, handle
        self._folder = volume / "log" / storage / log
        self._ledger = volume / "ledger" / storage / log
        self.notes: list[str] = []

    def look(self) -> list[Problem]:
        """All problems. Raises OSError."""
        self.notes.clear()
        says, torn = _Says(), dict[Path, int]()
        for name in ledger_files(self._fs, self._ledger):
            path = self._ledger / name
            for offset, page in scan_pages(read_file(self._fs, path, MAX_FILE_BYTES)):
                if page is None:
                    torn.setdefault(path, offset)
                else:
                    self._page(path, page, says)
        return self._missing(says, torn) + self._compare(says) + self._short(says)

    def _missing(self, says: _Says, torn: dict[Path, int]) -> list[Problem]:
        """Pages of an opening are numbered without a hole, over all months: the clock may have been set back."""
        lost: dict[Path, int] = {}
        for pages in says.pages.values():
            expected = 0
            for number in sorted(pages):
                end, path = pages[number]
                if number > expected:
                    lost[path] = lost.get(path, 0) + number - expected
                expected = max(expected, end)
        for path in torn.keys() - lost.keys():
            self.notes.append(f"{path}: a statement at byte {torn[path]} was cut off before it was acknowledged")
        text = "nothing can bring them back; segments that they told of are entered again"
        return [
            Problem(
                "ledger-damaged", path,
                f"{count} pages of statements are missing" + (f", damage at byte {torn[path]}" if path in torn else ""),
                "causes of gaps and removals of that time", text,
            )
            for path, count in sorted(lost.items())
        ]  # fmt: skip

    def _page(self, path: Path, page: Page, says: _Says) -> None:
        says.note((page.run, page.epoch), page.number, page.number + 1, path)
        for record in page.records:
            try:
                kind, body = unwrap(record)[0], unwrap(record)[2]
                if kind == LedgerKind.SEGMENT_SEAL:
                    name = str(Path(str(body["name"])).with_suffix(""))
                    segment = str(body["segment"])
                    if segment in says.sealed or body.get("damaged"):
                        says.again.add(segment)
                    says.sealed[segment] = (name, int(body["bytes"]))
                elif kind == LedgerKind.CONDENSED:
                    for run, epoch, low, high in body["pages"]:
                        says.note((int(run, 16), int(epoch)), int(low), int(high), path)
                elif kind == LedgerKind.REMOVED:
                    says.removed.add(str(body["segment"]))
            except (KeyError, ValueError, TypeError):
                continue  # a record of a later program: it says nothing to us

    def _compare(self, says: _Says) -> list[Problem]:
        there = {
            f"{day}/{Path(name).stem}": self._folder / day / name
            for day in self._fs.listdir(self._folder)
            for name in self._fs.listdir(self._folder / day)
            if Path(name).suffix in (SEALED, OPEN)
        }
        told = dict(says.sealed.values())
        untold = {
            name: path for name, path in there.items() if path.suffix == SEALED and self._untold(name, path, told)
        }
        ids = {str(segment): path for path in untold.values() if (segment := self._id(path)) is not None}
        found = []
        for segment, (name, size) in says.sealed.items():
            if segment in says.removed or name in there or segment in ids:
                continue
            what = f"segment {segment} was sealed, is not there, and no rule removed it"
            text = "restore it from a backup; until then its time is storage-error (segment-missing)"
            path = self._folder / f"{name}{SEALED}"
            found.append(Problem("segment-missing", path, what, f"all of it, {show_bytes(size)}", text))
        for segment, path in ids.items():
            if not self._footer_stands(path):
                continue
            text = "the ledger is told what its footer says"
            what = f"the ledger does not know that segment {segment} was sealed here"
            if segment in says.sealed and says.sealed[segment][0] in there:
                what = f"the ledger knows segment {segment} with another length"
            found.append(Problem("seal-untold", path, what, NOTHING, text, _Tell(self, path), unfinished=True))
        return found

    def _id(self, path: Path) -> object | None:
        try:
            fd = self._fs.open_read(path)
        except FileNotFoundError:
            return None
        try:
            return read_header(self._fs, fd).segment
        except FormatError:
            return None
        finally:
            self._fs.close(fd)

    def _untold(self, name: str, path: Path, told: Mapping[str, int]) -> bool:
        status = self._fs.stat(path)
        return status is not None and told.get(name) != status.size

    def _footer_stands(self, path: Path) -> bool:
        """Is it a whole segment in its place? What lies elsewhere is known by another name."""
        fd = self._fs.open_read(path)
        try:
            header = read_header(self._fs, fd)
            return belongs(path, header) and read_footer(self._fs, fd)[0].segment == header.segment
        except FormatError:
            return False
        finally:
            self._fs.close(fd)

    def _short(self, says: _Says) -> list[Problem]:
        """Segments that hold less than was sealed: their footer was made again after a loss."""
        again = says.again - says.removed
        seals, found = read_seals(self._fs, self._ledger, again), []
        for segment in sorted(again & seals.held.keys()):
            path = self._folder / f"{says.sealed[segment][0]}{SEALED}"
            try:
                lost = lost_of(*self._left(path, seals.held[segment]))
            except (FormatError, FileNotFoundError):
                continue  # a problem of its own
            if lost:
                what = "it holds less than was sealed; coverage says storage-error (segment-damaged)"
                text = "restore the segment from a backup, or leave it to retention"
                found.append(Problem("segment-short", path, what, seals.say(lost), text))
        return found

    def _left(
        self, path: Path, held: Mapping[uuid.UUID, Held]
    ) -> tuple[dict[uuid.UUID, Held], dict[uuid.UUID, tuple[ChunkColumns, ChunkColumns]]]:
        """What should be in a segment after removals, and what its footer names."""
        gone = removed_tracks(self._fs, journal_of(path))
        fd = self._fs.open_read(path)
        try:
            head, _ = read_footer(self._fs, fd)
            left = {one.track: read_track(self._fs, fd, one)[1:] for one in head.tracks}
        finally:
            self._fs.close(fd)
        return {track: one for track, one in held.items() if track not in gone}, left

    def tell(self, path: Path) -> None:
        """Say in the ledger, durably, what a footer says. Raises OSError or FormatError."""
        previous = self._handle().previous
        assert previous is not None  # whoever takes the log for repair sets it
        fd = self._fs.open_read(path)
        try:
            head, _ = read_footer(self._fs, fd)
            size = self._fs.fstat(fd).size
        finally:
            self._fs.close(fd)
        ledger = LedgerWriter(self._fs, self._ledger, previous.run, previous.epoch)
        try:
            at = max(head.last_wall_us, 0)
            name = str(path.relative_to(self._folder))
            ledger.add(LedgerKind.SEGMENT_SEAL, at, seal_record(head, name, size))
            ledger.flush(max(previous.changed_us, at))
        finally:
            ledger.close()


class _Tell:
    def __init__(self, ledger: LogLedger, path: Path) -> None:
        self._ledger, self._path = ledger, path

    def __call__(self) -> None:
        self._ledger.tell(self._path)
