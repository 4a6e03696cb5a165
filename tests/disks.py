"""Real block devices for tests: made on a loop device in a folder of the test, made sick on purpose, taken away again.

Root only (`need` says why not). Each Disk is its own loop device, file system and mount point; nothing global is
touched: no module, no device mapper, no real clock. Whoever makes one calls `close`, or uses it as a context manager.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pytest

PROGRAMS = ("losetup", "mkfs.ext4", "mkfs.xfs", "xfs_io", "fsfreeze", "nbdkit", "nbdfuse", "strace")
MIB = 1 << 20
SMALLEST = {"ext4": 64 * MIB, "xfs": 300 * MIB}


def need() -> None:
    """Called first by every test here. Skips where one cannot be root, and where the kernel refuses, in its words; as
    root a program that is not installed is a failure: tests/system-packages.txt names its package."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    assert not missing, f"not installed: {', '.join(missing)}; see tests/system-packages.txt"
    done = subprocess.run(["losetup", "-f"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")


def run(*command: str | Path, check: bool = True) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if check and done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@dataclass
class Disk:
    """A file system of its own at `mount`. `kind`: ext4 | xfs | tmpfs. `device` is given by what makes faulty ones."""

    folder: Path
    kind: str = "ext4"
    size: int = 300 * MIB
    options: str = ""
    backing: Path | None = None  # a file to put the loop device on, when it is not a plain image
    device: str = ""
    frozen: bool = False
    mounted: bool = False
    _image: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mount = self.folder / "mnt"
        self.mount.mkdir(exist_ok=True)
        if self.kind == "tmpfs":
            self.attach()
            return
        self._image = self.backing or self.folder / "image"
        if self.backing is None:
            with self._image.open("wb") as file:
                file.truncate(max(self.size, SMALLEST[self.kind]))
        self.device = run("losetup", "-f", "--show", self._image).strip()
        quiet = ["-q", "-F"] if self.kind == "ext4" else ["-q", "-f"]
        run(f"mkfs.{self.kind}", *quiet, self.device)
        self.attach()

    # -- in and out -----------------------------------------------------------------------------------------------

    def attach(self, options: str | None = None) -> None:
        """Mount it (again)."""
        options = self.options if options is None else options
        flags = ["-o", options] if options else []
        if self.kind == "tmpfs":
            run(
                "mount",
                "-t",
                "tmpfs",
                "-o",
                ",".join(filter(None, [f"size={self.size}", options])),
                "tmpfs",
                self.mount,
            )
        else:
            run("mount", *flags, self.device, self.mount)
        self.mounted = True

    def detach(self, *, lazy: bool = False) -> None:
        """Unmount; lazy: as when a cable or a network mount goes, open files live on in nowhere."""
        for _ in range(50):
            try:
                run("umount", *(["-l"] if lazy else []), self.mount)
                break
            except OSError as error:
                if "busy" not in str(error):
                    raise
                time.sleep(0.1)  # a process that was killed has not left yet
        else:
            raise OSError(f"{self.mount} stays busy: {run('ls', '-l', '/proc/self/fd', check=False)}")
        self.mounted = False

    # -- sickness -------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The power goes: what was not synced is lost. The file system is dead until `revive`."""
        run("xfs_io", "-x", "-c", "shutdown", self.mount)

    def revive(self) -> None:
        """Mount again after `cut`; nobody may have files open on it."""
        self.detach()
        self.attach()

    def freeze(self) -> None:
        """Every write waits, reads of cached pages go on."""
        run("fsfreeze", "-f", self.mount)
        self.frozen = True

    def thaw(self) -> None:
        run("fsfreeze", "-u", self.mount)
        self.frozen = False

    def read_only(self, on: bool = True) -> None:
        run("mount", "-o", "remount,ro" if on else "remount,rw", self.mount)

    def fill(self, leave: int = 0) -> Path:
        """A foreign file takes all space but `leave` bytes; unlink it to give the space back."""
        path = self.mount / "foreign"
        status = os.statvfs(self.mount)
        size = max(0, status.f_bavail * status.f_frsize - leave)
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        with contextlib.suppress(OSError):
            os.posix_fallocate(fd, 0, size)
        os.close(fd)
        return path

    def close(self) -> None:
        """Take everything away; never raises for what is gone already."""
        if self.frozen:
            with contextlib.suppress(OSError):
                self.thaw()
        if self.mounted:
            with contextlib.suppress(OSError):
                run("umount", "-l", self.mount)
            self.mounted = False
        if self.device:
            run("losetup", "-d", self.device, check=False)
        if self.kind != "tmpfs" and self.backing is None:
            self._image.unlink(missing_ok=True)

    def __enter__(self) -> Disk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FaultyDevice:
    """A block device whose writes or reads fail while a flag file is there, which can hang, and can be gone.

    nbdkit keeps the disk in memory, nbdfuse shows it as a file, a Disk puts its loop device on that file.
    """

    def __init__(self, folder: Path, size: int = 300 * MIB) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._bad_write, self._bad_read = folder / "bad-write", folder / "bad-read"
        self._show, socket = folder / "nbd", folder / "nbd.sock"
        self._show.mkdir(exist_ok=True)
        self.file = self._show / "disk"
        self._nbdkit = subprocess.Popen(
            ["nbdkit", "-f", "-U", str(socket), "--filter=error", "memory", str(size),
             "error-pwrite=EIO", "error-pwrite-rate=100%", f"error-pwrite-file={self._bad_write}",
             "error-pread=EIO", "error-pread-rate=100%", f"error-pread-file={self._bad_read}"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _until(socket.exists, "nbdkit did not start")
        self._fuse = subprocess.Popen(["nbdfuse", str(self.file), "--unix", str(socket)], stderr=subprocess.DEVNULL)
        _until(self._there, "nbdfuse did not start")

    def fail_writes(self) -> None:
        self._bad_write.touch()

    def fail_reads(self) -> None:
        self._bad_read.touch()

    def stall(self) -> None:
        """Every request waits until `heal`."""
        os.kill(self._nbdkit.pid, signal.SIGSTOP)

    def heal(self) -> None:
        self._bad_write.unlink(missing_ok=True)
        self._bad_read.unlink(missing_ok=True)
        os.kill(self._nbdkit.pid, signal.SIGCONT)

    def close(self) -> None:
        self.heal()
        self._nbdkit.kill()
        self._nbdkit.wait()
        run("umount", "-l", self._show, check=False)
        self._fuse.kill()
        self._fuse.wait()

    def _there(self) -> bool:
        with contextlib.suppress(OSError):
            return self.file.exists()
        return False


def _until(true: object, words: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise OSError(words)
        time.sleep(0.02)
