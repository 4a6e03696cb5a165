"""Every file call of the media database, and the failpoints between them.

Law: the only module that opens, reads, writes, syncs, renames, locks or lists files (catalog.db aside, whose SQLite
does its own). Calls block: they run on the volume's threads, never on an event loop. Tests put a deterministic fault
model in place of `RealFs`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat as stat_module
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

_FALLOC_KEEP_SIZE: Final = 0x01
_FALLOC_PUNCH_HOLE: Final = 0x02
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
FAILPOINT_ENV: Final = "MEDIADB_FAILPOINT"
BIG_READ: Final = 4 << 20  # from here on a read asks first how long the file is
NOWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # the path leads to nothing
MAX_OFFSET: Final = (1 << 62) - 1

# Names of the steps of the writing procedures, as in docs/format/README.md.
COMMIT_STEPS: Final = ("collect", "build", "seal_chunks", "append", "directory", "sync", "publish")
CREATE_STEPS: Final = ("create", "create_sync", "create_sync_dir")
SEAL_STEPS: Final = (
    "seal_last_commit", "seal_footer", "seal_sync", "seal_trim", "seal_rename", "seal_sync_dir", "seal_ledger",
)  # fmt: skip
LEDGER_STEPS: Final = ("ledger_append", "ledger_sync")
RECLAIM_STEPS: Final = ("reclaim_intent", "reclaim_ledger", "reclaim_unlink", "reclaim_sync_dir", "reclaim_done")
PUNCH_STEPS: Final = ("reclaim_punch", "reclaim_punch_sync", "reclaim_rewrite", "reclaim_rename")
FAILPOINTS: Final = (*COMMIT_STEPS, *CREATE_STEPS, *SEAL_STEPS, *LEDGER_STEPS, *RECLAIM_STEPS, *PUNCH_STEPS)


class FileStat(NamedTuple):
    """What the database asks of a file: bytes, kind, identity, bytes on disk."""

    size: int
    is_dir: bool
    device: int
    inode: int
    disk_bytes: int
    changed_us: int = 0


class Fs(Protocol):
    """The file calls. Errors are OSError with errno, as the operating system gives them."""

    def open_read(self, path: Path) -> int:
        """Never waits: what is neither file nor disk (a pipe, a socket, a device, a folder, a link to itself) is read
        as an empty file."""
        ...

    def open_write(self, path: Path) -> int:
        """Open an existing file for reading and writing; a symbolic link is refused (ELOOP)."""
        ...

    def create(self, path: Path) -> int:
        """Create a file that must not exist (O_EXCL), for reading and writing."""
        ...

    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""
        ...

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        """May write less than asked; returns the bytes written."""
        ...

    def fdatasync(self, fd: int) -> None: ...
    def fsync_dir(self, path: Path) -> None: ...
    def truncate(self, fd: int, size: int) -> None: ...
    def preallocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve space, the file's size stays. Where it cannot be done nothing happens."""
        ...

    def direct(self, fd: int, on: bool) -> bool:
        """Write past the page cache (O_DIRECT) or not; False where the file system cannot."""
        ...

    def punch(self, fd: int, offset: int, length: int) -> None:
        """Give the range back to the file system; it reads as zero afterwards."""
        ...

    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def rmdir(self, path: Path) -> None: ...
    def mkdirs(self, path: Path) -> None:
        """Make the folder and its parents, each durable in its parent."""
        ...

    def listdir(self, path: Path) -> list[str]:
        """Sorted names; an empty list when there is no such folder (nor where a link leads to itself)."""
        ...

    def stat(self, path: Path) -> FileStat | None:
        """None when there is no such file (nor where a link leads to itself)."""
        ...

    def fstat(self, fd: int) -> FileStat: ...
    def lock(self, fd: int) -> bool:
        """Take the exclusive lock of an open file (OFD: it lives as long as the descriptor); False when taken."""
        ...

    def free_bytes(self, path: Path) -> tuple[int, int]:
        """(bytes free to us, total bytes) of the file system that holds `path`."""
        ...

    def point(self, name: str) -> None:
        """A failpoint of the procedure; see FAILPOINTS."""
        ...


class RealFs:
    """The operating system's files. `hook` is called at each failpoint (tests); MEDIADB_FAILPOINT=name[:n] kills
    the process with SIGKILL at the n-th pass of that point (crash tests of whole programs)."""

    def __init__(self, hook: Callable[[str], None] | None = None) -> None:
        self._hook = hook
        name, _, number = os.environ.get(FAILPOINT_ENV, "").partition(":")
        self._kill_at, self._kill_left = name, int(number or "1")

    def open_read(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ELOOP):  # a socket, a link that leads to itself
                raise
        else:
            kind = os.fstat(fd).st_mode
            if stat_module.S_ISREG(kind) or stat_module.S_ISBLK(kind):
                return fd
            os.close(fd)
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def open_write(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if length > BIG_READ or offset > MAX_OFFSET:
            length = self._inside(fd, length, offset)
        data = os.pread(fd, length, min(offset, MAX_OFFSET))
        if len(data) == length or not data:
            return data
        parts = [data]
        have = len(data)
        while have < length:
            data = os.pread(fd, length - have, offset + have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def _inside(self, fd: int, length: int, offset: int) -> int:
        """How much of a long read lies inside the file: a damaged length must not cost memory."""
        status = os.fstat(fd)
        if offset > MAX_OFFSET:
            return 0
        return min(length, max(0, status.st_size - offset)) if stat_module.S_ISREG(status.st_mode) else length

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def preallocate(self, fd: int, offset: int, length: int) -> None:
        try:
            _fallocate(fd, _FALLOC_KEEP_SIZE, offset, length)
        except OSError as error:
            # Only a help for the file system: without it the write itself asks for the space.
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSPC, errno.EDQUOT, errno.ENOSYS, errno.EFBIG):
                raise

    def direct(self, fd: int, on: bool) -> bool:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    def punch(self, fd: int, offset: int, length: int) -> None:
        _fallocate(fd, _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE, offset, length)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)

    def mkdirs(self, path: Path) -> None:
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            try:
                os.mkdir(folder, 0o750)
            except FileExistsError:
                pass  # made by another thread in between
            self.fsync_dir(folder.parent)

    def listdir(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            if error.errno not in NOWHERE:
                raise
            return []

    def stat(self, path: Path) -> FileStat | None:
        try:
            return _file_stat(os.stat(path))
        except OSError as error:
            if error.errno not in NOWHERE:
                raise
            return None

    def fstat(self, fd: int) -> FileStat:
        status = os.fstat(fd)
        if stat_module.S_ISBLK(status.st_mode):  # a raw device: its size is where it ends
            return _file_stat(status)._replace(size=os.lseek(fd, 0, os.SEEK_END))
        return _file_stat(status)

    def lock(self, fd: int) -> bool:
        request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def free_bytes(self, path: Path) -> tuple[int, int]:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def point(self, name: str) -> None:
        if self._hook is not None:
            self._hook(name)
        if name == self._kill_at:
            self._kill_left -= 1
            if self._kill_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def write_all(fs: Fs, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    """Write every byte of `buffers` (at most 1000 of them) at `offset`, through short writes; returns the end."""
    left = list(buffers)
    while left:
        written = fs.pwritev(fd, left, offset)
        if written <= 0:
            raise OSError(errno.EIO, "write made no progress")
        offset += written
        while left and written >= len(left[0]):
            written -= len(left[0])
            left.pop(0)
        if left and written:
            left[0] = memoryview(left[0])[written:]
    return offset


def read_file(fs: Fs, path: Path, limit: int) -> bytes:
    """Up to `limit` bytes of a small file."""
    fd = fs.open_read(path)
    try:
        return fs.pread(fd, limit, 0)
    finally:
        fs.close(fd)


def replace_file(fs: Fs, path: Path, content: bytes, temporary: Path | None = None) -> None:
    """Write a small file so that after a crash it is there whole or not at all; `temporary` in the same folder."""
    temporary = temporary or path.with_name(path.name + ".tmp")
    if fs.stat(temporary) is not None:
        fs.unlink(temporary)
    fd = fs.create(temporary)
    try:
        write_all(fs, fd, [content], 0)
        fs.fdatasync(fd)
    finally:
        fs.close(fd)
    fs.rename(temporary, path)
    fs.fsync_dir(path.parent)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with a mode; Python's posix_fallocate has none."""
    if _LIBC.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _file_stat(status: os.stat_result) -> FileStat:
    return FileStat(
        size=status.st_size,
        is_dir=stat_module.S_ISDIR(status.st_mode),
        device=status.st_dev,
        inode=status.st_ino,
        disk_bytes=status.st_blocks * 512,
        changed_us=status.st_mtime_ns // 1000,
    )
