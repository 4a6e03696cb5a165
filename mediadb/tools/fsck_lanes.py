"""Lanes: late footage that a job left unsealed, or whose footer does not verify; and their repair.

Law: a lane is one track of one run in files of its own; it has no lock, so a repair refuses while any log of the
storage is in use. Each chunk that verifies is kept; media bytes are never changed.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from mediadb.blockfile import BlockFile
from mediadb.errors import FormatError
from mediadb.format.chunk import CHUNK_HEADER_BYTES
from mediadb.format.constants import SALT_LEN, align_up
from mediadb.format.records import decode_config, decode_names, load_record
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES
from mediadb.fs import Fs
from mediadb.segment_files import OPEN, SEALED, read_footer, read_track
from mediadb.segment_index import SegmentIndex, TrackIndex
from mediadb.segment_scan import ScannedBlock, SegmentScan, chunk_verifies, scan_segment
from mediadb.tools.findings import Problem, put_aside
from mediadb.types import Kind
from mediadb.write.segment import note_continuation, seal_file


class Lanes:
    """The archive of one storage."""

    def __init__(self, fs: Fs, volume: Path, storage: str) -> None:
        self._fs, self._volume = fs, volume
        self._root = volume / "archive" / storage

    def look(self) -> list[Problem]:
        """All problems. Raises OSError."""
        found = []
        for track in self._fs.listdir(self._root):
            for day in self._fs.listdir(self._root / track):
                for name in self._fs.listdir(self._root / track / day):
                    path = self._root / track / day / name
                    if path.suffix == OPEN or (path.suffix == SEALED and self._wrong(path)):
                        found += self._one(path)
        return found

    def _wrong(self, path: Path) -> bool:
        fd = self._fs.open_read(path)
        try:
            for summary in read_footer(self._fs, fd)[0].tracks:
                read_track(self._fs, fd, summary)
        except FormatError:
            return True
        finally:
            self._fs.close(fd)
        return False

    def _one(self, path: Path) -> list[Problem]:
        code = "lane-unsealed" if path.suffix == OPEN else "footer-damaged"
        what = "late footage whose job did not end" if path.suffix == OPEN else "the footer does not verify"
        lost = "what was not committed; its source still has it"
        try:
            scan = scan_segment(self._fs, path)
            kept = self._index(path, scan)[0].tracks
        except FormatError as error:
            return [self._aside("header-damaged", path, error.message)]
        if not kept:
            return [self._aside(code, path, f"{what}, and nothing in it verifies")]

        def seal() -> None:
            target = path.with_suffix(OPEN)
            if path != target:
                self._fs.rename(path, target)
                self._fs.fsync_dir(path.parent)
            self._seal(target)

        return [Problem(code, path, what, lost, "it gets its footer", seal)]

    def _aside(self, code: str, path: Path, what: str) -> Problem:
        def aside() -> None:
            put_aside(self._fs, self._volume, path)

        return Problem(code, path, what, "all of it", "it is put into the volume's quarantine", aside)

    def _seal(self, path: Path) -> None:
        scan = scan_segment(self._fs, path)
        index, end = self._index(path, scan)
        file = BlockFile.open_append(self._fs, path)
        try:
            self._fs.truncate(file.fd, min(end, scan.size))
            file.end = end
            index.durable_end = end
            seal_file(file, index)
        finally:
            file.close()

    def _index(self, path: Path, scan: SegmentScan) -> tuple[SegmentIndex, int]:
        """Every chunk that verifies, and where the last block that has one ends."""
        index, end = SegmentIndex(scan.header, recovered=True), SEGMENT_PAGE_BYTES
        fd = self._fs.open_read(path)
        try:
            for block in scan.blocks:
                if self._enter(fd, index, block):
                    index.note_commit(block.header.commit, block.header.wall_us)
                    end = min(block.end, align_up(scan.size))
        finally:
            self._fs.close(fd)
        index.damaged = [span for span in scan.bad if span[0] < end]
        index.publish(end)
        return index, end

    def _enter(self, fd: int, index: SegmentIndex, block: ScannedBlock) -> bool:
        kept = False
        for entry in sorted(block.entries, key=lambda e: (e.header.kind != Kind.CONFIG, e.header.seq)):
            header = entry.header
            if not chunk_verifies(self._fs, fd, block, entry):
                continue
            track = uuid.UUID(bytes=header.track)
            known = index.tracks.get(track)
            if header.kind == Kind.CONFIG and known is None:
                raw = self._fs.pread(fd, header.chunk_len, block.offset + entry.offset)
                table_end = CHUNK_HEADER_BYTES + header.table_len
                spec, _ = decode_config(raw[table_end + SALT_LEN :])
                names = decode_names(load_record(raw[CHUNK_HEADER_BYTES:table_end]))
                known = index.tracks[track] = TrackIndex(spec, names)
            if known is None:
                continue  # nothing of it can be read without its CONFIG
            note_continuation(known, header, None)
            known.add(header, block.offset + entry.offset)
            kept = kept or header.kind != Kind.CONFIG
        return kept
