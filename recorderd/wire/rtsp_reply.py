"""The headers of SETUP and PLAY answers: Transport, Session, RTP-Info, Range.

Law: text in, values out; unreadable parts are left out, never an error, because media works without most of
them. Called by `rtsp_client`. RFC 2326 §12.29, §12.33, §12.37, §12.39.
"""

from __future__ import annotations

import calendar
import enum
import re
from dataclasses import dataclass

from recorderd.wire.rtsp_message import Headers

DEFAULT_TIMEOUT_S = 60
_CLOCK = re.compile(r"clock\s*=\s*(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:\.(\d{1,6})\d*)?Z", re.I | re.A)


class Lower(enum.Enum):
    """How RTP travels: inside the RTSP connection, or as datagrams to one receiver or to a group."""

    TCP = "tcp"
    UDP = "udp"
    MULTICAST = "multicast"


@dataclass(frozen=True, slots=True)
class SetupReply:
    """What the camera chose; None or "" where it did not say. `lower`: None without a Transport header, which means:
    as asked. `ports`: where it sends from (unicast) or the group's (multicast), RTP and RTCP. `group`, `source` and
    `ttl` matter for multicast only."""

    lower: Lower | None = None
    channels: tuple[int, int] | None = None
    ports: tuple[int, int] | None = None
    group: str = ""
    source: str = ""
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class PlayTimes:
    """`rtptimes`: (url, rtptime) per RTP-Info entry that has both; `start_utc_us`: Range: clock=, if
    given."""

    rtptimes: tuple[tuple[str, int], ...] = ()
    start_utc_us: int | None = None


def parse_transport(value: str) -> SetupReply:
    """Read the Transport of a SETUP answer; no header at all means: as asked."""
    if not value:
        return SetupReply()
    words = [word.strip() for word in value.split(",", 1)[0].split(";")]
    fields: dict[str, str] = {}
    for word in words[1:]:
        name, _, text = word.partition("=")
        fields.setdefault(name.strip().lower(), text.strip().strip('"'))
    channels = _pair(fields.get("interleaved", ""), 254, 255)
    lower = Lower.MULTICAST if "multicast" in fields else Lower.UDP
    if "TCP" in words[0].upper() or channels is not None:
        lower = Lower.TCP
    ports = _pair(fields.get("port" if lower is Lower.MULTICAST else "server_port", ""), 65535, 65535)
    ttl = fields.get("ttl", "")
    return SetupReply(
        lower, channels, ports, fields.get("destination", ""), fields.get("source", ""),
        int(ttl) if ttl.isascii() and ttl.isdigit() and len(ttl) <= 3 and int(ttl) < 256 else None,
    )  # fmt: skip


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


def _pair(text: str, most_first: int, most_second: int) -> tuple[int, int] | None:
    """`6-7` or `6`, which means the same; None for what is no such pair."""
    low, _, high = (part.strip() for part in text.partition("-"))
    if not (low.isascii() and low.isdigit() and len(low) <= 5 and int(low) <= most_first):
        return None
    first = int(low)
    second = int(high) if high.isascii() and high.isdigit() and len(high) <= 5 else first + 1
    return first, second if second <= most_second and second != first else first + 1
