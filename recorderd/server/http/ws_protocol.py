"""The words of the WebSocket: commands in, replies and pushes out, and the head of media messages.

Law: pure; docs/api/websocket.md describes exactly this, and a test compares the two. Called by `ws_session`.

A command is a map with `id` (the client's own number, comes back in the reply) and `cmd`; as text it is JSON, as a
binary message it is msgpack, and everything that is not media goes back in the form the client used last. Media goes
out as binary messages that begin with `MEDIA_MAGIC`, which no msgpack map begins with.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no type information

from recorderd.core.errors import UsageError

PROTOCOL_VERSION = 1
MAX_COMMAND_BYTES = 16 * 1024
MEDIA_MAGIC = 0x01
MEDIA_HEAD = struct.Struct(">BBHIIQ")
"""u8 magic 1, u8 type, u16 flags, u32 subscription, u32 sequence, u64 recorder UTC in microseconds: 20 bytes."""


class MediaType(enum.IntEnum):
    """What follows the head of a media message."""

    INIT = 1  # ftyp and moov: feed it before what follows; comes again when the coding changes
    VIDEO = 2  # moof and mdat with one picture
    AUDIO = 3  # moof and mdat with one audio frame


class MediaFlag(enum.IntFlag):
    KEY = 1  # a decoder may start here
    DISCONTINUITY = 2  # media time broke off before this one; movie time goes on
    SKIPPED = 4  # fragments before this one were left out because the reader was slow
    PREROLL = 8  # recorded: needed to decode what follows, not to be shown


class Encoding(enum.Enum):
    JSON = "json"
    MSGPACK = "msgpack"


@dataclass(frozen=True, slots=True)
class Command:
    """One checked command of a client."""

    id: int
    name: str
    params: Mapping[str, Any]


def decode_command(data: str | bytes) -> Command:
    """Raises UsageError for anything but a map with a whole `id` and a text `cmd`."""
    if len(data) > MAX_COMMAND_BYTES:
        raise UsageError(f"a command is at most {MAX_COMMAND_BYTES} bytes")
    try:
        text = isinstance(data, str)
        value = json.loads(data) if text else msgpack.unpackb(data, raw=False, strict_map_key=True)
        json.dumps(value, ensure_ascii=False, default=str).encode()  # a lone surrogate could never be sent back
    except Exception as error:  # msgpack and json raise several unrelated types on hostile bytes
        raise UsageError(f"the command is neither JSON text nor binary msgpack: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("cmd"), str):
        raise UsageError("a command is a map with `id` and `cmd`")
    number = value.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**32:
        raise UsageError("a command needs `id`: a whole number from 0 to 4294967295")
    return Command(number, value["cmd"], {key: item for key, item in value.items() if key not in ("id", "cmd")})


def encode_message(value: Mapping[str, Any], encoding: Encoding) -> str | bytes:
    """A reply or push in the client's own form."""
    if encoding is Encoding.JSON:
        return json.dumps(value, default=str, separators=(",", ":"), ensure_ascii=False)
    packed: bytes = msgpack.packb(value, use_bin_type=True, default=str)
    return packed


def media_head(kind: int, flags: int, subscription: int, sequence: int, recv_us: int) -> bytes:
    """The 20 bytes in front of media."""
    return MEDIA_HEAD.pack(MEDIA_MAGIC, kind, flags, subscription, sequence & 0xFFFFFFFF, recv_us)


def text_param(params: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = params.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise UsageError(f"`{name}` must be a text of 1 to 256 characters")
    return value


def flag_param(params: Mapping[str, Any], name: str, default: bool) -> bool:
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise UsageError(f"`{name}` must be true or false")
    return value


def count_param(params: Mapping[str, Any], name: str, default: int | None, low: int, high: int) -> int:
    value = params.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"`{name}` must be a whole number from {low} to {high}")
    return value


def speed_param(params: Mapping[str, Any], default: float | None = None) -> float:
    value = params.get("speed", default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not -16 <= value <= 16:
        raise UsageError("`speed` must be a number from -16 to 16; 0 pauses")
    return float(value)


def choice_param(params: Mapping[str, Any], name: str, default: str, known: tuple[str, ...]) -> str:
    value = params.get(name, default)
    if value not in known:
        raise UsageError(f"`{name}` must be one of: {', '.join(known)}")
    return str(value)


def names_param(params: Mapping[str, Any], name: str, highest: int) -> list[str]:
    """A list of texts without repeats; [] when absent."""
    value = params.get(name, [])
    if not isinstance(value, list) or len(value) > highest or not all(isinstance(one, str) for one in value):
        raise UsageError(f"`{name}` must be a list of at most {highest} texts")
    return list(dict.fromkeys(value))
