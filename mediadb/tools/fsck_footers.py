"""What an interrupted program or damage left in the segments of a log: no footer, a footer that does not verify, an
unfinished removal, holes that nothing explains; and their repair.

Law: footers are made again by the code the daemon recovers with; media bytes are never changed. Needs the log's lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mediadb.errors import FormatError
from mediadb.format.constants import NO_TIME
from mediadb.format.footer import FooterHead
from mediadb.fs import Fs
from mediadb.gone import GONE, journal_of, read_journal, removed_ranges, removed_tracks, unfinished
from mediadb.ledger import LedgerWriter
from mediadb.locks import LogHandle
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.segment_files import OPEN, SEALED, read_footer, read_header, read_track
from mediadb.segment_scan import SegmentScan, scan_segment
from mediadb.tools.findings import NOTHING, Problem
from mediadb.tools.seals import Seals, lost_of, read_seals
from mediadb.write.recover import Recovery
from mediadb.write.recover_index import Rebuild

SPARSE_BYTES = 64 << 10  # a file that takes so much less than its length has holes


class LogFooters:
    """Segments of one log folder. `handle()` gives the log, held for writing, for the repair."""

    def __init__(self, fs: Fs, folder: Path, ledger: Path, handle: Callable[[], LogHandle]) -> None:
        self._fs, self._folder, self._ledger, self._handle = fs, folder, ledger, handle
        self.said: list[str] = []  # what recovery had to say beside
        self._bad: list[tuple[Path, str, str]] = []  # footers that do not verify, why, and their segments

    def look(self) -> list[Problem]:
        """All problems. Raises OSError."""
        found: list[Problem] = []
        self._bad = []
        for day in self._fs.listdir(self._folder):
            for name in self._fs.listdir(self._folder / day):
                path = self._folder / day / name
                try:
                    found += self._one(path)
                except FileNotFoundError:
                    continue  # sealed or removed while we looked
        seals = read_seals(self._fs, self._ledger, {segment for _, _, segment in self._bad})
        return found + [self._bad_footer(path, what, seals) for path, what, _ in self._bad]

    def _one(self, path: Path) -> list[Problem]:
        if path.suffix == OPEN:
            return self._open(path)
        if path.suffix == GONE:
            return self._gone(path)
        return self._sealed(path) if path.suffix == SEALED else []

    def _open(self, path: Path) -> list[Problem]:
        try:
            scan = scan_segment(self._fs, path)
        except FormatError:
            return []  # its header is a problem of its own
        torn = _torn(scan)
        what = f"not sealed, {len(scan.blocks)} commits verify" + (f", {torn} bytes behind them do not" if torn else "")
        lost = "what was not acknowledged" if torn else NOTHING
        return [Problem("unsealed", path, what, lost, "it gets its footer", _with_the_others, unfinished=True)]

    def _sealed(self, path: Path) -> list[Problem]:
        fd = self._fs.open_read(path)
        try:
            try:
                head, _ = read_footer(self._fs, fd)
                for summary in head.tracks:
                    read_track(self._fs, fd, summary)
                if read_header(self._fs, fd).segment != head.segment:
                    raise FormatError("the footer is that of another segment")
            except FormatError as error:
                self._note_bad(path, fd, error.message)
                return []
            return self._holes(path, fd, head)
        finally:
            self._fs.close(fd)

    def _note_bad(self, path: Path, fd: int, what: str) -> None:
        try:
            self._bad.append((path, what, str(read_header(self._fs, fd).segment)))
        except FormatError:
            return  # its header is a problem of its own

    def _bad_footer(self, path: Path, what: str, seals: Seals) -> Problem:
        scan = scan_segment(self._fs, path)
        if not scan.blocks:
            lost = "all of it; mediadb salvage gets out chunks that verify alone"
            return Problem("footer-damaged", path, f"{what}, and no commit verifies", lost, "restore it from a backup")

        def again() -> None:
            # As an unsealed segment it gets a new footer from its blocks; so it does when we are cut off here.
            if self._fs.stat(path.with_suffix(OPEN)) is None:
                self._fs.rename(path, path.with_suffix(OPEN))
                self._fs.fsync_dir(path.parent)

        lost = self._lost(path, scan, seals)
        return Problem("footer-damaged", path, what, lost, "a new footer is made from its commits", again)

    def _lost(self, path: Path, scan: SegmentScan, seals: Seals) -> str:
        """What the new footer will not name, by what the ledger says was there; without its word by bytes."""
        journal = journal_of(path)
        held = seals.held.get(str(scan.header.segment))
        if held is None:
            return f"what lay in {torn} bytes that verify no more" if (torn := _torn(scan)) else NOTHING
        fd = self._fs.open_read(path)
        try:
            last = scan.blocks[-1].header.commit
            index, _ = Rebuild(self._fs, fd, scan, last, {}, removed_ranges(self._fs, journal)).index(None)
        finally:
            self._fs.close(fd)
        gone = removed_tracks(self._fs, journal)
        left = {track: (one.media, one.notes) for track, one in index.tracks.items()}
        return seals.say(lost_of({t: h for t, h in held.items() if t not in gone}, left)) or NOTHING

    def _holes(self, path: Path, fd: int, head: FooterHead) -> list[Problem]:
        """Chunks that read as nothing although no journal says that they were removed."""
        status = self._fs.fstat(fd)
        if status.size - status.disk_bytes < SPARSE_BYTES:
            return []
        removed, lost = removed_ranges(self._fs, journal_of(path)), 0
        for summary in head.tracks:
            _, media, _ = read_track(self._fs, fd, summary)
            for offset in media.offset:
                empty = not any(self._fs.pread(fd, 16, offset))
                lost += empty and not any(low <= offset < low + length for low, length in removed)
        if not lost:
            return []
        what = f"{lost} chunks lie in holes of the file that no removal explains"
        return [Problem("hole-unexplained", path, what, f"{lost} chunks", "restore the segment from a backup")]

    def _gone(self, path: Path) -> list[Problem]:
        if not read_journal(self._fs, path):
            what = "a removal that was cut off before it said anything"
            return [Problem("removal-cut-off", path, what, NOTHING, "its journal is removed", self._finish, True)]
        if unfinished(self._fs, path) is not None:
            what, lost = "a removal was interrupted", "what retention had decided to remove"
            return [Problem("removal-unfinished", path, what, lost, "it is finished", self._finish, unfinished=True)]
        if all(self._fs.stat(path.with_suffix(suffix)) is None for suffix in (SEALED, OPEN)):
            what = "the journal of a segment that is no more"
            return [Problem("removal-unfinished", path, what, NOTHING, "it is removed", self._finish, unfinished=True)]
        return []

    # -- deeds -----------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Footers for all that has none, as at the daemon's start. Raises OSError."""
        handle = self._handle()
        previous = handle.previous
        assert previous is not None  # whoever takes the log for repair sets it
        ledger = LedgerWriter(self._fs, self._ledger, previous.run, previous.epoch)
        wall_us = previous.changed_us
        try:
            for last in Recovery(handle, self._trouble, lambda _: None).run():
                for kind, body in last.records:
                    # What is found out now happened then: the ledger must not take it for a sign of life.
                    at = int(body.get("last_wall_us", NO_TIME))
                    ledger.add(kind, at if at != NO_TIME else previous.changed_us, body)
                    wall_us = max(wall_us, at)  # into the month of the first seal, behind that
            ledger.flush(wall_us)
        finally:
            ledger.close()

    def _finish(self) -> None:
        previous = self._handle().previous
        assert previous is not None
        ledger = LedgerWriter(self._fs, self._ledger, previous.run, previous.epoch)
        try:
            reclaimer = Reclaimer(self._fs, self._folder, ledger, ReclaimOptions(), lambda: (0, 0), ClockBrake(None))
            reclaimer.repeat_unfinished(previous.changed_us)
        finally:
            ledger.close()

    def _trouble(self, code: str, params: dict[str, object]) -> None:
        mended = {str(path.with_suffix(OPEN)) for path, _, _ in self._bad}  # what those lost is said by the finding
        if code == "segment-damaged" and params.get("path") in mended:
            return
        if code not in ("recovered-segment", "segment-unreadable"):
            self.said.append(f"{self._folder}: {code}: {params}")


def _with_the_others() -> None:
    """`recover` seals all that has no footer."""


def _torn(scan: SegmentScan) -> int:
    """Bytes behind the header that belong to no commit; a footer that does not verify is among them."""
    return sum(length for _, length in scan.bad)


def following(handle: LogHandle, run: int | None = None) -> LogHandle:
    """The handle as the next opening would have it: everything older counts as left behind."""
    now = handle.identity
    fresh = replace(now, epoch=now.epoch + 1, run=run if run is not None else uuid.uuid4().int & ((1 << 64) - 1))
    return LogHandle(handle.fs, handle.fd, handle.root, handle.storage, fresh, now)
