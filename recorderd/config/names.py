"""Names that people give: what may be in them, and that no two things share one.

Law: a name is a label; identity is a UUID. Labels are checked where they could break a terminal, a file name or
a command (a camera is asked for by name or id, so a name never looks like an id).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable

from recorderd.config.findings import Findings, Place
from recorderd.config.schema import HardwareConfig, StorageConfig
from recorderd.config.table import Table

_Once = Callable[[str, object, Place, str, str], bool]
_LABEL_LIMIT = 64
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def label(table: Table, key: str) -> str:
    """A hardware's or camera's name."""
    name = table.required(key)
    if name and (len(name) > _LABEL_LIMIT or not name.isprintable() or name != name.strip() or "/" in name):
        table.error(key, f"must be printable, without / and outer blanks, and at most {_LABEL_LIMIT} characters")
    elif name and _is_uuid(name):
        table.error(key, "looks like an id: choose a name that cannot be taken for one")
    return name


def folder_name(table: Table, key: str) -> str:
    """A storage's name: it becomes a folder."""
    name = table.required(key)
    if name and not _FOLDER.fullmatch(name):
        table.error(key, f"{name!r} cannot be a folder name: use letters, digits, dot, dash and underscore")
    return name


def check_unique(
    storages: Iterable[tuple[Place, StorageConfig]],
    hardware: Iterable[tuple[Place, HardwareConfig]],
    findings: Findings,
) -> None:
    """Names, ids and device addresses that occur twice."""
    seen: dict[tuple[str, object], Place] = {}

    def once(kind: str, value: object, place: Place, key: str, shown: str) -> bool:
        first = seen.setdefault((kind, value), place)
        if first is not place:
            where = f"{first.file} {first.path}" if first.file != place.file else first.path
            findings.error(place / key, f"{shown} is already used by {where}")
        return first is place

    for place, storage in storages:
        if storage.name:
            once("storage", storage.name, place, "name", f"the storage name {storage.name!r}")
        if storage.id:
            once("id", storage.id, place, "id", f"the id {storage.id}")
    for place, device in hardware:
        _check_device(place, device, once)


def _check_device(place: Place, device: HardwareConfig, once: _Once) -> None:
    name_is_free = True
    if device.name:
        name_is_free = once("hardware", device.name, place, "name", f"the hardware name {device.name!r}")
    if device.id:
        once("id", device.id, place, "id", f"the id {device.id}")
    elif device.driver and device.address:
        once("address", (device.driver, device.address), place, "address", "this address")
    for index, camera in enumerate(device.cameras):
        # The short form's camera is the hardware itself.
        short = len(device.cameras) == 1 and camera.name == device.name
        inner = place if short else place.item("camera", index)
        if camera.name and (name_is_free or not short):
            once("camera", camera.name, inner, "name", f"the camera name {camera.name!r}")
        if camera.id:
            once("id", camera.id, inner, "id", f"the id {camera.id}")


def _is_uuid(name: str) -> bool:
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True
