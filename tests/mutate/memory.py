"""Files in memory: a whole volume is copied in microseconds, so ten thousand damaged ones can be tried.

Law: the calls of `mediadb.fs.Fs` as a healthy disk answers them. Contents are immutable until written, so copies share
them. No faults here: those are in `tests/mediadb/fault_fs.py`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from mediadb.fs import FileStat

PAGE = 4096


class _File:
    """A file's bytes and its number; a name that goes leaves open descriptors their bytes."""

    __slots__ = ("data", "number")

    def __init__(self, number: int, data: bytes | bytearray) -> None:
        self.number, self.data = number, data

    def writable(self) -> bytearray:
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        return self.data


class MemoryFs:
    """`files`: path -> content, `content()` gives them back. `kill_at`: the n-th change from the start on is the last
    thing that the process does; half of it is done when it is a write."""

    def __init__(self, files: Mapping[Path, bytes] | None = None) -> None:
        self._files: dict[Path, _File] = {}
        self._inside: dict[Path, dict[str, None]] = {Path("/"): {}}
        self._open: dict[int, _File] = {}
        self._locks: dict[int, int] = {}
        self._next = 3
        self.asked = 0  # the longest read that was asked for and lay inside a file
        self.kill_at: int | None = None
        self.changes = 0
        for path, data in (files or {}).items():
            self._enter(path, _File(self._number(), data))

    def content(self) -> dict[Path, bytes]:
        return {path: bytes(file.data) for path, file in self._files.items()}

    def copy(self) -> MemoryFs:
        return MemoryFs(self.content())

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _folder(self, path: Path) -> dict[str, None]:
        known = self._inside.get(path)
        if known is None:
            self._folder(path.parent)[path.name] = None
            known = self._inside[path] = {}
        return known

    def _enter(self, path: Path, file: _File) -> None:
        self._files[path] = file
        self._folder(path.parent)[path.name] = None

    def _find(self, path: Path) -> _File:
        file = self._files.get(path)
        if file is None:
            number = errno.EISDIR if path in self._inside else errno.ENOENT
            raise OSError(number, "a folder" if path in self._inside else "no such file", str(path))
        return file

    def _descriptor(self, file: _File) -> int:
        fd = self._number()
        self._open[fd] = file
        return fd

    def open_read(self, path: Path) -> int:
        return self._descriptor(self._find(path))

    def open_write(self, path: Path) -> int:
        return self._descriptor(self._find(path))

    def create(self, path: Path) -> int:
        self._change("create")
        if path in self._files or path in self._inside:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        if path.parent not in self._inside:
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
        file = _File(self._number(), bytearray())
        self._enter(path, file)
        return self._descriptor(file)

    def close(self, fd: int) -> None:
        del self._open[fd]
        self._locks = {number: holder for number, holder in self._locks.items() if holder != fd}

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        data = self._open[fd].data
        assert length >= 0, f"a read of {length} bytes was asked for"
        assert offset >= 0, f"a read at {offset} was asked for"
        self.asked = max(self.asked, min(length, len(data)))
        return bytes(data[offset : offset + length])

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        data, raw = self._open[fd].writable(), b"".join(buffers)
        killed = self._change("pwritev")
        raw = raw[: len(raw) // 2] if killed else raw
        if len(data) < offset:
            data.extend(bytes(offset - len(data)))
        data[offset : offset + len(raw)] = raw
        if killed:
            raise Killed("pwritev")
        return len(raw)

    def fdatasync(self, fd: int) -> None:
        self._open[fd]

    def fsync_dir(self, path: Path) -> None:
        if path not in self._inside:
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))

    def truncate(self, fd: int, size: int) -> None:
        self._change("truncate")
        data = self._open[fd].writable()
        del data[size:]
        data.extend(bytes(size - len(data)))

    def preallocate(self, fd: int, offset: int, length: int) -> None:
        self._open[fd]

    def direct(self, fd: int, on: bool) -> bool:
        return False

    def punch(self, fd: int, offset: int, length: int) -> None:
        self._change("punch")
        data = self._open[fd].writable()
        end = min(offset + length, len(data))
        data[offset:end] = bytes(max(0, end - offset))

    def rename(self, source: Path, target: Path) -> None:
        self._change("rename")
        file = self._find(source)
        self._leave(source)
        self._enter(target, file)

    def unlink(self, path: Path) -> None:
        self._change("unlink")
        self._find(path)
        self._leave(path)

    def _leave(self, path: Path) -> None:
        del self._files[path]
        del self._inside[path.parent][path.name]

    def rmdir(self, path: Path) -> None:
        if self._inside[path]:
            raise OSError(errno.ENOTEMPTY, "not empty", str(path))
        del self._inside[path]
        del self._inside[path.parent][path.name]

    def mkdirs(self, path: Path) -> None:
        self._folder(path)

    def listdir(self, path: Path) -> list[str]:
        return sorted(self._inside.get(path, ()))

    def stat(self, path: Path) -> FileStat | None:
        file = self._files.get(path)
        if file is not None:
            return self._stat(file)
        return FileStat(0, True, 1, 0, 0) if path in self._inside else None

    def fstat(self, fd: int) -> FileStat:
        return self._stat(self._open[fd])

    def _stat(self, file: _File) -> FileStat:
        return FileStat(len(file.data), False, 1, file.number, -(-len(file.data) // PAGE) * PAGE)

    def lock(self, fd: int) -> bool:
        number = self._open[fd].number
        if number in self._locks:
            return False
        self._locks[number] = fd
        return True

    def free_bytes(self, path: Path) -> tuple[int, int]:
        return 1 << 40, 1 << 40

    def point(self, name: str) -> None:
        pass

    def _change(self, name: str) -> bool:
        """Count a change; True when the process ends in the middle of it."""
        self.changes += 1
        if self.kill_at is None or self.changes < self.kill_at:
            return False
        if name != "pwritev" or self.changes > self.kill_at:
            raise Killed(name)
        return True


class Killed(BaseException):
    """The process ends here. Not an Exception: nothing in the product may catch it."""
