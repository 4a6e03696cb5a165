"""What a PLAY asks for: Range, Scale, Rate-Control, Frames, Immediate, read from its headers.

Law: pure; text in, values out, `Refused` for what cannot be meant. RFC 2326 §3.6, §3.7, §12.29, §12.34; ONVIF
Streaming Specification, "Playback". Called by the session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from recorderd.rtspserver.statuses import Refused
from recorderd.wire.rtsp_message import RtspRequest

REPLAY_TAG = "onvif-replay"
MAX_SCALE = 16.0
_REPLAY_HEADERS = ("Rate-Control", "Frames", "Immediate")  # who writes them is a replay client, with or without the tag
_LONGEST_S = 400 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_NPT_HMS = re.compile(r"(\d{1,5}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,9}))?", re.ASCII)
_NPT_S = re.compile(r"(\d{1,9})(?:\.(\d{0,9}))?", re.ASCII)
_NUMBER = re.compile(r"[-+]?\d{1,6}(?:\.\d{1,9})?", re.ASCII)
_FRAMES = re.compile(r"(all|predicted|intra)(?:/(\d{1,8}))?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PlayRange:
    """`unit` "clock": microseconds UTC; "npt": microseconds since the beginning of the presentation. `start_us` None
    is `now`, `end_us` None is open. An end before the start is for the source to judge: backwards it is right."""

    unit: str
    start_us: int | None
    end_us: int | None = None


@dataclass(frozen=True, slots=True)
class PlayWish:
    """One PLAY. `range` None: go on where it was paused. `scale` None: not asked for. `rate_control` False: as fast
    as the connection takes it. `frames`: "all", "predicted" or "intra", at most one per `frames_every_us`. `replay`:
    the feature tag or a header of replay was given, packets carry the replay extension with the low byte of `cseq`.
    `reliable`: the transport loses nothing."""

    tracks: frozenset[int]
    range: PlayRange | None = None
    scale: float | None = None
    rate_control: bool = True
    frames: str = "all"
    frames_every_us: int = 0
    immediate: bool = False
    replay: bool = False
    cseq: int = 0
    reliable: bool = True

    @property
    def changes(self) -> bool:
        """Does it ask for anything that a stream already playing must follow? Else it is a keep-alive."""
        return self.range is not None or self.scale is not None or self.immediate


def read_wish(request: RtspRequest, tracks: frozenset[int], replay: bool, reliable: bool) -> PlayWish:
    """The wish of a PLAY. Raises Refused: 457 for a range that cannot be, 400 for other unreadable values."""
    headers = request.headers
    frames, every_us = _frames(headers.get("Frames"))
    return PlayWish(
        tracks=tracks,
        range=read_range(headers.get("Range")) if headers.get("Range") else None,
        scale=_scale(headers.get("Scale")) if "Scale" in headers else None,
        rate_control=not _flag(headers.get("Rate-Control", "yes"), off="no"),
        frames=frames,
        frames_every_us=every_us,
        immediate=_flag(headers.get("Immediate"), off="yes"),
        replay=replay or any(name in headers for name in _REPLAY_HEADERS),
        cseq=request.cseq or 0,
        reliable=reliable,
    )


def read_range(text: str) -> PlayRange:
    """`clock=START-[END]` or `npt=START-[END]`, START maybe `now` for npt. Raises Refused (457)."""
    unit, equals, rest = text.partition(";")[0].partition("=")
    unit, (start, dash, end) = unit.strip().lower(), rest.strip().partition("-")
    start, end = start.strip(), end.strip()
    if not equals or not dash or unit not in ("clock", "npt") or (unit == "clock" and not start):
        raise Refused(457)
    if unit == "clock":
        return PlayRange(unit, _clock_us(start), _clock_us(end) if end else None)
    if start == "now":
        return PlayRange(unit, None, _npt_us(end) if end else None)
    return PlayRange(unit, _npt_us(start) if start else 0, _npt_us(end) if end else None)


def clock_text(utc_us: int) -> str:
    """RFC 2326 §3.7: 19961108T143720.250000Z."""
    return (_EPOCH + timedelta(microseconds=utc_us)).strftime("%Y%m%dT%H%M%S.%fZ")


def _clock_us(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise Refused(457)
    year, month, day, hour, minute, second = (int(found[place]) for place in range(1, 7))
    try:
        whole = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        raise Refused(457) from None
    if second > 60 or (second == 60 and year == 9999):  # what follows has no name
        raise Refused(457)
    leap_us = 1_000_000 if second == 60 else 0
    return (whole - _EPOCH) // timedelta(microseconds=1) + leap_us + _fraction_us(found[7])


def _npt_us(text: str) -> int:
    found = _NPT_HMS.fullmatch(text)
    if found is not None:
        seconds = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
        fraction = found[4]
    else:
        plain = _NPT_S.fullmatch(text)
        if plain is None:
            raise Refused(457)
        seconds, fraction = int(plain[1]), plain[2]
    if seconds > _LONGEST_S:
        raise Refused(457)
    return seconds * 1_000_000 + _fraction_us(fraction)


def _fraction_us(digits: str | None) -> int:
    return int((digits or "").ljust(6, "0")[:6])


def _scale(text: str) -> float:
    """A factor other than 0; what is too fast is cut, and the answer says so (RFC 2326 §12.34)."""
    if _NUMBER.fullmatch(text.strip()) is None or not float(text):
        raise Refused(400)
    return max(-MAX_SCALE, min(float(text), MAX_SCALE))


def _frames(text: str) -> tuple[str, int]:
    if not text:
        return "all", 0
    found = _FRAMES.fullmatch(text.strip())
    if found is None or (found[2] and found[1].lower() != "intra"):
        raise Refused(400)
    return found[1].lower(), int(found[2] or 0) * 1000


def _flag(text: str, off: str) -> bool:
    """Whether a yes-or-no header has the value that is not its default."""
    value = text.strip().lower()
    if value not in ("yes", "no", ""):
        raise Refused(400)
    return value == off
