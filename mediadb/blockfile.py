"""A file that only grows, by whole pages: the body of a segment or of a ledger month.

Law: appends begin and end on 4 KiB, so a page with durable bytes is never written again. An error while writing or
syncing is final for the file (`poisoned`): nothing more is written to it and no later sync is believed.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

from mediadb.format.constants import BLOCK_ALIGN, align_up
from mediadb.fs import Fs, write_all

RESERVE_BYTES = 32 << 20
MAX_PIECE_BYTES = 1 << 20
MAX_PIECE_BUFFERS = 1000

Buffer = bytes | memoryview


class BlockFile:
    """One open file. Not thread-safe: one thread at a time."""

    def __init__(self, fs: Fs, path: Path, fd: int, end: int) -> None:
        self.fs, self.path, self.end = fs, path, end
        self._fd: int | None = fd
        self._reserved = end
        self._identity: tuple[int, int] | None = None
        self._staging: memoryview | None = None
        self.poisoned = False

    @classmethod
    def create(cls, fs: Fs, path: Path, first_page: bytes = b"") -> BlockFile:
        """A new file that is durable with its first page and its name. Nothing stays behind on an error."""
        fs.mkdirs(path.parent)
        fs.point("create")
        fd = fs.create(path)
        file = cls(fs, path, fd, 0)
        try:
            if first_page:
                file.end = write_all(fs, fd, [first_page], 0)
            fs.point("create_sync")
            fs.fdatasync(fd)
            fs.point("create_sync_dir")
            fs.fsync_dir(path.parent)
        except OSError:
            file.poisoned = True
            file.discard()
            raise
        return file

    @classmethod
    def open_append(cls, fs: Fs, path: Path) -> BlockFile:
        """An existing file, to be continued on the next free page."""
        fd = fs.open_write(path)
        return cls(fs, path, fd, align_up(fs.fstat(fd).size))

    @property
    def fd(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "file is closed", str(self.path))
        return self._fd

    def in_place(self) -> bool:
        """False when other hands took the file: its path leads nowhere or to another file, or it was cut. What is
        written goes nowhere then. Raises OSError."""
        if self._identity is None:
            held = self.fs.fstat(self.fd)
            self._identity = held.device, held.inode
        there = self.fs.stat(self.path)
        return there is not None and (there.device, there.inode) == self._identity and there.size >= self.end

    def reserve(self, length: int, limit: int) -> None:
        """Have space for `length` more bytes allocated ahead, up to `limit` bytes of file."""
        if self.end + length <= self._reserved or self._reserved >= limit:
            return
        upto = min(max(self.end + length, self._reserved + RESERVE_BYTES), max(limit, self.end + length))
        self.fs.preallocate(self.fd, self._reserved, upto - self._reserved)
        self._reserved = upto

    def reserve_ahead(self, length: int, ahead: int) -> None:
        """Keep between half of `ahead` and all of it allocated behind the next `length` bytes, where there is space."""
        if self._reserved < self.end + length + ahead // 2:
            upto = self.end + length + ahead
            self.fs.preallocate(self.fd, self.end, upto - self.end)
            self._reserved = upto

    def go_direct(self) -> None:
        """From now on write past the page cache, where the file system can. Nobody reads footage back while it is
        written, and filling fresh cache pages is dear: on a virtual machine 1.2 against 0.2 CPU-seconds per GB."""
        if self.fs.direct(self.fd, True):
            self._staging = memoryview(mmap.mmap(-1, MAX_PIECE_BYTES))

    def write(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write buffers one behind the other from `offset`; returns the end. Poisons the file on an error. Offset and
        sum of lengths are whole pages."""
        try:
            self._check()
            if self._staging is not None:
                try:
                    return self._write_direct(self._staging, buffers, offset)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    # The file system took the flag and refuses the write: write the same bytes the ordinary way.
                    self._staging = None
                    self.fs.direct(self.fd, False)
            for piece in pieces(buffers):
                offset = write_all(self.fs, self.fd, piece, offset)
        except OSError:
            self.poisoned = True
            raise
        return offset

    def _write_direct(self, staging: memoryview, buffers: Sequence[Buffer], offset: int) -> int:
        """Direct writes take whole pages out of page-aligned memory."""
        used = 0
        for buffer in buffers:
            size = len(buffer)
            if used + size <= MAX_PIECE_BYTES:
                staging[used : used + size] = buffer
                used += size
                continue
            view, at = memoryview(buffer), 0
            while at < size:
                take = min(MAX_PIECE_BYTES - used, size - at)
                staging[used : used + take] = view[at : at + take]
                used += take
                at += take
                if used == MAX_PIECE_BYTES:
                    offset, used = self._put(staging, offset), 0
        return self._put(staging[:used], offset)

    def _put(self, pages: memoryview, offset: int) -> int:
        at = 0
        while at < len(pages):
            # After a short write go on at a page: its first bytes are written once more, with the same content.
            whole = self.fs.pwritev(self.fd, [pages[at:]], offset + at) & -BLOCK_ALIGN
            if whole <= 0:
                raise OSError(errno.EIO, "write made no progress", str(self.path))
            at += whole
        return offset + at

    def sync(self) -> None:
        """All bytes written so far are durable when this returns. A failure is final."""
        try:
            self._check()
            self.fs.fdatasync(self.fd)
        except OSError:
            self.poisoned = True
            raise

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            self.fs.close(fd)

    def discard(self) -> None:
        """Close and remove a file in which nothing was ever acknowledged; a leftover is harmless."""
        try:
            self.close()
            self.fs.unlink(self.path)
        except OSError:
            self.poisoned = True  # recovery ignores or removes it: nothing in it was ever called durable

    def _check(self) -> None:
        if self.poisoned:
            raise OSError(errno.EIO, "an earlier write or sync of this file failed", str(self.path))


def pieces(buffers: Sequence[Buffer]) -> Iterator[list[Buffer]]:
    """Cut a buffer list into writes of at most 1 MiB and 1000 buffers, without copying."""
    piece: list[Buffer] = []
    room = MAX_PIECE_BYTES
    for buffer in buffers:
        size = len(buffer)
        if size <= room and len(piece) < MAX_PIECE_BUFFERS:
            piece.append(buffer)
            room -= size
            continue
        view, at = memoryview(buffer), 0
        while at < size:
            if room == 0 or len(piece) >= MAX_PIECE_BUFFERS:
                yield piece
                piece, room = [], MAX_PIECE_BYTES
            take = min(room, size - at)
            piece.append(view[at : at + take])
            at += take
            room -= take
    if piece:
        yield piece
