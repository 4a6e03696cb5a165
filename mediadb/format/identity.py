"""Who a volume and a log are: the VOLUME file and the two slots of the LOG file.

Law: bytes to values and back, nothing else. `mediadb.locks` reads and writes the files; the reader and the tools
decode them through here.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import Final

from mediadb.errors import FormatError, UnsupportedVersion
from mediadb.format.checksum import crc32
from mediadb.format.constants import BLOCK_ALIGN, MAGIC_LOG, MAGIC_VOLUME, VERSION

# magic, version, zero, zero, volume, created_us, zero, crc
VOLUME_STRUCT: Final = struct.Struct("<8sHHI16sq20sI")
VOLUME_FIELDS: Final = ("magic", "version", "zero", "zero", "volume", "created_us", "zero", "crc")
VOLUME_BYTES: Final = VOLUME_STRUCT.size

# magic, version, zero, zero, generation, volume, log, owner, epoch, zero, run, changed_us, zero, crc
LOG_STRUCT: Final = struct.Struct("<8sHHIQ16s16s16sIIQq28sI")
LOG_FIELDS: Final = (
    "magic", "version", "zero", "zero", "generation", "volume", "log", "owner", "epoch", "zero", "run",
    "changed_us", "zero", "crc",
)  # fmt: skip
LOG_SLOT_BYTES: Final = LOG_STRUCT.size
LOG_SLOT_OFFSETS: Final = (0, BLOCK_ALIGN)  # two pages: writing one never touches the other
MAX_GENERATION: Final = 1 << 62
MAX_EPOCH: Final = (1 << 32) - 2
MAX_TIME_US: Final = 253_402_300_799_000_000  # the last second of the year 9999
LOG_FILE_BYTES: Final = 2 * BLOCK_ALIGN


@dataclass(frozen=True, slots=True)
class VolumeIdentity:
    """The VOLUME file: one random UUID, made once."""

    volume: uuid.UUID
    created_us: int


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """One slot of LOG. The slot with the higher `generation` that verifies is the truth."""

    generation: int
    volume: uuid.UUID
    log: uuid.UUID
    owner: uuid.UUID
    epoch: int
    run: int
    changed_us: int


def encode_volume(identity: VolumeIdentity) -> bytes:
    """The whole VOLUME file, 64 bytes."""
    raw = VOLUME_STRUCT.pack(MAGIC_VOLUME, VERSION, 0, 0, identity.volume.bytes, identity.created_us, bytes(20), 0)
    return raw[:-4] + struct.pack("<I", crc32(raw[:-4]))


def decode_volume(raw: bytes) -> VolumeIdentity:
    """Raise FormatError when damaged, UnsupportedVersion when made by a later program."""
    if len(raw) < VOLUME_BYTES:
        raise FormatError("VOLUME is too short; restore it from a backup of this volume")
    magic, version, _, _, volume, created_us, _, crc = VOLUME_STRUCT.unpack_from(raw)
    if magic != MAGIC_VOLUME or crc != crc32(raw[: VOLUME_BYTES - 4]):
        raise FormatError("VOLUME does not verify; restore it from a backup of this volume")
    _check_version("VOLUME", version)
    return VolumeIdentity(uuid.UUID(bytes=volume), created_us)


def encode_log_slot(identity: LogIdentity) -> bytes:
    """One slot, 128 bytes."""
    raw = LOG_STRUCT.pack(
        MAGIC_LOG, VERSION, 0, 0, identity.generation, identity.volume.bytes, identity.log.bytes,
        identity.owner.bytes, identity.epoch, 0, identity.run, identity.changed_us, bytes(28), 0,
    )  # fmt: skip
    return raw[:-4] + struct.pack("<I", crc32(raw[:-4]))


def decode_log_slot(raw: bytes) -> LogIdentity | None:
    """The slot, or None when it does not verify (never written, or torn)."""
    if len(raw) < LOG_SLOT_BYTES:
        return None
    fields = LOG_STRUCT.unpack_from(raw)
    if fields[0] != MAGIC_LOG or fields[-1] != crc32(raw[: LOG_SLOT_BYTES - 4]):
        return None
    _check_version("LOG", fields[1])
    if fields[4] >= MAX_GENERATION or fields[8] >= MAX_EPOCH or not 0 <= fields[11] <= MAX_TIME_US:
        return None  # no program wrote these: to count on from them would leave the format
    return LogIdentity(
        generation=fields[4],
        volume=uuid.UUID(bytes=fields[5]),
        log=uuid.UUID(bytes=fields[6]),
        owner=uuid.UUID(bytes=fields[7]),
        epoch=fields[8],
        run=fields[10],
        changed_us=fields[11],
    )


def decode_log(raw: bytes) -> tuple[LogIdentity | None, int]:
    """The newest slot of a LOG file that verifies, and the index of the slot to write next."""
    slots = [decode_log_slot(raw[offset : offset + LOG_SLOT_BYTES]) for offset in LOG_SLOT_OFFSETS]
    newest = max((slot for slot in slots if slot), key=lambda slot: slot.generation, default=None)
    if newest is None:
        return None, 0
    return newest, 1 - slots.index(newest)


def _check_version(what: str, version: int) -> None:
    if version != VERSION:
        raise UnsupportedVersion(f"{what} has format version {version}; this program knows {VERSION}")
