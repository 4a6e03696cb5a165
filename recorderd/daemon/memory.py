"""How much memory may hold footage that waits for disks when the configuration does not say.

Law: reads what the kernel says of this machine and of the control group the process runs in; nothing else. A quarter of
the smaller of the two, at least 256 MiB, at most 8 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LEAST_BYTES = 256 << 20
MOST_BYTES = 8 << 30


def default_budget(root: Path = Path("/")) -> int:
    """Bytes. `root` is where /proc and /sys are found."""
    return max(LEAST_BYTES, min(available_bytes(root) // 4, MOST_BYTES))


def available_bytes(root: Path = Path("/")) -> int:
    """The memory of the machine, or what its control group and those around it allow when that is less; 0: unknown."""
    return min([*_machine(root), *_groups(root)], default=0)


def _machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            yield int(line.split()[1]) * 1024


def _groups(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        folder = base / path.strip().lstrip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(base):
                yield from (int(text) for text in _lines(group / name) if text.strip().isdigit())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
