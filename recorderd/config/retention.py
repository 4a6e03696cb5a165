"""How long a camera is kept: the keys `retention` and `max_size` of a camera, and what of them cannot hold together.

Law: values and findings only. A camera without limits of its own follows its storage. What depends on bit rates (do the
minimums fit on the disk?) cannot be known here: the running server says it. Called by `config.hardware` and
`config.load`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from recorderd.config.findings import Findings, Place
from recorderd.config.schema import CameraConfig, HardwareConfig, StorageConfig
from recorderd.config.table import Table
from recorderd.core.timerange import DAY_US, MINUTE_US

MAX_CLASSES = 4  # different upper limits in one storage; mediadb rounds up beyond
_MIB = 2**20


class Kept(NamedTuple):
    """The limits of a camera as the file has them; None and 0: none of its own."""

    max_us: int | None = None
    min_us: int = 0
    max_bytes: int | None = None


def read_kept(table: Table) -> Kept:
    """`retention = "30d"` or `{ min = "7d", max = "30d" }`, and `max_size`."""
    longest, shortest = None, 0
    if isinstance(table.raw.get("retention"), Mapping):
        table.value("retention", dict, {})
        inner = Table(table.raw["retention"], table.place / "retention", table.findings)
        longest = inner.optional_duration_us("max", low=MINUTE_US)
        shortest = inner.duration_us("min", 0)
        if longest is not None and shortest > longest:
            inner.error("min", "is longer than max: nothing could go by age that may go")
        inner.finish()
    else:
        longest = table.optional_duration_us("retention", low=MINUTE_US)
    return Kept(longest, shortest, table.optional_size("max_size", low=64 * _MIB))


def check_kept(
    storages: Sequence[tuple[Place, StorageConfig]],
    hardware: Sequence[tuple[Place, HardwareConfig]],
    findings: Findings,
) -> None:
    """Limits of cameras against those of their storages."""
    cameras = [(place, camera) for place, device in hardware for camera in device.cameras]
    for place, storage in storages:
        mine = [(there, camera) for there, camera in cameras if camera.storage == storage.name]
        for there, camera in mine:
            _check_camera(there, camera, storage, findings)
        sizes = sum(camera.max_size_bytes or 0 for _, camera in mine)
        if storage.max_size_bytes is not None and sizes > storage.max_size_bytes:
            findings.warn(place / "max_size", "is less than its cameras' max_size together: the oldest goes before")
        _check_classes(place, storage, [camera for _, camera in mine], findings)


def _check_camera(place: Place, camera: CameraConfig, storage: StorageConfig, findings: Findings) -> None:
    name, key = repr(camera.name), place / "retention"
    longest = storage.retention_us if camera.retention_us is None else None
    if longest is not None and camera.retention_min_us > longest:
        findings.error(key, f"{name}: min is longer than the retention of storage {storage.name!r}: give a max too")
    if storage.max_size_bytes is not None and (camera.max_size_bytes or 0) > storage.max_size_bytes:
        findings.warn(place / "max_size", f"{name}: is more than storage {storage.name!r} holds at all")


def _check_classes(place: Place, storage: StorageConfig, cameras: Iterable[CameraConfig], findings: Findings) -> None:
    limits = {camera.retention_us for camera in cameras if camera.retention_us is not None} | {storage.retention_us}
    if len(limits) > MAX_CLASSES:
        days = ", ".join(sorted(f"{limit / DAY_US:g} d" for limit in limits if limit is not None))
        findings.warn(
            place / "retention",
            f"its cameras have {len(limits)} different limits ({days}): more than {MAX_CLASSES} are rounded up, some"
            " footage stays longer than asked",
        )
