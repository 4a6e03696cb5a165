"""From files to values: the main file and conf.d/*.toml beside it, all errors at once.

Law: `load` is the only way from text to a Config. It reads the files and the secrets they name and nothing else,
changes nothing, and reports every finding with its place. Drivers and the storage inspector are handed in.
"""

from __future__ import annotations

import os
import tomllib
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorderd.config.fallbacks import check_fallbacks
from recorderd.config.findings import ConfigError, Findings, Place, did_you_mean
from recorderd.config.hardware import Surroundings, read_hardware
from recorderd.config.names import check_unique, folder_name
from recorderd.config.places import mounts_here, real_place
from recorderd.config.retention import check_kept
from recorderd.config.schema import Config, ServerConfig, StorageConfig
from recorderd.config.secrets import SecretSources
from recorderd.config.servers import read_exports, read_http, read_rtsp, read_stream
from recorderd.config.table import Table
from recorderd.core.errors import UsageError
from recorderd.core.timerange import DAY_US, MINUTE_US, SECOND_US
from recorderd.driverapi.info import DriverInfo

_SINGLE = ("server", "http", "stream", "rtsp", "exports")
_SECTIONS = (*_SINGLE, "storage", "hardware")
_PLANNED_SECTIONS = frozenset({"https", "identity", "rules", "archive", "interconnect", "failover"})
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class StorageFindings:
    """What looking at a storage's folder told; the message is put at that storage's `path`."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


StorageInspector = Callable[[StorageConfig, ServerConfig], StorageFindings]


def look_nowhere(storage: StorageConfig, server: ServerConfig) -> StorageFindings:
    """The inspector of the running daemon: there a bad storage is a state with an event, not a refused start."""
    return StorageFindings()


@dataclass(frozen=True, slots=True)
class LoadResult:
    """`config` is None when there are errors."""

    config: Config | None
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]


@dataclass(slots=True)
class _Parts:
    """Raw tables of all files, in reading order, with their places."""

    single: dict[str, dict[str, Any]]
    places: dict[str, Place]
    lists: dict[str, list[tuple[Place, Mapping[str, Any]]]]


def load(
    path: Path,
    drivers: Mapping[str, DriverInfo],
    inspect_storage: StorageInspector,
    environ: Mapping[str, str] = os.environ,
    checking: bool = False,
) -> LoadResult:
    """Read `path` and `conf.d/*.toml` beside it. `checking`: outside the service, where systemd credentials and
    environment secrets may be absent (a warning then, not an error). Never raises for what a file says."""
    findings = Findings()
    parts = _Parts({}, {}, {"storage": [], "hardware": []})
    for file in (path, *_extra_files(path)):
        _gather(file, path, parts, findings)
    server = _server(_single("server", path, parts, findings))
    http = read_http(_single("http", path, parts, findings))
    stream = read_stream(_single("stream", path, parts, findings)) if "stream" in parts.single else None
    rtsp = read_rtsp(_single("rtsp", path, parts, findings)) if "rtsp" in parts.single else None
    exports = read_exports(_single("exports", path, parts, findings))
    storages = [(place, _storage(raw, place, findings)) for place, raw in parts.lists["storage"]]
    around = Surroundings(drivers, tuple(storage.name for _, storage in storages), SecretSources(environ, checking))
    hardware = [(place, read_hardware(raw, place, findings, around)) for place, raw in parts.lists["hardware"]]
    check_unique(storages, hardware, findings)
    _check_storages(storages, server, inspect_storage, findings)
    check_kept(storages, hardware, findings)
    config = Config(
        server, http, stream, rtsp, exports, tuple(one for _, one in storages), tuple(one for _, one in hardware)
    )
    return _result(config, findings)


def _result(config: Config, findings: Findings) -> LoadResult:
    usable = None if findings.errors else config
    return LoadResult(usable, tuple(findings.errors), tuple(findings.warnings))


def _extra_files(path: Path) -> list[Path]:
    return sorted((path.parent / "conf.d").glob("*.toml"))


def _gather(file: Path, main: Path, parts: _Parts, findings: Findings) -> None:
    """Parse one file and sort its tables by section."""
    place = Place("" if file == main else f"conf.d/{file.name}")
    try:
        raw = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        findings.error(Place(str(file)), f"cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        findings.error(Place(str(file)), "is not UTF-8 text")
        return
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        findings.error(Place(str(file)), f"is not valid TOML: {error}")
        return
    table = Table(raw, place, findings, _PLANNED_SECTIONS)
    for name in _SINGLE:
        found = table.value(name, dict, {})
        if name in raw and isinstance(raw[name], dict):
            _merge(name, found, place, parts, findings)
    for name in ("storage", "hardware"):
        parts.lists[name] += table.tables(name)
    for name in _PLANNED_SECTIONS & raw.keys():
        findings.error(place / name, f"[{name}] is not built yet in this version: leave it out")
    for name in raw.keys() - _PLANNED_SECTIONS - set(_SECTIONS):
        findings.error(place / name, f"unknown section{did_you_mean(name, _SECTIONS)}")


def _merge(name: str, found: Mapping[str, Any], place: Place, parts: _Parts, findings: Findings) -> None:
    merged = parts.single.setdefault(name, {})
    parts.places.setdefault(name, place / name)
    for key, value in found.items():
        if key in merged:
            findings.error(place / name / key, "is already set in another file: keep one")
        merged.setdefault(key, value)


def _single(name: str, path: Path, parts: _Parts, findings: Findings) -> Table:
    return Table(parts.single.get(name, {}), parts.places.get(name, Place("", name)), findings)


def _server(table: Table) -> ServerConfig:
    default = ServerConfig()
    server = ServerConfig(
        name=table.value("name", str, default.name),
        data_dir=table.absolute("data_dir", default.data_dir),
        time_zone=table.parsed("time_zone", _time_zone, default.time_zone),
        loop=table.choice("loop", ("asyncio", "uvloop"), default.loop),
        log_level=table.choice("log_level", ("debug", "info", "warning", "error"), default.log_level),
        event_retention_us=table.duration_us("event_retention", default.event_retention_us, low=DAY_US),
        memory_bytes=table.optional_size("memory", low=64 * _MIB),
        id=table.identity(),
    )
    if not server.name or not server.name.isprintable():
        table.error("name", "must be printable and not empty")
    table.finish()
    return server


def _time_zone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise UsageError(f"unknown time zone {text!r}: write it like 'Europe/Copenhagen' or 'UTC'") from None
    return text


def _storage(raw: Mapping[str, Any], place: Place, findings: Findings) -> StorageConfig:
    table = Table(raw, place, findings)
    table.required("path")
    storage = StorageConfig(
        name=folder_name(table, "name"),
        path=table.absolute("path", Path("/")) if isinstance(raw.get("path"), str) and raw["path"] else Path("/"),
        retention_us=table.optional_duration_us("retention", low=MINUTE_US),
        max_size_bytes=table.optional_size("max_size", low=64 * _MIB),
        commit_us=table.duration_us("commit", SECOND_US, low=SECOND_US // 4, high=5 * SECOND_US),
        segment_us=table.duration_us("segment", 5 * MINUTE_US, low=10 * SECOND_US, high=60 * MINUTE_US),
        memory_bytes=table.optional_size("memory", low=16 * _MIB),
        ledger_us=table.duration_us("ledger_retention", 400 * DAY_US, low=DAY_US, high=36_500 * DAY_US),
        id=table.identity(),
        fallback=table.value("fallback", str, ""),
    )
    if storage.retention_us is None and storage.max_size_bytes is None:
        findings.warn(place, "has neither retention nor max_size: the oldest footage goes only when the disk is full")
    table.finish()
    return storage


def _check_storages(
    storages: list[tuple[Place, StorageConfig]], server: ServerConfig, inspect: StorageInspector, findings: Findings
) -> None:
    """Folders inside each other, who stands in for whom, and what the inspector sees on disk."""
    check_fallbacks(storages, findings)
    mounts = mounts_here()
    real = [real_place(storage.path, mounts) for _, storage in storages]
    for index, (place, storage) in enumerate(storages):
        if storage.path == Path("/"):
            continue  # missing or wrong: already reported
        for other, (_, earlier) in enumerate(storages[:index]):
            if earlier.path == Path("/"):
                continue
            if real[index].same(real[other]):
                text = f"is the same folder as storage {earlier.name!r} ({earlier.path}): give each its own"
                findings.error(place / "path", text)
            elif real[index].nested(real[other]):
                text = f"and {earlier.path} of storage {earlier.name!r} lie inside each other: give each its own folder"
                findings.error(place / "path", text)
        seen = inspect(storage, server)
        for message in seen.errors:
            findings.error(place / "path", message)
        for message in seen.warnings:
            findings.warn(place / "path", message)
