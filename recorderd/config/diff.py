"""What a reload must touch: the difference of two configurations, as a plan.

Law: pure. A hardware or storage is matched by its name; what is equal is not in the plan, and what is not in the
plan keeps recording untouched. Keys that only a restart can change are named, and the old value stays in force.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from recorderd.config.schema import Config, HardwareConfig, StorageConfig


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """Hardware as (new) values, `removed_hardware` as old ones; `restart_needed` are key paths that wait for a
    restart, e.g. 'http.listen'. An open storage is never opened anew: its keys
    wait too, but for its limits."""

    added_hardware: tuple[HardwareConfig, ...] = ()
    removed_hardware: tuple[HardwareConfig, ...] = ()
    changed_hardware: tuple[HardwareConfig, ...] = ()
    added_storages: tuple[StorageConfig, ...] = ()
    removed_storages: tuple[StorageConfig, ...] = ()
    changed_storages: tuple[StorageConfig, ...] = ()
    restart_needed: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return self == ReloadPlan()


# Read at each use, so that a new value holds at once.
_LIVE_SERVER_KEYS = frozenset({"name", "time_zone", "event_retention_us"})
_LIVE_STORAGE_KEYS = frozenset({"retention_us", "max_size_bytes", "fallback"})


def diff(old: Config, new: Config) -> ReloadPlan:
    """The plan that turns `old` into `new`."""
    old_hardware = {device.name: device for device in old.hardware}
    new_hardware = {device.name: device for device in new.hardware}
    old_storages = {storage.name: storage for storage in old.storages}
    new_storages = {storage.name: storage for storage in new.storages}
    kept = [(old_storages[name], storage) for name, storage in new_storages.items() if name in old_storages]
    return ReloadPlan(
        added_hardware=tuple(device for name, device in new_hardware.items() if name not in old_hardware),
        removed_hardware=tuple(device for name, device in old_hardware.items() if name not in new_hardware),
        changed_hardware=tuple(
            device for name, device in new_hardware.items() if name in old_hardware and device != old_hardware[name]
        ),
        added_storages=tuple(storage for name, storage in new_storages.items() if name not in old_storages),
        removed_storages=tuple(storage for name, storage in old_storages.items() if name not in new_storages),
        changed_storages=tuple(after for before, after in kept if before != after),
        restart_needed=_restart_needed(old, new, kept),
    )


def in_force(old: Config, new: Config) -> Config:
    """`new` with the old value of every key that only a restart can change."""
    server = replace(old.server, **{key: getattr(new.server, key) for key in _LIVE_SERVER_KEYS})
    before = {storage.name: storage for storage in old.storages}
    storages = tuple(_live_keys(before.get(storage.name, storage), storage) for storage in new.storages)
    return Config(server, old.http, old.stream, old.rtsp, old.exports, storages, new.hardware)


def _live_keys(before: StorageConfig, after: StorageConfig) -> StorageConfig:
    return replace(before, **{key: getattr(after, key) for key in _LIVE_STORAGE_KEYS})


def _restart_needed(old: Config, new: Config, kept: list[tuple[StorageConfig, StorageConfig]]) -> tuple[str, ...]:
    waiting = [
        f"server.{field.name.removesuffix('_us')}"
        for field in fields(old.server)
        if field.name not in _LIVE_SERVER_KEYS and getattr(old.server, field.name) != getattr(new.server, field.name)
    ]
    waiting += [
        f"http.{field.name}"
        for field in fields(old.http)
        if getattr(old.http, field.name) != getattr(new.http, field.name)
    ]
    waiting += [name for name in ("stream", "rtsp", "exports") if getattr(old, name) != getattr(new, name)]
    for before, after in kept:
        waiting += [
            f"storage {after.name}.{field.name.removesuffix('_us').removesuffix('_bytes')}"
            for field in fields(after)
            if field.name not in _LIVE_STORAGE_KEYS and getattr(before, field.name) != getattr(after, field.name)
        ]
    return tuple(waiting)
