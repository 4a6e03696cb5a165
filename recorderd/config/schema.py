"""The configuration as values: what `load` produces and everything else reads.

Law: frozen dataclasses with every default filled in; durations in microseconds, sizes in bytes. No parsing here
(`load`), no comparing (`diff`). Field names equal the keys of the file except for the unit suffix.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorderd.core.secret import Secret
from recorderd.core.timerange import DAY_US, MINUTE_US, SECOND_US


@dataclass(frozen=True, slots=True)
class ServerConfig:
    name: str = "recorderd"
    data_dir: Path = Path("/var/lib/recorderd")
    time_zone: str = "UTC"
    loop: str = "asyncio"  # asyncio | uvloop (when installed)
    log_level: str = "info"  # debug | info | warning | error
    event_retention_us: int = 90 * DAY_US
    memory_bytes: int | None = None  # what may wait for slow disks before GOPs are shed; None: by what the machine has
    id: uuid.UUID | None = None  # to take over the storages of a server whose state was lost


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`listen` is host, port (loopback only); port 0 takes a free one. `socket` None means data_dir/api.sock."""

    listen: tuple[str, int] = ("127.0.0.1", 8080)
    socket: Path | None = None


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """A further server: `listen` is host, port (loopback only until there is identity); port 0 takes a free one."""

    listen: tuple[str, int]


@dataclass(frozen=True, slots=True)
class RtspConfig(ListenConfig):
    """`udp_ports`: first and last port that UDP viewers are served from; (0, 0): what the system gives."""

    udp_ports: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class ExportsConfig:
    """`folder` None means data_dir/exports; finished exports stay `keep_us`, `reserve_bytes` are left free there."""

    folder: Path | None = None
    keep_us: int = 7 * DAY_US
    reserve_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class StorageConfig:
    name: str
    path: Path
    retention_us: int | None = None
    max_size_bytes: int | None = None
    commit_us: int = SECOND_US  # how much recorded time one commit holds: 250 ms .. 5 s
    segment_us: int = 5 * MINUTE_US
    memory_bytes: int | None = None  # what may wait for this disk alone; None: as much as for all (ServerConfig)
    id: uuid.UUID | None = None
    ledger_us: int = 400 * DAY_US  # how much further back than its footage the ledger explains
    fallback: str = ""  # the storage that stands in while this one takes nothing


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """One encoding of a camera. `path` replaces path and query of the hardware's address when given."""

    role: str = "main"
    path: str = ""
    record: bool = True


@dataclass(frozen=True, slots=True)
class CameraConfig:
    name: str
    channel: int = 0
    storage: str = ""
    record: str = "always"  # always | never (motion, event, schedule: refused as not built yet)
    prebuffer_us: int = 5 * SECOND_US
    audio: bool = True
    metadata: bool = True  # record what the camera's analytics say, when the stream has it
    streams: tuple[StreamConfig, ...] = (StreamConfig(),)
    id: uuid.UUID | None = None
    retention_us: int | None = None  # older footage goes; None: as the storage has it
    retention_min_us: int = 0  # younger footage stays, whatever else asks for room
    max_size_bytes: int | None = None

    @property
    def has_limits(self) -> bool:
        """Does it keep its footage otherwise than its storage?"""
        return self.retention_us is not None or bool(self.retention_min_us) or self.max_size_bytes is not None


@dataclass(frozen=True, slots=True)
class HardwareConfig:
    """One device at one address with one login. `settings` is an instance of the driver's settings type."""

    name: str
    driver: str
    address: str  # URL without user info
    username: str | None = None
    password: Secret | None = None
    settings: Any = None
    cameras: tuple[CameraConfig, ...] = ()
    id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Config:
    server: ServerConfig = field(default_factory=ServerConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    stream: ListenConfig | None = None  # the TCP stream API; None: off
    rtsp: RtspConfig | None = None  # RTSP for players; None: off
    exports: ExportsConfig = field(default_factory=ExportsConfig)
    storages: tuple[StorageConfig, ...] = ()
    hardware: tuple[HardwareConfig, ...] = ()
