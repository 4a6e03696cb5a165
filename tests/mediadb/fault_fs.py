"""A deterministic model of a file system that fails: what is not synced is lost, what fails stays failed.

Page cache and directory cache are modelled (`fault_disk`): content is durable after fdatasync of that file, a name
(made, renamed, removed) after fsync of its folder. `crash(rng)` gives one of the file systems that a power cut may
leave. All chance comes from seeds: the same calls with the same seed give the same bytes.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fault_disk import PAGE, NameChange, Node, names_left

from mediadb.fs import FileStat

__all__ = ["PAGE", "Crash", "FaultFs", "Node", "Stall"]
PATIENCE_S = 30
CHANGES = frozenset(
    {"open_write", "create", "pwritev", "fdatasync", "fsync_dir", "truncate", "punch", "rename", "unlink", "mkdirs"}
)


class Crash(BaseException):
    """The power went at a failpoint. Not an Exception: nothing in the product may catch it."""


class Stall:
    """A call that does not return: `reached` is set when somebody hangs in it, `release()` lets it go on."""

    def __init__(self) -> None:
        self.reached, self._go = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self._go.wait(PATIENCE_S), "nobody released the stalled call"

    def release(self) -> None:
        self._go.set()


class FaultFs:
    """Files in memory. Knobs: `fail_always` (call -> errno), `short_writes`, `sync_lies`, `dir_sync_lies`, `read_only`,
    `capacity` (bytes of the disk, None: endless), `hook` (told each failpoint); see also `arm`, `stall`, `heal`.

    With `seed`, a failed sync may have written some of its pages; without, none.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.names: dict[Path, Node] = {}
        self.durable_names: dict[Path, Node] = {}
        self.changes: list[NameChange] = []
        self.dirs: set[Path] = {Path("/")}
        self.fds: dict[int, Node] = {}
        self.locks: dict[int, int] = {}
        self.calls: dict[str, int] = {}
        self.fail: dict[tuple[str, int], int] = {}  # (call, n-th since the start, 1-based) -> errno
        self.fail_always: dict[str, int] = {}
        self.stalls: dict[str, Stall] = {}
        self.short_writes = False
        self.sync_lies = False
        self.dir_sync_lies = False
        self.read_only = False
        self.capacity: int | None = None
        self.cut_in: int | None = None  # changing calls until the power goes, in the middle of one
        self.hook: Callable[[str], None] | None = None
        self.free = 1 << 40
        self._rng = None if seed is None else random.Random(seed)
        self._next = 3
        self._numbers = 1

    # -- faults ---------------------------------------------------------------------------------------------------

    def arm(self, call: str, nth: int, number: int = errno.EIO) -> None:
        """The n-th call of that name from now on fails, once."""
        self.fail[(call, self.calls.get(call, 0) + nth)] = number

    def stall(self, call: str) -> Stall:
        """From now on every such call hangs until the stall is released."""
        self.stalls[call] = stall = Stall()
        return stall

    def heal(self) -> None:
        """No fault any more (what is lost stays lost)."""
        self.fail.clear()
        self.fail_always.clear()
        self.short_writes = self.sync_lies = self.dir_sync_lies = self.read_only = False
        self.capacity = self.cut_in = None
        for stall in self.stalls.values():
            stall.release()
        self.stalls.clear()

    def drop_caches(self) -> None:
        """Clean pages are forgotten: reads show what the disk holds."""
        for node in self._nodes():
            node.drop_cache()

    def crash(self, rng: random.Random | None = None) -> FaultFs:
        """What is found after a power cut: with `rng` any legal image, else all that was not synced is lost."""
        after = FaultFs(rng.randrange(1 << 30) if rng is not None else None)
        after.dirs = set(self.dirs)
        copies: dict[int, Node] = {}
        for path, node in names_left(self.durable_names, self.changes, rng).items():
            copy = copies.get(node.number)
            if copy is None:
                left = node.left(rng)
                copy = copies[node.number] = Node(node.number, path, left, bytearray(left))
                pages = range(-(-len(left) // PAGE))
                copy.pages = {page for page in pages if any(left[page * PAGE : (page + 1) * PAGE])}
            after.names[path] = after.durable_names[path] = copy
            after.dirs.update(path.parents)
        after._numbers = self._numbers
        return after

    def used(self) -> int:
        """Bytes allocated on the disk; a removed file counts until it is closed."""
        return sum((len(node.pages) + node.reserved) * PAGE for node in self._nodes())

    def _nodes(self) -> list[Node]:
        return list({node.number: node for node in [*self.names.values(), *self.fds.values()]}.values())

    def _enter(self, call: str) -> None:
        self.calls[call] = count = self.calls.get(call, 0) + 1
        if self.cut_in is not None and call in CHANGES:
            self.cut_in -= 1
            if self.cut_in <= 0:
                raise Crash(call)
        stall = self.stalls.get(call)
        if stall is not None:
            stall.wait()
        number = self.fail.pop((call, count), None) or self.fail_always.get(call)
        if number:
            raise OSError(number, f"injected in {call}")
        if self.read_only and call in CHANGES:
            raise OSError(errno.EROFS, "read-only file system")

    def _room(self, node: Node, offset: int, raw: bytes) -> bytes:
        """As much of `raw` as the disk has room for; ENOSPC when that is nothing."""
        if self.capacity is None or not raw:
            return raw
        free = (self.capacity - self.used()) // PAGE + node.reserved
        for page in range(offset // PAGE, (offset + len(raw) - 1) // PAGE + 1):
            if page in node.pages:
                continue
            if free <= 0:
                raw = raw[: max(0, page * PAGE - offset)]
                break
            free -= 1
            node.reserved = max(0, node.reserved - 1)
        if not raw:
            raise OSError(errno.ENOSPC, "no space left on device")
        return raw

    # -- calls ----------------------------------------------------------------------------------------------------

    def _open(self, node: Node) -> int:
        fd, self._next = self._next, self._next + 1
        self.fds[fd] = node
        return fd

    def _find(self, path: Path) -> Node:
        if path in self.dirs:
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self.names[path]

    def open_read(self, path: Path) -> int:
        self._enter("open_read")
        return self._open(self._find(path))

    def open_write(self, path: Path) -> int:
        self._enter("open_read")
        self._enter("open_write")
        return self._open(self._find(path))

    def create(self, path: Path) -> int:
        self._enter("create")
        if path.parent not in self.dirs:
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
        if path in self.names or path in self.dirs:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        if self.capacity is not None and self.used() >= self.capacity:
            raise OSError(errno.ENOSPC, "no space left on device", str(path))
        node = self.names[path] = Node(self._numbers, path)
        self._numbers += 1
        self.changes.append(NameChange(path, node, None))
        return self._open(node)

    def close(self, fd: int) -> None:
        del self.fds[fd]
        self.locks = {node: holder for node, holder in self.locks.items() if holder != fd}

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self._enter("pread")
        return bytes(self.fds[fd].data[offset : offset + length])

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        self._enter("pwritev")
        assert len(buffers) <= 1000
        node, raw = self.fds[fd], b"".join(buffers)
        if node.direct:
            assert offset % PAGE == 0, "a direct write begins inside a page"
            assert len(raw) % PAGE == 0, "a direct write ends inside a page"
        step = PAGE if node.direct else 1  # direct writes progress by whole pages
        if self.short_writes and len(raw) > step:
            raw = raw[: max(step, len(raw) // 2 // step * step)]
        raw = self._room(node, offset, raw)
        node.write(offset, raw)
        return len(raw)

    def fdatasync(self, fd: int) -> None:
        node = self.fds[fd]
        try:
            self._enter("fdatasync")
        except OSError:
            node.fail_sync(self._rng)
            raise
        if not self.sync_lies:
            node.sync()

    def fsync_dir(self, path: Path) -> None:
        self._enter("fsync_dir")
        if self.dir_sync_lies:
            return
        for change in self.changes:
            if change.touches(path):
                change.apply(self.durable_names)
        self.changes = [change for change in self.changes if not change.touches(path)]

    def truncate(self, fd: int, size: int) -> None:
        self._enter("truncate")
        self.fds[fd].truncate(size)

    def preallocate(self, fd: int, offset: int, length: int) -> None:
        self._enter("preallocate")
        if self.capacity is not None and self.used() + length <= self.capacity:
            self.fds[fd].reserved += length // PAGE

    def direct(self, fd: int, on: bool) -> bool:
        self._enter("direct")
        self.fds[fd].direct = on
        return True

    def punch(self, fd: int, offset: int, length: int) -> None:
        self._enter("punch")
        self.fds[fd].punch(offset, length)

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename")
        node = self._find(source)
        self.names[target] = self.names.pop(source)
        node.path = target
        self.changes.append(NameChange(target, node, source))

    def unlink(self, path: Path) -> None:
        self._enter("unlink")
        self._find(path)
        del self.names[path]
        self.changes.append(NameChange(None, None, path))

    def rmdir(self, path: Path) -> None:
        self._enter("rmdir")
        if any(path in name.parents for name in (*self.names, *self.dirs)):
            raise OSError(errno.ENOTEMPTY, "not empty", str(path))
        self.dirs.discard(path)

    def mkdirs(self, path: Path) -> None:
        if path not in self.dirs:
            self._enter("mkdirs")
        self.dirs.update([path, *path.parents])

    def listdir(self, path: Path) -> list[str]:
        self._enter("listdir")
        inside = {name.name for name in self.names if name.parent == path}
        return sorted(inside | {folder.name for folder in self.dirs if folder.parent == path and folder != path})

    def stat(self, path: Path) -> FileStat | None:
        if path in self.names:
            return self._stat(self.names[path])
        return FileStat(0, True, 1, 0, 0) if path in self.dirs else None

    def fstat(self, fd: int) -> FileStat:
        return self._stat(self.fds[fd])

    def _stat(self, node: Node) -> FileStat:
        return FileStat(len(node.data), False, 1, node.number, len(node.pages) * PAGE)

    def lock(self, fd: int) -> bool:
        number = self.fds[fd].number
        if number in self.locks:
            return False
        self.locks[number] = fd
        return True

    def free_bytes(self, path: Path) -> tuple[int, int]:
        self._enter("free_bytes")
        if self.capacity is None:
            return self.free, 1 << 40
        return max(0, self.capacity - self.used()), self.capacity

    def point(self, name: str) -> None:
        if self.hook is not None:
            self.hook(name)
