"""Heads of media messages: packed once, whoever gets them.

Law: pure but for what it remembers. A live unit's head is packed when its first viewer needs it and serves all others;
a coding has one number for as long as the server runs. Loop thread only. Called by the subscriptions.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from mediadb.format.constants import NO_SEQ, NO_TIME
from mediadb.read.reader import StoredChunk
from mediadb.types import ChunkFlag, KeyType, Kind, TrackConfig, TrackKind
from recorderd.engine.sample_entry import UnusableConfig, track_config
from recorderd.engine.stream import track_id
from recorderd.media.access_unit import AccessUnit, CodecConfig, MediaKind, UnitType
from recorderd.server.stream_tcp.limits import MAX_CAUSES, MAX_CAUSES_BYTES
from recorderd.services.playback.types import Cursor, Frame, Hole
from recorderd.wire.stream.codec import frame, pack
from recorderd.wire.stream.messages import Type, UnitFlag

_CODINGS: Final = 4_096
_LIVE_UNITS: Final = 32  # heads of one stream kept for viewers that are a little behind
_KINDS: Final = {MediaKind.VIDEO: TrackKind.VIDEO, MediaKind.AUDIO: TrackKind.AUDIO,
                 MediaKind.METADATA: TrackKind.METADATA}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coding:
    """A coding of a track: its number, and its `config` message."""

    number: int
    head: bytes
    sample_entry: bytes
    timebase_hz: int


class Codings:
    """Numbers of codings. A number never means anything else; what was forgotten gets a new one."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[uuid.UUID, TrackConfig], Coding] = OrderedDict()
        self._last = 0

    def of(self, track: uuid.UUID, kind: TrackKind, stream: str, config: TrackConfig) -> Coding:
        key = track, config
        coding = self._known.get(key)
        if coding is None:
            self._last += 1
            head = {
                "config": self._last, "track": str(track), "stream": stream, "kind": kind.name.lower(),
                "codec": config.codec, "codec_string": config.codec_string, "timebase_hz": config.timebase_hz,
                "width": config.width, "height": config.height, "sample_rate": config.sample_rate,
                "channels": config.channels, "frame_ticks": config.frame_ticks,
            }  # fmt: skip
            coding = self._known[key] = Coding(self._last, pack(head), config.sample_entry, config.timebase_hz)
            if len(self._known) > _CODINGS:
                self._known.popitem(last=False)
        return coding


class LiveHead:
    """The head of one live unit; `front` is what goes out before its payload, `size` what it takes of the credit."""

    __slots__ = ("_fronts", "_packed", "coding", "flags", "size")

    def __init__(self, packed: bytes, coding: Coding, flags: int, payload_bytes: int) -> None:
        self._packed, self.coding, self.flags = packed, coding, flags
        self.size = len(packed) + payload_bytes
        self._fronts: dict[int, bytes] = {}  # by subscription: most viewers use the same number

    def front(self, number: int) -> bytes:
        """The 16 bytes and the head, for the viewer whose subscription is `number`."""
        made = self._fronts.get(number)
        if made is None:
            made = self._fronts[number] = self._make(number, self.flags)
        return made

    def front_after_skip(self, number: int) -> bytes:
        """The same for a viewer that missed what came before."""
        return self._make(number, self.flags | UnitFlag.SKIPPED)

    def _make(self, number: int, flags: int) -> bytes:
        packed = self._packed
        return frame(Type.UNIT, number, packed, self.size - len(packed), flags) + packed


class LiveHeads:
    """Heads of the units of one stream, shared by its viewers."""

    def __init__(self, codings: Codings, camera: uuid.UUID, role: str) -> None:
        self._codings, self._camera, self._role = codings, camera, role
        self._heads: OrderedDict[int, tuple[AccessUnit, LiveHead | None]] = OrderedDict()
        self._newest: dict[MediaKind, tuple[CodecConfig, Coding | None]] = {}

    def of(self, kind: MediaKind, unit: AccessUnit) -> LiveHead | None:
        """None for a unit that nobody can decode: its parameter sets are broken."""
        held = self._heads.get(id(unit))
        if held is not None:
            return held[1]
        made = self._make(kind, unit)
        self._heads[id(unit)] = unit, made  # holding the unit keeps its id its own
        if len(self._heads) > _LIVE_UNITS:
            self._heads.popitem(last=False)
        return made

    def _make(self, kind: MediaKind, unit: AccessUnit) -> LiveHead | None:
        known = self._newest.get(kind)
        if known is None or known[0] is not unit.config:
            known = self._newest[kind] = unit.config, self._coding(kind, unit.config)
        coding = known[1]
        if coding is None:
            return None
        head: dict[str, Any] = {
            "kind": str(kind), "cfg": coding.number, "pts": unit.pts, "dts": unit.dts, "type": int(unit.type),
            "recv_us": unit.recv_us,
            "time_us": unit.recv_us + (unit.pts - unit.dts) * 1_000_000 // (coding.timebase_hz or 1),
        }  # fmt: skip
        if unit.cam_us is not None:
            head |= {"cam_us": unit.cam_us, "cam_q": int(unit.cam_quality)}
        if unit.lost_packets:
            head["lost"] = unit.lost_packets
        flags = _flags(unit.type > UnitType.DELTA, unit.discontinuity, unit.damaged)
        return LiveHead(pack(head), coding, flags, len(unit.data))

    def _coding(self, kind: MediaKind, config: CodecConfig) -> Coding | None:
        try:
            stored = track_config(config)
        except UnusableConfig:
            return None
        track = _KINDS[kind]
        return self._codings.of(track_id(self._camera, self._role, track), track, self._role, stored)


def unit_head(played: Frame, cfg: int) -> tuple[bytes, int]:
    """(packed head, flags) of a recorded unit."""
    sample = played.sample
    head: dict[str, Any] = {
        "kind": played.kind.name.lower(), "cfg": cfg, "pts": sample.pts, "dts": sample.dts, "type": sample.key_type,
        "recv_us": sample.recv_us, "time_us": played.time_us, "run": played.run, "seq": played.seq, "i": played.index,
    }  # fmt: skip
    if sample.cam_us is not None:
        head |= {"cam_us": sample.cam_us, "cam_q": sample.cam_quality}
    if sample.lost_packets:
        head["lost"] = sample.lost_packets
    flags = _flags(sample.key_type > KeyType.DELTA, sample.discontinuity, sample.damaged)
    if played.preroll:
        flags |= UnitFlag.PREROLL
    return pack(head), flags


def chunk_head(chunk: StoredChunk, cfg: int) -> tuple[bytes, int]:
    """(packed head, flags) of a chunk as stored."""
    header, ref = chunk.header, chunk.ref
    head: dict[str, Any] = {
        "track": str(ref.track), "kind": chunk.spec.kind.name.lower(), "cfg": cfg, "run": ref.run, "seq": ref.seq,
        "recv_us": ref.recv_us, "end_us": ref.end_us, "base_dts": header.base_dts, "base_pts": header.base_pts,
        "n": header.frame_count, "table": bytes(chunk.table), "salt": bytes(chunk.salt), "sha256": header.body_hash,
        "cursor": str(Cursor(ref.track, ref.run, ref.seq, max(header.frame_count - 1, 0))),
    }  # fmt: skip
    if header.gop != NO_SEQ:
        head["gop"] = header.gop
    if header.cam_us != NO_TIME:
        head |= {"cam_us": header.cam_us, "cam_q": header.cam_quality}
    if header.lost_packets:
        head["lost"] = header.lost_packets
    if header.damaged_count:
        head["damaged"] = header.damaged_count
    seam = bool(header.flags & ChunkFlag.DISCONTINUITY)
    return pack(head), _flags(ref.kind != Kind.DELTA, seam, bool(header.damaged_count))


def hole_head(hole: Hole, track: uuid.UUID | None = None) -> dict[str, Any]:
    """The head of a `hole`."""
    causes: list[dict[str, Any]] = []
    size = 0
    for one in hole.causes[:MAX_CAUSES]:
        cause = {
            "start_us": one.start_us, "end_us": one.end_us, "state": str(one.cause.state),
            "reason": one.cause.reason, "params": dict(one.cause.params),
        }  # fmt: skip
        size += len(pack(cause))
        if size > MAX_CAUSES_BYTES:
            break
        causes.append(cause)
    head: dict[str, Any] = {"start_us": hole.start_us, "end_us": hole.end_us, "causes": causes}
    return head if track is None else {**head, "track": str(track)}


def _flags(key: bool, discontinuity: bool, damaged: bool) -> int:
    return (
        (UnitFlag.KEY.value if key else 0)
        | (UnitFlag.DISCONTINUITY.value if discontinuity else 0)
        | (UnitFlag.DAMAGED.value if damaged else 0)
    )
