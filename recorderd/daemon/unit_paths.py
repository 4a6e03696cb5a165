"""Whether the systemd unit lets the service write to a folder.

Law: reads unit files as text, changes nothing, asks no service manager. The unit's ProtectSystem=strict makes every
path read-only that ReadWritePaths= and StateDirectory= do not name; a storage outside them fails only in service.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

UNIT = "recorderd.service"
_FOLDERS = (
    "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
    "/lib/systemd/system",
)  # fmt: skip
_DIRECTORY_ROOTS = {"StateDirectory": "/var/lib", "LogsDirectory": "/var/log", "CacheDirectory": "/var/cache"}


def unit_texts(root: Path = Path("/")) -> list[str]:
    """The installed unit (the one that wins) and all its drop-ins; empty when it is not installed."""
    folders = [root / folder.lstrip("/") for folder in _FOLDERS]
    unit = next((folder / UNIT for folder in folders if (folder / UNIT).is_file()), None)
    if unit is None:
        return []
    drop_ins: dict[str, Path] = {}
    for folder in folders:
        for path in (folder / f"{UNIT}.d").glob("*.conf"):
            drop_ins.setdefault(path.name, path)  # a name in an earlier folder hides the later ones
    return [path.read_text(errors="replace") for path in (unit, *(drop_ins[name] for name in sorted(drop_ins)))]


def writable_paths(texts: Iterable[str]) -> list[Path]:
    """Folders that the unit opens for writing."""
    paths: list[Path] = []
    for line in (line.strip() for text in texts for line in text.splitlines()):
        key, equals, value = line.partition("=")
        if not equals or line.startswith(("#", ";")):
            continue
        if key.strip() == "ReadWritePaths":
            words = value.split()
            paths = paths + [Path(word.lstrip("-+")) for word in words] if words else []
        elif root := _DIRECTORY_ROOTS.get(key.strip()):
            paths += [Path(root) / word.partition(":")[0] for word in value.split()]
    return paths


def missing_from_unit(path: Path, texts: list[str]) -> str | None:
    """The explanation with the drop-in to write, or None when the unit is not installed or lets `path` through."""
    if not texts or any(path.is_relative_to(open_path) for open_path in writable_paths(texts)):
        return None
    return (
        f"the unit {UNIT} does not let the service write to {path}; write this to "
        f"/etc/systemd/system/{UNIT}.d/storage.conf and run systemctl daemon-reload:\n"
        f"    [Service]\n    ReadWritePaths={path}"
    )
