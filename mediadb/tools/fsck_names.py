"""The files of a log's day folders: do name, header and place belong together?

Law: a segment's header is the truth, its name and folder a hint that readers go by. Moved, renamed or put aside (with
its removal journal), never deleted; a header that does not verify is written again when footer or blocks of the same
file say who it is.
"""

from __future__ import annotations

import errno
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError, UnsupportedVersion
from mediadb.format.block import decode_block_header
from mediadb.format.constants import BLOCK_ALIGN, MAGIC_SEGMENT
from mediadb.format.identity import LogIdentity
from mediadb.format.segment_header import (
    SEGMENT_PAGE_BYTES,
    SegmentHeader,
    decode_segment_header,
    encode_segment_header,
)
from mediadb.fs import Fs, read_file, replace_file, write_all
from mediadb.gone import GONE, MAX_JOURNAL_BYTES, journal_of
from mediadb.locks import LOG_NAME
from mediadb.reclaim.memory import MEMORY_NAME
from mediadb.reclaim.punch import COPY
from mediadb.segment_files import OPEN, SEALED, belongs, read_footer
from mediadb.segment_scan import scan_segment
from mediadb.tools.findings import NOTHING, Problem, put_aside
from mediadb.tools.places import home_of, out_of_place, second_names

TEMPORARY: Final = ".tmp"
LOOKED_AT_PAGES: Final = 4096  # of a file without header and footer: enough to meet its first block


@dataclass(frozen=True, slots=True)
class _Known:
    """A segment file and its header."""

    path: Path
    header: SegmentHeader

    @property
    def fits(self) -> bool:
        """Is it where readers look for it?"""
        return belongs(self.path, self.header)

    @property
    def home(self) -> Path:
        """Where it belongs; where it is, when that cannot be told."""
        return home_of(self.path, self.header) or self.path


class LogNames:
    """Names, headers and strangers in one log folder. `identity` is None when LOG does not say it."""

    def __init__(self, fs: Fs, volume: Path, folder: Path, identity: LogIdentity | None) -> None:
        self._fs, self._volume, self._folder, self._identity = fs, volume, folder, identity
        self.notes: list[str] = []

    def look(self) -> list[Problem]:
        """All problems. Raises OSError."""
        self.notes.clear()
        found: list[Problem] = []
        known: list[_Known] = []
        for name in self._fs.listdir(self._folder):
            path = self._folder / name
            status = self._fs.stat(path)
            if status is not None and not status.is_dir:
                found += self._stranger(path) if name not in (LOG_NAME, MEMORY_NAME) else []
                continue
            for inside in self._fs.listdir(path):
                self._file(path / inside, found, known)
        return found + self._twice(known)

    def _file(self, path: Path, found: list[Problem], known: list[_Known]) -> None:
        if path.suffix == GONE:
            return
        if path.suffix not in (SEALED, OPEN):
            found += self._stranger(path)
            return
        try:
            header = decode_segment_header(read_file(self._fs, path, SEGMENT_PAGE_BYTES))
        except FileNotFoundError:
            return  # sealed or removed while we looked
        except UnsupportedVersion as error:
            found.append(Problem("segment-unsupported", path, error.message, NOTHING, "use the program that wrote it"))
        except FormatError as error:
            found += self._headless(path, error.message)
        else:
            if header.log != (self._identity.log if self._identity is not None else uuid.UUID(self._folder.name)):
                what = f"belongs to log {header.log}"
                found.append(self._to_quarantine("segment-foreign", path, what, NOTHING))
            elif self._is_another(path, header):
                found += self._headless(path, "its header is that of another segment")
            else:
                known.append(_Known(path, header))

    def _stranger(self, path: Path) -> list[Problem]:
        """A file that has no business here."""
        try:
            head = read_file(self._fs, path, len(MAGIC_SEGMENT))
        except FileNotFoundError:
            return []
        if path.suffix in (TEMPORARY, COPY):
            return [self._temporary(path)]
        if head == MAGIC_SEGMENT:
            return [self._to_quarantine("segment-misnamed", path, "a segment without a segment's name", NOTHING)]
        self.notes.append(f"{path}: not a file of the media database; left alone")
        return []

    def _temporary(self, path: Path) -> Problem:
        """What a replacement that was cut off left: the file it was for is whole, or the other way round."""
        original = path.with_suffix(SEALED) if path.suffix == COPY else path.with_suffix("")
        if self._fs.stat(original) is not None or original.suffix == GONE:  # or a journal on its way to its segment

            def remove() -> None:
                self._fs.unlink(path)
                self._fs.fsync_dir(path.parent)

            what = "a replacement that was cut off; what it was for is untouched"
            return Problem("temporary-left", path, what, NOTHING, "it is removed", remove)
        return self._to_quarantine("temporary-left", path, "a replacement whose original is missing", "unknown")

    def _to_quarantine(self, code: str, path: Path, what: str, lost: str, *, keep_journal: bool = False) -> Problem:
        def aside() -> None:
            journal = journal_of(path)
            if not keep_journal and self._fs.stat(journal) is not None and path.suffix in (SEALED, OPEN):
                put_aside(self._fs, self._volume, journal)
            put_aside(self._fs, self._volume, path)

        return Problem(code, path, what, lost, "it is put into the volume's quarantine", aside)

    # -- headers ---------------------------------------------------------------------------------------------------

    def _headless(self, path: Path, what: str) -> list[Problem]:
        status = self._fs.stat(path)
        if path.suffix == OPEN and (status is None or status.size < SEGMENT_PAGE_BYTES or self._blank(path)):
            self.notes.append(f"{path}: was never begun; its daemon takes it away")
            return []
        header = self._rebuilt(path)
        if header is None:
            lost = "all of it, as long as it cannot be read; mediadb salvage gets out what verifies"
            return [self._to_quarantine("header-damaged", path, what, lost)]

        def write() -> None:
            fd = self._fs.open_write(path)
            try:
                write_all(self._fs, fd, [encode_segment_header(header)], 0)
                self._fs.fdatasync(fd)
            finally:
                self._fs.close(fd)

        text = "the header is written again from its footer, blocks, name and log"
        return [Problem("header-damaged", path, what, NOTHING, text, write)]

    def _is_another(self, path: Path, header: SegmentHeader) -> bool:
        """Footer or blocks name another segment, and nothing in the file belongs to the one the header names."""
        says = self._says(path)
        return says not in (None, (header.segment, header.run)) and not scan_segment(self._fs, path).blocks

    def _blank(self, path: Path) -> bool:
        status = self._fs.stat(path)
        return status is not None and not any(read_file(self._fs, path, min(status.size, 1 << 20)))

    def _rebuilt(self, path: Path) -> SegmentHeader | None:
        """Who a file without header is: only what the file, its log and its name agree on."""
        identity, parts = self._identity, path.stem.split("-")
        says = self._says(path)
        if identity is None or says is None or len(parts) != 3 or not (parts[1] + parts[2]).isdigit():
            return None
        segment, run = says
        try:
            created = datetime.strptime(parts[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return None
        return SegmentHeader(
            segment=segment, log=identity.log, volume=identity.volume, server=identity.owner, run=run,
            epoch=int(parts[1]), number=int(parts[2]), created_us=int(created.timestamp()) * 1_000_000,
        )  # fmt: skip

    def _says(self, path: Path) -> tuple[uuid.UUID, int] | None:
        """(segment, run) by the footer or by the first block."""
        fd = self._fs.open_read(path)
        try:
            try:
                head, _ = read_footer(self._fs, fd)
            except FormatError:
                pass
            else:
                return head.segment, head.run
            for page in range(1, LOOKED_AT_PAGES):
                raw = self._fs.pread(fd, BLOCK_ALIGN, page * BLOCK_ALIGN)
                if not raw:
                    return None
                try:
                    block = decode_block_header(raw)
                except FormatError:
                    continue
                return block.segment, block.run
        finally:
            self._fs.close(fd)
        return None

    # -- names -----------------------------------------------------------------------------------------------------

    def _twice(self, known: list[_Known]) -> list[Problem]:
        """Wrong places, and files that hold the same segment: the one in the right place stays, unless only another one
        has a footer."""
        found = []
        by_id: dict[uuid.UUID, list[_Known]] = {}
        for one in known:
            by_id.setdefault(one.header.segment, []).append(one)
        fits = {one.path for one in known if one.fits}
        further = second_names(self._fs, (one.path for same in by_id.values() if len(same) > 1 for one in same), fits)
        self.notes += [f"{path}: another name of a segment; left alone" for path in sorted(further)]
        for same in ([one for one in all_of if one.path not in further] for all_of in by_id.values()):
            ordered = [(not self._sealed(one.path), not one.fits, str(one.path), one) for one in same]
            stays, *extras = (one for *_, one in sorted(ordered, key=lambda row: row[:3]))
            for extra in extras:
                beside = journal_of(extra.path) in (journal_of(stays.path), journal_of(stays.home))
                what = f"the same segment as {stays.path.relative_to(self._folder)}"
                found.append(self._to_quarantine("segment-twice", extra.path, what, NOTHING, keep_journal=beside))
            if not stays.fits:
                found.append(self._bring_home(stays, {extra.path for extra in extras}))
        return found

    def _sealed(self, path: Path) -> bool:
        fd = self._fs.open_read(path)
        try:
            read_footer(self._fs, fd)
        except FormatError:
            return False
        finally:
            self._fs.close(fd)
        return path.suffix == SEALED

    def _bring_home(self, one: _Known, leaving: set[Path]) -> Problem:
        """To the name and folder that its header says; `leaving` are put aside before."""
        fs, path, home = self._fs, one.path, one.home
        what = out_of_place(path, one.header) or ""
        others = {home.with_suffix(suffix) for suffix in (SEALED, OPEN)} - {path} - leaving
        if home == path or any(fs.stat(other) is not None for other in others):
            return self._to_quarantine("name-wrong", path, what, NOTHING)

        def bring() -> None:
            if any(fs.stat(home.with_suffix(suffix)) is not None for suffix in (SEALED, OPEN)):
                raise OSError(errno.EEXIST, "another segment is in its place", str(home))
            fs.mkdirs(home.parent)
            journal = journal_of(path)
            if fs.stat(journal) is not None and fs.stat(journal_of(home)) is None:
                replace_file(fs, journal_of(home), read_file(fs, journal, MAX_JOURNAL_BYTES))
            fs.rename(path, home)
            fs.fsync_dir(home.parent)
            fs.fsync_dir(path.parent)
            if fs.stat(journal) is not None and journal != journal_of(home):
                fs.unlink(journal)

        return Problem("name-wrong", path, what, NOTHING, f"it is moved to {home}", bring)
