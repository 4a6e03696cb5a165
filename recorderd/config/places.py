"""Where folders really lie: two names of one folder, or of a folder inside another, are found out.

Law: reads only. A folder's place is its file system and the way to it from that file system's root, out of the kernel's
table of mounts: symbolic links, bind mounts and a second mount of the same device make no difference to it. Without
that table symbolic links alone are seen through, and below a mount that does not answer not even these. Used by
`recorderd.config.load`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorderd.config.patience import ask

MOUNTS: Final = Path("/proc/self/mountinfo")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class RealPlace:
    """A file system (empty when it is not known) and the path of a folder in it."""

    device: str
    path: Path

    def same(self, other: RealPlace) -> bool:
        return self == other

    def nested(self, other: RealPlace) -> bool:
        """Does one lie inside the other?"""
        if self.device != other.device or self == other:
            return False
        return self.path.is_relative_to(other.path) or other.path.is_relative_to(self.path)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table: what of which device is seen where."""

    device: str
    root: Path
    point: Path


def read_mounts(text: str) -> list[Mount]:
    """The mounts of a `mountinfo` text, later ones over earlier ones."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 5:
            mounts.append(Mount(fields[2], Path(_plain(fields[3])), Path(_plain(fields[4]))))
    return mounts


def real_place(path: Path, mounts: list[Mount]) -> RealPlace:
    """Where `path` lies. It need not exist."""
    real = ask(lambda: Path(os.path.realpath(path)), path)
    over = [mount for mount in mounts if real.is_relative_to(mount.point)]
    if not over:
        return RealPlace("", real)
    mount = max(reversed(over), key=lambda each: len(each.point.parts))
    return RealPlace(mount.device, mount.root / real.relative_to(mount.point))


def mounts_here() -> list[Mount]:
    """The mounts this process sees; none where the kernel has no such table."""
    try:
        return read_mounts(MOUNTS.read_text("utf-8", "surrogateescape"))
    except OSError:
        return []


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
