"""A deterministic model of a file system that fails: what is not synced is lost, what fails stays failed.

Page cache and directory cache are modelled: content is durable after fdatasync of that file, a name (made, renamed,
removed) after fsync of its folder. `crash` gives the file system as found after a power cut.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from mediadb.fs import FileStat

PAGE = 4096


class Crash(BaseException):
    """The power went at a failpoint. Not an Exception: nothing in the product may catch it."""


class Node:
    def __init__(self, number: int) -> None:
        self.number = number
        self.data = bytearray()
        self.durable = bytearray()
        self.dirty: set[int] = set()
        self.direct = False


class FaultFs:
    """Files in memory. Public knobs: `fail`, `fail_always`, `short_writes`, `sync_lies`, `dir_sync_lies`, `hook`."""

    def __init__(self) -> None:
        self.names: dict[Path, Node] = {}
        self.durable_names: dict[Path, Node] = {}
        self.dirs: set[Path] = {Path("/")}
        self.fds: dict[int, Node] = {}
        self.locks: dict[int, int] = {}
        self.calls: dict[str, int] = {}
        self.fail: dict[tuple[str, int], int] = {}  # (call, n-th from now on, 1-based) -> errno
        self.fail_always: dict[str, int] = {}
        self.short_writes = False
        self.sync_lies = False
        self.dir_sync_lies = False
        self.hook: Callable[[str], None] | None = None
        self.free = 1 << 40
        self._next = 3
        self._numbers = 1

    # -- faults ---------------------------------------------------------------------------------------------------

    def arm(self, call: str, nth: int, number: int = errno.EIO) -> None:
        """The n-th call of that name from now on fails."""
        self.fail[(call, self.calls.get(call, 0) + nth)] = number

    def crash(self, rng: random.Random | None = None) -> FaultFs:
        """What is found after a power cut; with `rng` some unsynced pages made it to the disk."""
        after = FaultFs()
        after.dirs = set(self.dirs)
        copies: dict[int, Node] = {}
        for path, node in self.durable_names.items():
            copy = copies.get(node.number)
            if copy is None:
                copy = copies[node.number] = Node(node.number)
                copy.data = bytearray(node.durable)
                for page in sorted(node.dirty) if rng else ():
                    if rng is not None and rng.random() < 0.5:
                        raw = node.data[page * PAGE : (page + 1) * PAGE]
                        if rng.random() < 0.2:
                            raw = raw[: rng.randrange(0, len(raw) + 1) & ~511]  # torn between sectors
                        if len(copy.data) < page * PAGE:
                            copy.data += bytes(page * PAGE - len(copy.data))
                        copy.data[page * PAGE : page * PAGE + len(raw)] = raw
                copy.durable = bytearray(copy.data)
            after.names[path] = after.durable_names[path] = copy
        after._numbers = self._numbers
        return after

    def _enter(self, call: str) -> None:
        self.calls[call] = count = self.calls.get(call, 0) + 1
        number = self.fail.pop((call, count), None) or self.fail_always.get(call)
        if number:
            raise OSError(number, f"injected in {call}")

    # -- calls ----------------------------------------------------------------------------------------------------

    def _open(self, node: Node) -> int:
        fd, self._next = self._next, self._next + 1
        self.fds[fd] = node
        return fd

    def open_read(self, path: Path) -> int:
        self._enter("open_read")
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self._open(self.names[path])

    def open_write(self, path: Path) -> int:
        return self.open_read(path)

    def create(self, path: Path) -> int:
        self._enter("create")
        if path.parent not in self.dirs:
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
        if path in self.names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self.names[path] = Node(self._numbers)
        self._numbers += 1
        return self._open(self.names[path])

    def close(self, fd: int) -> None:
        del self.fds[fd]
        self.locks = {node: holder for node, holder in self.locks.items() if holder != fd}

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self._enter("pread")
        return bytes(self.fds[fd].data[offset : offset + length])

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        self._enter("pwritev")
        assert len(buffers) <= 1000
        raw = b"".join(buffers)
        step = PAGE if self.fds[fd].direct else 1  # direct writes progress by whole pages
        if self.short_writes and len(raw) > step:
            raw = raw[: max(step, len(raw) // 2 // step * step)]
        node = self.fds[fd]
        if node.direct:
            assert offset % PAGE == 0, "a direct write begins inside a page"
            assert sum(map(len, buffers)) % PAGE == 0, "a direct write ends inside a page"
        if len(node.data) < offset:
            node.data += bytes(offset - len(node.data))
        node.data[offset : offset + len(raw)] = raw
        node.dirty.update(range(offset // PAGE, (offset + max(len(raw), 1) - 1) // PAGE + 1))
        return len(raw)

    def fdatasync(self, fd: int) -> None:
        node = self.fds[fd]
        try:
            self._enter("fdatasync")
        except OSError:
            node.dirty.clear()  # the kernel marks the pages clean although they never reached the disk
            raise
        if self.sync_lies:
            return
        if len(node.data) < len(node.durable):
            del node.durable[len(node.data) :]
        if len(node.durable) < len(node.data):
            node.durable += bytes(len(node.data) - len(node.durable))
        for page in node.dirty:
            node.durable[page * PAGE : (page + 1) * PAGE] = node.data[page * PAGE : (page + 1) * PAGE]
        node.dirty.clear()

    def fsync_dir(self, path: Path) -> None:
        self._enter("fsync_dir")
        if self.dir_sync_lies:
            return
        for name in [name for name in self.durable_names if name.parent == path and name not in self.names]:
            del self.durable_names[name]
        for name, node in self.names.items():
            if name.parent == path:
                self.durable_names[name] = node

    def truncate(self, fd: int, size: int) -> None:
        self._enter("truncate")
        node = self.fds[fd]
        del node.data[size:]
        node.data += bytes(size - len(node.data))
        node.dirty = {page for page in node.dirty if page * PAGE < size}

    def preallocate(self, fd: int, offset: int, length: int) -> None:
        self._enter("preallocate")

    def direct(self, fd: int, on: bool) -> bool:
        self._enter("direct")
        self.fds[fd].direct = on
        return True

    def punch(self, fd: int, offset: int, length: int) -> None:
        self._enter("punch")
        node = self.fds[fd]
        node.data[offset : offset + length] = bytes(len(node.data[offset : offset + length]))

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename")
        self.names[target] = self.names.pop(source)

    def unlink(self, path: Path) -> None:
        self._enter("unlink")
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        del self.names[path]

    def rmdir(self, path: Path) -> None:
        self.dirs.discard(path)

    def mkdirs(self, path: Path) -> None:
        self._enter("mkdirs")
        self.dirs.update([path, *path.parents])

    def listdir(self, path: Path) -> list[str]:
        inside = {name.name for name in self.names if name.parent == path}
        return sorted(inside | {folder.name for folder in self.dirs if folder.parent == path and folder != path})

    def stat(self, path: Path) -> FileStat | None:
        if path in self.names:
            node = self.names[path]
            return FileStat(len(node.data), False, 1, node.number, len(node.data))
        return FileStat(0, True, 1, 0, 0) if path in self.dirs else None

    def fstat(self, fd: int) -> FileStat:
        node = self.fds[fd]
        return FileStat(len(node.data), False, 1, node.number, len(node.data))

    def lock(self, fd: int) -> bool:
        number = self.fds[fd].number
        if number in self.locks:
            return False
        self.locks[number] = fd
        return True

    def free_bytes(self, path: Path) -> tuple[int, int]:
        return self.free, 1 << 40

    def point(self, name: str) -> None:
        if self.hook is not None:
            self.hook(name)
