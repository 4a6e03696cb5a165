"""A disk in memory that writes down every write and every flush, in order: a plug-in of nbdkit.

Keys: `bytes` (size of the disk), `log` (file). A record of the log: u8 kind (1 write, 2 flush), u64 offset, u32 length,
the bytes; little-endian. A record is in the file before its request is answered.
"""

from __future__ import annotations

import os
import struct

import nbdkit  # type: ignore[import-not-found] # only inside nbdkit

API_VERSION = 2
RECORD = struct.Struct("<BQI")
settings: dict[str, str] = {}
disk = bytearray()
log = -1


def config(key: str, value: str) -> None:
    settings[key] = value


def config_complete() -> None:
    global log
    disk.extend(bytes(int(settings["bytes"])))
    log = os.open(settings["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)


def thread_model() -> int:
    return int(nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS)


def open(readonly: bool) -> int:
    return 1


def get_size(handle: int) -> int:
    return len(disk)


def can_flush(handle: int) -> bool:
    return True


def pread(handle: int, buffer: bytearray, offset: int, flags: int) -> None:
    buffer[:] = disk[offset : offset + len(buffer)]


def pwrite(handle: int, buffer: bytes, offset: int, flags: int) -> None:
    os.writev(log, [RECORD.pack(1, offset, len(buffer)), buffer])
    disk[offset : offset + len(buffer)] = buffer


def flush(handle: int, flags: int) -> None:
    os.write(log, RECORD.pack(2, 0, 0))
