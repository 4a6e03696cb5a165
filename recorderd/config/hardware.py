"""[[hardware]]: one device at one address, in short form (it is its own camera) or long form (with cameras).

Law: checks what can be known without the device: driver, address scheme, login, cameras, streams, and the
driver's own settings against its settings type. Drivers are handed in as DriverInfo; none is loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from recorderd.config.findings import Findings, Place, did_you_mean
from recorderd.config.names import label
from recorderd.config.retention import read_kept
from recorderd.config.schema import CameraConfig, HardwareConfig, StreamConfig
from recorderd.config.secrets import SecretSources, read_secret
from recorderd.config.settings import read_settings
from recorderd.config.table import Table
from recorderd.core.errors import UsageError
from recorderd.core.timerange import MINUTE_US
from recorderd.driverapi.info import API_VERSION, DriverInfo

_RECORD = ("always", "never")
_ROLES = ("main", "sub")
_CAMERA_KEYS = ("storage", "record", "prebuffer", "audio", "metadata", "retention", "max_size")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a hardware table is checked against."""

    drivers: Mapping[str, DriverInfo]
    storages: tuple[str, ...]
    secrets: SecretSources


def read_hardware(raw: Mapping[str, Any], place: Place, findings: Findings, around: Surroundings) -> HardwareConfig:
    """One [[hardware]] item; findings are recorded, the value is then only good for further checks."""
    table = Table(raw, place, findings)
    name = label(table, "name")
    driver = table.required("driver")
    info = around.drivers.get(driver)
    if driver and info is None:
        known = ", ".join(sorted(around.drivers)) or "none is installed"
        table.error("driver", f"unknown driver {driver!r}{did_you_mean(driver, around.drivers)} (known: {known})")
    if info is not None and info.api_version != API_VERSION:
        table.error("driver", f"{driver!r} speaks driver API {info.api_version}, this version {API_VERSION}: update it")
        info = None
    address, settings = _address(table, info), _settings(table, info)
    _check_together(table, address, settings)
    hardware = HardwareConfig(
        name=name,
        driver=driver,
        address=address,
        username=table.value("username", str, "") or None,
        password=read_secret(table, "password", around.secrets),
        settings=settings,
        cameras=_cameras(table, name, around, _setting_names(info)),
        id=table.identity(),
    )
    if info is not None:  # with an unknown driver every setting of it would be reported as unknown too
        table.finish()
    return hardware


def _settings(table: Table, info: DriverInfo | None) -> Any:
    return None if info is None else read_settings(table, info)


def _check_together(table: Table, address: str, settings: Any) -> None:
    """What the driver says about its settings and this address."""
    check = getattr(settings, "check_address", None)
    if check is None or not address:
        return
    try:
        check(address)
    except UsageError as error:
        table.error(str(error.params.get("key", "address")), error.message)


def _setting_names(info: DriverInfo | None) -> frozenset[str]:
    return frozenset() if info is None else frozenset(field.name for field in dataclasses.fields(info.settings))


def _address(table: Table, info: DriverInfo | None) -> str:
    """A URL of one of the driver's schemes. Never quoted in a finding: it may hold a password."""
    text = table.required("address")
    if not text:
        return ""
    try:
        url = urlsplit(text)
        port_ok = url.port != 0
    except ValueError:
        table.error("address", "is not a valid URL: write it like rtsp://192.0.2.10/stream1")
        return ""
    if "@" in url.netloc:
        table.error("address", "must not contain a login: use the keys username and password")
        return ""
    if not url.scheme or not port_ok or not text.isprintable() or " " in text or (url.netloc and not url.hostname):
        table.error("address", "is not a valid URL: write it like rtsp://192.0.2.10/stream1")
    elif info is not None and url.scheme not in info.schemes:
        schemes = ", ".join(f"{scheme}://" for scheme in info.schemes)
        table.error("address", f"driver {info.id!r} takes {schemes}, not {url.scheme}://")
    return text


def _cameras(table: Table, name: str, around: Surroundings, settings: frozenset[str]) -> tuple[CameraConfig, ...]:
    items = table.tables("camera")
    if not items:
        return (_camera(table, name, around),)
    for key in _CAMERA_KEYS:
        if table.has(key) and key not in settings:
            table.value(key, type(table.raw[key]), None)
            table.error(key, "belongs into each [[hardware.camera]] once there is one")
    cameras = []
    for place, raw in items:
        inner = Table(raw, place, table.findings)
        cameras.append(_camera(inner, label(inner, "name"), around, long=True))
        inner.finish()
    channels: dict[int, int] = {}
    for index, camera in enumerate(cameras):
        first = channels.setdefault(camera.channel, index)
        if first != index:
            table.error(
                f"camera[{index}].channel",
                f"channel {camera.channel} is already camera[{first}]: a channel is one camera, give each its own",
            )
    return tuple(cameras)


def _camera(table: Table, name: str, around: Surroundings, long: bool = False) -> CameraConfig:
    channel = table.value("channel", int, 0) if long else 0
    if not 0 <= channel < 1024:
        table.error("channel", "must lie between 0 and 1023")
    kept = read_kept(table)
    return CameraConfig(
        name=name,
        channel=channel,
        storage=_storage(table, around.storages),
        record=table.choice("record", _RECORD, "always"),
        prebuffer_us=table.duration_us("prebuffer", 5_000_000, high=MINUTE_US),
        audio=table.value("audio", bool, True),
        metadata=table.value("metadata", bool, True),
        streams=_streams(table) if long else (StreamConfig(),),
        id=table.identity() if long else None,
        retention_us=kept.max_us,
        retention_min_us=kept.min_us,
        max_size_bytes=kept.max_bytes,
    )


def _storage(table: Table, storages: tuple[str, ...]) -> str:
    """The named storage, or the only one there is."""
    name = table.value("storage", str, "")
    if not table.has("storage"):
        if len(storages) == 1:
            return storages[0]
        table.error("storage", "is missing" if storages else "is missing: add a [[storage]] first")
    elif isinstance(table.raw["storage"], str) and name not in storages:
        table.error("storage", f"there is no storage {name!r}{did_you_mean(name, storages)}")
    return name


def _streams(table: Table) -> tuple[StreamConfig, ...]:
    streams: list[StreamConfig] = []
    for place, raw in table.tables("stream"):
        inner = Table(raw, place, table.findings)
        role = inner.choice("role", _ROLES, "main")
        if any(stream.role == role for stream in streams):
            inner.error("role", f"{role!r} is there twice: one stream per role")
        streams.append(StreamConfig(role, inner.parsed("path", _path, ""), inner.value("record", bool, True)))
        inner.finish()
    if streams and all(stream.role != "main" for stream in streams):
        table.error("stream", 'needs one with role = "main"')
    return tuple(streams) or (StreamConfig(),)


def _path(text: str) -> str:
    if not text.startswith(("/", "?")) or not text.isprintable() or " " in text or "#" in text:
        raise UsageError("must be path and query of the stream, like '/stream2' or '?stream=sub'")
    return text
