"""Recovery of what earlier runs left unsealed: decide what is true, write the footer, never append media.

Law: runs beside recording, on a thread of the volume, and may be repeated after a crash at any point. D = highest
commit that any valid block of the epoch vouches for: damage at or below D is corruption and told, above D it is a torn
tail of which every verified chunk that continues its track is kept. One bad file never stops the others; files that
are not ours are left alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mediadb.blockfile import BlockFile
from mediadb.errors import FormatError
from mediadb.format.block import Commit, Supersedes
from mediadb.format.constants import NO_COMMIT
from mediadb.format.footer import FooterHead
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record, run_text
from mediadb.gone import journal_of, removed_ranges
from mediadb.locks import LogHandle, epoch_of
from mediadb.segment_scan import (
    SegmentScan,
    never_begun,
    read_footer,
    scan_segment,
)
from mediadb.write.number_set import NumberSet
from mediadb.write.recover_index import Rebuild
from mediadb.write.recover_ledger import KnownRuns, LeftBehind, known_runs
from mediadb.write.segment import OPEN_SUFFIX, SEALED_SUFFIX, seal_file, seal_record

Trouble = Callable[[str, dict[str, object]], None]
OUR_SUFFIXES = (OPEN_SUFFIX, SEALED_SUFFIX, ".gone", ".copy")  # the last two are reclaim's
TOLD = 20  # strange files named one by one at a start
_NIL = uuid.UUID(int=0)


@dataclass(slots=True)
class LastRun:
    """An earlier run as recovery found it: what its segments owe to the ledger, and the tracks that broke off with it
    of which no run said so yet."""

    run: int
    records: list[tuple[LedgerKind, Record]] = field(default_factory=list)
    left: list[LeftBehind] = field(default_factory=list)


@dataclass(slots=True)
class _Epoch:
    """Everything known of one epoch's commits."""

    durable: Commit = NO_COMMIT
    commits: NumberSet = field(default_factory=NumberSet)
    open: list[tuple[Path, SegmentScan]] = field(default_factory=list)

    def vouch(self, commit: Commit) -> None:
        if commit != NO_COMMIT and (self.durable == NO_COMMIT or commit > self.durable):
            self.durable = commit


class Recovery:
    """One pass over a log. `sealed` is called for each segment that got its footer; `voids` are commits that this
    process holds in memory and writes again (a log that was let go)."""

    def __init__(
        self, log: LogHandle, trouble: Trouble, sealed: Callable[[Path], None], voids: Iterable[Supersedes] = ()
    ) -> None:
        self._log, self._fs, self._trouble, self._sealed = log, log.fs, trouble, sealed
        self._voids: dict[uuid.UUID, Commit] = {}  # written again elsewhere, whatever the epoch
        for old in voids:
            self._void(old.segment, old.first)
        self._runs: dict[int, LastRun] = {}
        self._ours = run_text(log.identity.run)
        self._ledger = KnownRuns()
        self._since = ""
        self._left = 0

    def run(self) -> list[LastRun]:
        """Recover every unsealed segment of earlier epochs. Never raises OSError or FormatError: trouble is told."""
        previous = self._log.previous
        if previous is None:
            return []
        self._since = _month_before(previous.changed_us)
        self._read_ledger(self._since)
        if run_text(previous.run) not in self._ledger.stopped:
            self._read_ledger("")  # its last word may lie in an older month: the clock was set back
        for _, epoch in sorted(self._epochs(previous.epoch).items()):
            self._check_commits(epoch)
            for path, scan in epoch.open:
                try:
                    self._recover(path, scan, epoch)
                except OSError as error:
                    self._trouble("recovery-failed", {"path": str(path), "text": str(error)})
        if self._ledger.since and self._ledger.owes(self._ours):
            self._read_ledger("")  # nothing is said again that an older month says, nor of a run that stopped there
        for left in self._ledger.left_behind(self._ours):
            self._last(left.run).left.append(left)
        return list(self._runs.values())

    def _void(self, segment: uuid.UUID, first: Commit) -> None:
        self._voids[segment] = min(self._voids.get(segment, first), first)

    def _last(self, run: int) -> LastRun:
        return self._runs.setdefault(run, LastRun(run))

    # -- looking --------------------------------------------------------------------------------------------------

    def _read_ledger(self, since: str) -> None:
        def told(error: Exception) -> None:
            self._trouble("ledger-unreadable", {"path": str(self._log.ledger_folder), "text": str(error)})

        footage, self._ledger = self._ledger.footage, known_runs(self._log, since, told)
        self._ledger.add_footage(footage)
        for identity in (self._log.previous, self._log.identity):  # one that was killed before its first record, ours
            if identity is not None:
                self._ledger.begun.setdefault(run_text(identity.run), (identity.epoch, identity.changed_us))

    def _epochs(self, previous: int) -> dict[int, _Epoch]:
        """Scans of unsealed segments by epoch, with what the sealed ones of the same epochs say."""
        folder = self._log.folder
        epochs: dict[int, _Epoch] = {}
        names = self._names(folder)
        ours = self._log.identity.epoch
        for name in names:
            if name.endswith(OPEN_SUFFIX) and _epoch_of(name) < ours:
                scan = self._scan(folder / name)
                if scan is not None:
                    epoch = epochs.setdefault(scan.header.epoch, _Epoch())
                    epoch.open.append((folder / name, scan))
                    self._learn_blocks(epoch, scan)
        oldest = min([*epochs, previous])  # a later epoch of the same run may have written again what waits there
        for name in names:
            number = _epoch_of(name)
            if name.endswith(SEALED_SUFFIX) and (oldest <= number < ours or self._untold(name, ours)):
                self._learn_sealed(folder / name, epochs.setdefault(number, _Epoch()))
        for number, first, last in self._ledger.commits:  # sealed once, perhaps removed since
            if number in epochs and epochs[number].open:
                epochs[number].commits.add(first, last + 1)
                epochs[number].vouch((number, last))
        self._learn_poisoned(epochs)
        if self._left > TOLD:
            text = f"{self._left - TOLD} more files that are not this log's"
            self._trouble("file-left-alone", {"path": str(folder), "text": text})
        for epoch in epochs.values():
            epoch.open.sort(key=lambda item: item[1].header.number)
        return epochs

    def _learn_blocks(self, epoch: _Epoch, scan: SegmentScan) -> None:
        for block in scan.blocks:
            epoch.vouch(block.header.durable)
            epoch.commits.add(block.header.commit[1], block.header.commit[1] + 1)
            old = block.header.supersedes
            if old is None:
                continue
            self._void(old.segment, old.first)
            if old.first[0] == block.header.commit[0]:  # the numbers in between were failed attempts at the same
                epoch.commits.add(old.first[1], block.header.commit[1])

    def _learn_poisoned(self, epochs: dict[int, _Epoch]) -> None:
        """What was given up and written again, when the segment that says so was removed since: an acknowledged commit
        behind it proves that it was written again."""
        for segment, first in self._ledger.poisoned:
            epoch = epochs.get(first[0])
            if epoch is None or epoch.durable == NO_COMMIT or epoch.durable < first:
                continue
            self._void(segment, first)
            after = epoch.commits.behind(first[1])
            epoch.commits.add(first[1], first[1] + 1 if after is None else after)

    def _untold(self, name: str, ours: int) -> bool:
        """Sealed by an earlier recovery that was killed before the ledger had its record."""
        return name >= self._since and 0 < _epoch_of(name) < ours and name not in self._ledger.names

    def _scan(self, path: Path) -> SegmentScan | None:
        try:
            if never_begun(self._fs, path):
                self._discard(path)
                return None
            scan = scan_segment(self._fs, path)
        except (OSError, FormatError) as error:
            self._trouble("segment-unreadable", {"path": str(path), "text": str(error)})
            return None
        header = scan.header
        if header.log != self._log.identity.log:
            self._trouble("segment-foreign", {"path": str(path), "log": str(header.log)})
        elif header.epoch != _epoch_of(path.name):
            self._leave(path, f"its header says epoch {header.epoch}, its name another one; move it away")
        elif header.read_only:
            self._leave(path, f"has features {header.read_only:#x} of a later program: it is read, not finished")
        else:
            return scan
        return None

    def _names(self, folder: Path) -> list[str]:
        """Segment files below the log folder, "day/name". What is nobody's is told and left alone."""
        for text in self._log.left_alone:
            self._trouble("file-left-alone", {"path": str(folder.parent), "text": text})
        found: list[str] = []
        for day in self._list(folder):
            for name in self._list(folder / day):
                known = epoch_of(name) > 0 and name[name.find(".") :].startswith(OUR_SUFFIXES)
                if known and epoch_of(name) <= self._log.identity.epoch:
                    found.append(f"{day}/{name}")
                else:
                    self._leave(folder / day / name, "no file of this log by its name")
        return found

    def _list(self, folder: Path) -> list[str]:
        try:
            return self._fs.listdir(folder)
        except OSError as error:
            self._leave(folder, f"cannot be listed: {error.strerror}")
            return []

    def _leave(self, path: Path, text: str) -> None:
        self._left += 1
        if self._left <= TOLD:
            self._trouble("file-left-alone", {"path": str(path), "text": text})

    def _learn_sealed(self, path: Path, epoch: _Epoch) -> None:
        try:
            head = read_footer(self._fs, path)
        except (OSError, FormatError) as error:
            self._trouble("segment-unreadable", {"path": str(path), "text": str(error)})
            return
        epoch.vouch(head.last_commit)
        if head.first_commit != NO_COMMIT:
            epoch.commits.add(head.first_commit[1], head.last_commit[1] + 1)
        for old in head.meta.get("supersedes", []):
            self._void(uuid.UUID(old["segment"]), (old["epoch"], old["counter"]))
            if old["epoch"] == head.first_commit[0]:
                epoch.commits.add(old["counter"], head.first_commit[1])
        for track in head.tracks:
            self._ledger.of(run_text(head.run)).note_summary(track)
        if str(head.segment) not in self._ledger.sealed:  # killed between `sync_dir` and `ledger`
            self._record_sealed(path, head)

    def _record_sealed(self, path: Path, head: FooterHead) -> None:
        status = self._fs.stat(path)
        body = seal_record(head, str(path.relative_to(self._log.folder)), status.size if status else 0)
        self._last(head.run).records.append((LedgerKind.SEGMENT_SEAL, body))

    def _check_commits(self, epoch: _Epoch) -> None:
        """Tell when a commit that some block vouches for is nowhere."""
        if epoch.durable == NO_COMMIT or not epoch.open:
            return
        lost = epoch.commits.missing(epoch.durable[1] + 1)
        if lost:
            count = sum(high - low for low, high in lost)
            params: dict[str, object] = {
                "epoch": epoch.durable[0], "first": lost[0][0], "last": lost[-1][1] - 1, "count": count,
                "segments": [path.name for path, _ in epoch.open],
            }  # fmt: skip
            self._tell(epoch.open[-1][1].header.run, "acknowledged-commits-lost", params)

    def _tell(self, run: int, code: str, params: dict[str, object]) -> None:
        self._last(run).records.append((LedgerKind.TROUBLE, {"code": code, "params": params}))
        self._trouble(code, params)

    # -- sealing --------------------------------------------------------------------------------------------------

    def _recover(self, path: Path, scan: SegmentScan, epoch: _Epoch) -> None:
        last, footage = self._last(scan.header.run), self._ledger.of(run_text(scan.header.run))
        fd = self._fs.open_read(path)
        try:
            expected = {track: end[1] for track, end in footage.ends.items()}
            removed = removed_ranges(self._fs, journal_of(path))
            rebuild = Rebuild(self._fs, fd, scan, epoch.durable, expected, removed)
            index, end = rebuild.index(self._voids.get(scan.header.segment))
        finally:
            self._fs.close(fd)
        if not rebuild.kept:
            if scan.blank or not scan.bad or self._only_torn(scan, epoch):
                self._discard(path)
            return
        for known in index.tracks.values():  # also when it cannot be sealed, on a full disk
            footage.note(known.spec.track, (known.first_seq, known.first_us), known.end_us, known.next_seq)
        for offset, length in index.damaged:
            params: dict[str, object] = {"path": str(path), "offset": offset, "length": length}
            self._tell(scan.header.run, "segment-damaged", params)
        file = BlockFile.open_append(self._fs, path)
        try:
            self._fs.truncate(file.fd, min(end, scan.size))
            file.end = end
            index.durable_end = end
            sealed, head = seal_file(file, index)
        except BaseException:
            file.close()
            raise
        self._fs.point("seal_ledger")
        status = self._fs.stat(sealed)
        body = seal_record(head, str(sealed.relative_to(self._log.folder)), status.size if status else 0)
        last.records.append((LedgerKind.SEGMENT_SEAL, body))
        self._sealed(sealed)
        self._trouble("recovered-segment", {"path": str(sealed), "torn_chunks": rebuild.torn})

    def _discard(self, path: Path) -> None:
        """Remove a file in which nothing was ever acknowledged."""
        self._fs.unlink(path)
        self._fs.fsync_dir(path.parent)

    def _only_torn(self, scan: SegmentScan, epoch: _Epoch) -> bool:
        """No acknowledged commit is missing, so bytes that verify nowhere were never acknowledged."""
        if epoch.durable == NO_COMMIT:
            return True
        return not epoch.commits.missing(epoch.durable[1] + 1)


def _month_before(time_us: int) -> str:
    """ "2026-10" for any time in November 2026: the ledger and the day folders from there on are looked at."""
    first = datetime.fromtimestamp(time_us / 1_000_000, UTC).replace(day=1)
    return f"{first - timedelta(days=1):%Y-%m}"


def _epoch_of(name: str) -> int:
    return epoch_of(name.rsplit("/", 1)[-1])
