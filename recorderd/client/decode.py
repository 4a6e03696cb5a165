"""From messages to values.

Law: pure. A head that lacks a member or has one of another type raises ProtocolViolation, never anything else; members
that are not known here are left alone, so that a newer server can be read.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from recorderd.client.errors import ProtocolViolation
from recorderd.client.values import (
    Camera,
    Chunk,
    Config,
    Event,
    Hole,
    Interval,
    Position,
    Sealed,
    Span,
    TrackSpans,
    Unit,
)
from recorderd.media.access_unit import MediaKind, UnitType
from recorderd.wire.errors import ProtocolError
from recorderd.wire.stream.codec import unpack
from recorderd.wire.stream.messages import Message, UnitFlag

_WRONG = (KeyError, TypeError, ValueError, AttributeError, ProtocolError)


def config_of(message: Message) -> Config:
    head = message.head
    try:
        return Config(
            number=_whole(head["config"]),
            track=_track(head),
            kind=MediaKind(head["kind"]),
            codec=str(head["codec"]),
            timebase_hz=_whole(head["timebase_hz"]),
            entry=bytes(message.payload),
            codec_string=str(head.get("codec_string") or ""),
            width=_whole(head.get("width", 0)),
            height=_whole(head.get("height", 0)),
            sample_rate=_whole(head.get("sample_rate", 0)),
            channels=_whole(head.get("channels", 0)),
            frame_ticks=_whole(head.get("frame_ticks", 0)),
        )
    except _WRONG as error:
        raise _violation("config") from error


def unit_of(message: Message, config: Config) -> Unit:
    head, flags = message.head, message.flags
    try:
        return Unit(
            config=config,
            data=bytes(message.payload),
            pts=head["pts"],
            dts=head["dts"],
            type=UnitType(head["type"]),
            recv_us=head["recv_us"],
            time_us=head.get("time_us", head["recv_us"]),
            cam_us=head.get("cam_us"),
            cam_quality=head.get("cam_q", 0),
            lost_packets=head.get("lost", 0),
            key=bool(flags & UnitFlag.KEY),
            discontinuity=bool(flags & UnitFlag.DISCONTINUITY),
            skipped=bool(flags & UnitFlag.SKIPPED),
            preroll=bool(flags & UnitFlag.PREROLL),
            damaged=bool(flags & UnitFlag.DAMAGED),
            cursor=_cursor(head, config),
        )
    except _WRONG as error:
        raise _violation("unit") from error


def chunk_of(message: Message, config: Config) -> Chunk:
    head = message.head
    try:
        track = _track(head) or config.track
        if track is None:
            raise KeyError("track")
        return Chunk(
            config=config,
            track=track,
            run=_whole(head["run"]),
            seq=_whole(head["seq"]),
            gop=_whole(head["gop"]) if head.get("gop") is not None else None,
            recv_us=_whole(head["recv_us"]),
            end_us=_whole(head["end_us"]),
            base_dts=_whole(head["base_dts"]),
            count=_whole(head["n"]),
            table=bytes(head["table"]),
            data=message.payload.toreadonly(),
            salt=bytes(head["salt"]),
            sha256=bytes(head["sha256"]),
            cursor=str(head["cursor"]),
            key=bool(message.flags & UnitFlag.KEY),
            discontinuity=bool(message.flags & UnitFlag.DISCONTINUITY),
            damaged=bool(message.flags & UnitFlag.DAMAGED),
        )
    except _WRONG as error:
        raise _violation("chunk") from error


def sealed_of(message: Message) -> Sealed:
    head = message.head
    try:
        return Sealed(_track(head), _whole(head["until_us"]), _whole(head["next_seq"]))
    except _WRONG as error:
        raise _violation("sealed") from error


def hole_of(message: Message) -> Hole:
    head = message.head
    try:
        return Hole(
            _whole(head["start_us"]), _whole(head["end_us"]), tuple(map(_interval, head["causes"])), _track(head)
        )
    except _WRONG as error:
        raise _violation("hole") from error


def position_of(message: Message) -> Position:
    head = message.head
    try:
        return Position(_whole(head["time_us"]), head.get("cursor"), head.get("end"))
    except _WRONG as error:
        raise _violation("position") from error


def event_of(message: Message) -> Event:
    head = message.head
    try:
        return Event(
            _whole(head["id"]), _whole(head["time_us"]), str(head["code"]), head.get("camera"), head.get("hardware"),
            dict(unpack(message.payload) if message.payload else head["params"]),
        )  # fmt: skip
    except _WRONG as error:
        raise _violation("event") from error


def cameras_of(answer: Any) -> list[Camera]:
    try:
        return [Camera(one["id"], one["name"], one["state"], one) for one in answer["cameras"]]
    except _WRONG as error:
        raise _violation("cameras") from error


def timelines_of(answer: Any) -> list[TrackSpans]:
    try:
        return [
            TrackSpans(
                uuid.UUID(one["id"]), str(one["stream"]), MediaKind(one["kind"]),
                tuple(Span(_whole(start), _whole(end)) for start, end in one["spans"]),
            )
            for one in answer["tracks"]
        ]  # fmt: skip
    except _WRONG as error:
        raise _violation("timeline") from error


def intervals_of(answer: Any) -> dict[str, list[Interval]]:
    """By camera id."""
    try:
        return {str(one["id"]): [_interval(stretch) for stretch in one["intervals"]] for one in answer["cameras"]}
    except _WRONG as error:
        raise _violation("coverage") from error


def _interval(one: Mapping[str, Any]) -> Interval:
    return Interval(
        _whole(one["start_us"]), _whole(one["end_us"]), str(one["state"]), str(one["reason"]),
        dict(one.get("params") or {}), _whole(one.get("damaged_packets", 0)), _whole(one.get("damaged_frames", 0)),
    )  # fmt: skip


def _cursor(head: Mapping[str, Any], config: Config) -> str | None:
    """The place after a recorded unit, as text; live units have none."""
    if "seq" not in head:
        return None
    track = _track(head) or config.track
    if track is None:
        raise KeyError("track")
    return f"{track.hex}:{head['run']:016x}:{head['seq']}:{head['i']}"


def _track(head: Mapping[str, Any]) -> uuid.UUID | None:
    value = head.get("track")
    return uuid.UUID(value) if value is not None else None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _violation(what: str) -> ProtocolViolation:
    return ProtocolViolation(f"the server's {what} message is not as documented", what=what)
