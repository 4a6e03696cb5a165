"""Which limits of cameras hold in which storage: names of the configuration become identities.

Law: pure. A camera's limits hold where its footage may lie: in its storage and in the one that stands in for that; what
keeps it longer holds everywhere, since footage may lie where the camera was recorded before.
Given to `mediadb` when the cameras' identities are known; until then what the storage remembers holds.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from mediadb.reclaim.limits import ReclaimOptions
from mediadb.write.retention import CameraLimits
from recorderd.config.schema import CameraConfig, Config, StorageConfig

Limits = dict[str, dict[uuid.UUID, CameraLimits]]


def camera_limits(config: Config, ids: Mapping[str, uuid.UUID]) -> Limits:
    """By storage and camera, of the cameras that have limits of their own. `ids`: cameras by name."""
    storages = {storage.name: storage for storage in config.storages}
    out: Limits = {name: {} for name in storages}
    for camera in (camera for device in config.hardware for camera in device.cameras):
        id = ids.get(camera.name)
        if id is None or not camera.has_limits:
            continue
        present = {storage.name for storage in _storages_of(camera, storages)}
        for storage in storages.values():
            found = _limits_in(camera, storage, storage.name in present)
            if found is not None:
                out[storage.name][id] = found
    return out


def _limits_in(camera: CameraConfig, storage: StorageConfig, present: bool) -> CameraLimits | None:
    """Limits of a camera in a storage; None where it is not recorded and the storage keeps it long enough anyway."""
    longest = camera.retention_us if camera.retention_us is not None else storage.retention_us
    if longest is not None:
        longest = max(longest, camera.retention_min_us)  # a storage that keeps less than the camera's minimum
    if present:
        return CameraLimits(longest, camera.retention_min_us, camera.max_size_bytes)
    longer = storage.retention_us is not None and (longest is None or longest > storage.retention_us)
    return CameraLimits(longest, camera.retention_min_us) if longer or camera.retention_min_us else None


def reclaim_options(config: Config, ids: Mapping[str, uuid.UUID]) -> dict[str, ReclaimOptions]:
    """The limits of each storage, with those of its cameras."""
    cameras = camera_limits(config, ids)
    return {
        storage.name: ReclaimOptions(storage.retention_us, storage.max_size_bytes, cameras=cameras[storage.name])
        for storage in config.storages
    }


def _storages_of(camera: CameraConfig, storages: Mapping[str, StorageConfig]) -> Iterable[StorageConfig]:
    home = storages.get(camera.storage)
    if home is not None:
        yield home
        if home.fallback in storages:
            yield storages[home.fallback]
