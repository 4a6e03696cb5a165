"""The headers of SETUP and PLAY answers: Transport, Session, RTP-Info, Range.

Law: text in, values out; unreadable parts are left out, never an error, because media works without most of
them. Called by `rtsp_client`. RFC 2326 §12.29, §12.33, §12.37, §12.39.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

from recorderd.wire.rtsp_message import Headers

DEFAULT_TIMEOUT_S = 60
_CLOCK = re.compile(r"clock\s*=\s*(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:\.(\d{1,6})\d*)?Z", re.I | re.A)


@dataclass(frozen=True, slots=True)
class SetupReply:
    """`tcp`: interleaved as asked; `channels`: what the camera chose, None when it did not say."""

    tcp: bool
    channels: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class PlayTimes:
    """`rtptimes`: (url, rtptime) per RTP-Info entry that has both; `start_utc_us`: Range: clock=, if
    given."""

    rtptimes: tuple[tuple[str, int], ...] = ()
    start_utc_us: int | None = None


def parse_transport(value: str) -> SetupReply:
    """Read the Transport of a SETUP answer; no header at all means: as asked."""
    if not value:
        return SetupReply(True)
    first = value.split(",", 1)[0]
    words = [word.strip() for word in first.split(";")]
    channels = None
    for word in words:
        name, _, numbers = word.partition("=")
        if name.strip().lower() == "interleaved":
            low, _, high = numbers.partition("-")
            channels = _channels(low.strip(), high.strip())
    return SetupReply("TCP" in words[0].upper() or channels is not None, channels)


def parse_session(value: str) -> tuple[str, int]:
    """(id, timeout in seconds); the default when none is given or it is nonsense."""
    session_id, _, rest = value.partition(";")
    found = re.search(r"timeout\s*=\s*(\d{1,6})", rest, re.I | re.A)
    timeout_s = int(found[1]) if found else DEFAULT_TIMEOUT_S
    return session_id.strip(), timeout_s or DEFAULT_TIMEOUT_S


def parse_play(headers: Headers) -> PlayTimes:
    """Read RTP-Info and Range of a PLAY answer; rtptime 0 counts as unknown (cameras write it as filler)."""
    entries = []
    for entry in headers.get("RTP-Info").split(","):
        fields: dict[str, str] = {}
        for word in entry.split(";"):
            name, _, text = word.strip().partition("=")
            fields[name.strip().lower()] = text.strip()
        rtptime = fields.get("rtptime", "")
        if rtptime.isascii() and rtptime.isdigit() and len(rtptime) <= 10 and 0 < int(rtptime) < 1 << 32:
            entries.append((fields.get("url", ""), int(rtptime)))
    return PlayTimes(tuple(entries[:16]), _clock_start(headers.get("Range")))


def _clock_start(value: str) -> int | None:
    found = _CLOCK.search(value)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[index]) for index in range(1, 7))
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    return seconds * 1_000_000 + int((found[7] or "").ljust(6, "0"))


def _channels(low: str, high: str) -> tuple[int, int] | None:
    if not (low.isascii() and low.isdigit() and len(low) <= 3 and int(low) <= 254):
        return None
    media = int(low)
    control = int(high) if high.isascii() and high.isdigit() and len(high) <= 3 else media + 1
    return media, control if control <= 255 and control != media else media + 1
