"""The JSON records inside CONFIG, GAP and MARK chunks and in ledger and footer.

Law: values to canonical JSON bytes and back (keys sorted, no spaces, UTF-8); hashes are always over bytes as stored.
UUIDs are text, runs 16 hex digits, bytes base64, times integer microseconds UTC.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import Any, Final

from mediadb.errors import FormatError
from mediadb.types import Cause, Names, State, TrackConfig, TrackKind, TrackSpec

Record = dict[str, Any]
_CONFIG_NUMBERS: Final = ("timebase_hz", "width", "height", "sample_rate", "channels", "frame_ticks")


def dump_record(record: Record) -> bytes:
    """Canonical JSON bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def load_record(raw: bytes | memoryview) -> Record:
    """Raise FormatError when the bytes are not a JSON object."""
    try:
        record = json.loads(bytes(raw))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"record is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise FormatError("record is not an object")
    return record


def run_text(run: int) -> str:
    """A run as 16 hex digits."""
    return f"{run:016x}"


def encode_spec(spec: TrackSpec) -> Record:
    return {
        "track": str(spec.track),
        "camera": str(spec.camera),
        "hardware": str(spec.hardware),
        "kind": int(spec.kind),
        "stream": spec.stream,
    }


def decode_spec(record: Record) -> TrackSpec:
    """Raise FormatError when a field is missing or wrong."""
    try:
        return TrackSpec(
            track=uuid.UUID(record["track"]),
            camera=uuid.UUID(record["camera"]),
            hardware=uuid.UUID(record["hardware"]),
            kind=TrackKind(record["kind"]),
            stream=str(record["stream"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"track record is wrong: {error!r}") from None


def encode_names(names: Names) -> Record:
    return {"camera": names.camera, "hardware": names.hardware}


def decode_names(record: Record) -> Names:
    return Names(camera=str(record.get("camera", "")), hardware=str(record.get("hardware", "")))


def encode_config(spec: TrackSpec, config: TrackConfig) -> bytes:
    """The CONFIG record: identity and coding of a track. Equal values give equal bytes, in every segment and run."""
    record = encode_spec(spec)
    record["codec"] = config.codec
    record["codec_string"] = config.codec_string
    record["sample_entry"] = base64.b64encode(config.sample_entry).decode()
    record.update({name: getattr(config, name) for name in _CONFIG_NUMBERS})
    return dump_record(record)


def decode_config(raw: bytes | memoryview) -> tuple[TrackSpec, TrackConfig]:
    """Raise FormatError when a field is missing or wrong."""
    record = load_record(raw)
    spec = decode_spec(record)
    try:
        numbers = {name: int(record[name]) for name in _CONFIG_NUMBERS}
        config = TrackConfig(
            codec=str(record["codec"]),
            codec_string=str(record["codec_string"]),
            sample_entry=base64.b64decode(record["sample_entry"], validate=True),
            **numbers,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(f"CONFIG record is wrong: {error!r}") from None
    return spec, config


def config_hash(raw: bytes) -> bytes:
    """SHA-256 over the CONFIG record (without salt): what every chunk of that coding names."""
    return hashlib.sha256(raw).digest()


def encode_cause(cause: Cause) -> Record:
    return {"state": cause.state.value, "reason": cause.reason, "params": cause.params}


def decode_cause(record: Record) -> Cause:
    """An unknown state of a later program reads as UNEXPLAINED with the word kept in its parameters."""
    word = str(record.get("state", ""))
    params = record.get("params")
    known = dict(params) if isinstance(params, dict) else {}
    try:
        return Cause(State(word), str(record.get("reason", "")), known)
    except ValueError:
        return Cause(State.UNEXPLAINED, str(record.get("reason", "")), {**known, "unknown_state": word})


def encode_gap(start_us: int, end_us: int, cause: Cause) -> bytes:
    """The record of a GAP chunk."""
    return dump_record({"start_us": start_us, "end_us": end_us, **encode_cause(cause)})


def decode_gap(raw: bytes | memoryview) -> tuple[int, int, Cause]:
    record = load_record(raw)
    try:
        return int(record["start_us"]), int(record["end_us"]), decode_cause(record)
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(f"GAP record is wrong: {error!r}") from None


def encode_mark(time_us: int, code: str, params: dict[str, object]) -> bytes:
    """The record of a MARK chunk."""
    return dump_record({"time_us": time_us, "code": code, "params": params})


def decode_mark(raw: bytes | memoryview) -> tuple[int, str, Record]:
    record = load_record(raw)
    try:
        return int(record["time_us"]), str(record["code"]), dict(record["params"])
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(f"MARK record is wrong: {error!r}") from None
