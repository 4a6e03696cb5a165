"""The files of a log's day folders: do name, header and place belong together?

Law: a segment's header is the truth, its name a hint. Renamed or put aside, never deleted; a header that does not
verify is written again when footer or blocks of the same file say who it is.
"""

from __future__ import annotations

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
from mediadb.fs import Fs, read_file, write_all
from mediadb.gone import GONE
from mediadb.locks import LOG_NAME
from mediadb.reclaim.memory import MEMORY_NAME
from mediadb.reclaim.punch import COPY
from mediadb.segment_files import OPEN, SEALED, read_footer
from mediadb.segment_scan import scan_segment
from mediadb.tools.findings import NOTHING, Problem, put_aside

TEMPORARY: Final = ".tmp"
LOOKED_AT_PAGES: Final = 4096  # of a file without header and footer: enough to meet its first block


@dataclass(frozen=True, slots=True)
class _Known:
    """A segment file and its header."""

    path: Path
    header: SegmentHeader

    @property
    def fits(self) -> bool:
        parts = self.path.stem.split("-")
        return len(parts) == 3 and parts[1:] == [f"{self.header.epoch:08d}", f"{self.header.number:06d}"]


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
            if self._identity is not None and header.log != self._identity.log:
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
        if self._fs.stat(original) is not None:

            def remove() -> None:
                self._fs.unlink(path)
                self._fs.fsync_dir(path.parent)

            what = "a replacement that was cut off; the file it was for is there"
            return Problem("temporary-left", path, what, NOTHING, "it is removed", remove)
        return self._to_quarantine("temporary-left", path, "a replacement whose original is missing", "unknown")

    def _to_quarantine(self, code: str, path: Path, what: str, lost: str) -> Problem:
        def aside() -> None:
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
        """Wrong names, and files that hold the same segment: the one with the right name and a footer stays."""
        found = []
        by_id: dict[uuid.UUID, list[_Known]] = {}
        for one in known:
            by_id.setdefault(one.header.segment, []).append(one)
        for same in by_id.values():
            same.sort(key=lambda one: (not one.fits, not self._sealed(one.path), str(one.path)))
            for extra in same[1:]:
                what = f"the same segment as {same[0].path.name}"
                found.append(self._to_quarantine("segment-twice", extra.path, what, NOTHING))
            if not same[0].fits:
                found.append(self._rename(same[0]))
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

    def _rename(self, one: _Known) -> Problem:
        header, path = one.header, one.path
        name = f"{path.stem.split('-')[0]}-{header.epoch:08d}-{header.number:06d}"
        target = path.with_name(name + path.suffix)
        what = f"its header says epoch {header.epoch}, number {header.number}: the name is wrong"
        taken = [path.with_name(name + suffix) for suffix in (SEALED, OPEN)]
        if any(self._fs.stat(other) is not None for other in taken):
            return self._to_quarantine("name-wrong", path, what, NOTHING)

        def rename() -> None:
            self._fs.rename(path, target)
            self._fs.fsync_dir(path.parent)

        return Problem("name-wrong", path, what, NOTHING, f"it is renamed to {target.name}", rename)
