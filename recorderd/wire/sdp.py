"""Session descriptions (SDP, RFC 8866) as cameras write them.

Law: text in, description out; reads only what a receiver needs and steps over everything it does not know or
cannot read. Raises ProtocolError only when the text is no description at all. Called by `rtsp_client` and by
tests of the RTSP server.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from recorderd.wire.errors import ProtocolError

MAX_LINES = 4096
MAX_MEDIA = 64

# RFC 3551 table 4 and 5: the payload types that need no rtpmap.
_STATIC = {
    0: ("PCMU", 8000, 1),
    2: ("G726-32", 8000, 1),  # withdrawn by RFC 3551, sent all the same
    8: ("PCMA", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    26: ("JPEG", 90000, 1),
}
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


@dataclass(frozen=True, slots=True)
class Format:
    """One payload type. `encoding` is upper case ("H264", "MPEG4-GENERIC"), "" when nobody named it;
    `parameters` are the fmtp pairs with lower-case keys and untouched values."""

    payload_type: int
    encoding: str = ""
    clock_hz: int = 0
    channels: int = 1
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One m= section. `control` is the first non-empty a=control; `direction` "" when none is written; `group` the
    address of its c= line, or else of the session's, "" when none is written."""

    kind: str
    port: int
    protocol: str
    formats: tuple[Format, ...]
    control: str = ""
    direction: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class SessionDescription:
    control: str
    media: tuple[MediaDescription, ...]
    name: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


class _Section:
    """Lines of one m= section (or of the session part), before they are made sense of together."""

    def __init__(self, media_line: str = "") -> None:
        self.media_line = media_line
        self.attributes: list[tuple[str, str]] = []
        self.group = ""

    def first(self, name: str) -> str:
        return next((value for key, value in self.attributes if key == name and value), "")


def parse_sdp(text: bytes | str) -> SessionDescription:
    """Read a description. Unknown and broken lines are skipped; a missing o=, s= or t= does not matter."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    session, sections, name, known = _Section(), list[_Section](), "", 0
    for line in text.replace("\r", "\n").split("\n")[:MAX_LINES]:
        line = line.strip(" \t\x00")
        if len(line) < 2 or line[1] != "=":
            continue
        kind, value = line[0], line[2:].strip()
        known += kind in "vosmatc"
        if kind == "m" and len(sections) < MAX_MEDIA:
            sections.append(_Section(value))
        elif kind == "s" and not sections:
            name = name or value
        elif kind == "c":
            # `IN IP4 239.1.1.1/64`: an address with its reach, which the receiver does not need.
            (sections[-1] if sections else session).group = value.split()[-1].split("/")[0] if value else ""
        elif kind == "a":
            key, _, rest = value.partition(":")
            (sections[-1] if sections else session).attributes.append((key.strip().lower(), rest.strip()))
    if not known:
        raise ProtocolError("the DESCRIBE answer holds no session description")
    for section in sections:
        section.group = section.group or session.group
    media = _give_back_strays([found for found in map(_read_media, sections) if found], sections)
    return SessionDescription(session.first("control"), tuple(media), name, tuple(session.attributes))


def _read_media(section: _Section) -> MediaDescription | None:
    words = section.media_line.split()
    if len(words) < 3:
        return None
    listed = [number for number in (_number(word) for word in words[3:]) if number is not None]
    maps = dict(_read_rtpmap(value) for key, value in section.attributes if key == "rtpmap")
    maps.pop(-1, None)
    if len(listed) == 1 and len(maps) == 1 and listed[0] not in maps and listed[0] not in _STATIC:
        # The rtpmap's number differs from the m-line's: both mean the same one format.
        maps[listed[0]] = next(iter(maps.values()))
    fmtp = dict(_read_fmtp(value) for key, value in section.attributes if key == "fmtp")
    numbers = listed + [number for number in maps if number not in listed]
    formats = tuple(_format(number, maps, fmtp) for number in numbers)
    if len(formats) == 2 and len(fmtp) == 1 and formats[0].encoding == formats[1].encoding:
        parameters = next(iter(fmtp.values()))
        formats = tuple(replace(one, parameters=parameters) for one in formats)
    direction = next((key for key, _ in section.attributes if key in _DIRECTIONS), "")
    port = _number(words[1].split("/", 1)[0]) or 0
    return MediaDescription(
        words[0].lower(), port, words[2], formats, section.first("control"), direction,
        tuple(section.attributes), section.group,
    )  # fmt: skip


def _format(number: int, maps: dict[int, tuple[str, int, int]], fmtp: dict[int, dict[str, str]]) -> Format:
    encoding, clock_hz, channels = maps.get(number) or _STATIC.get(number) or ("", 0, 1)
    return Format(number, encoding, clock_hz, channels, fmtp.get(number, {}))


def _give_back_strays(media: list[MediaDescription], sections: list[_Section]) -> list[MediaDescription]:
    """Some cameras write a fmtp under the wrong m=: give it to the one format of that number without any."""
    for section in sections:
        for key, value in section.attributes:
            number, parameters = _read_fmtp(value) if key == "fmtp" else (-1, {})
            if number < 0 or not parameters:
                continue
            for index, one in enumerate(media):
                formats = tuple(
                    replace(fmt, parameters=parameters)
                    if fmt.payload_type == number and not fmt.parameters and fmt.encoding
                    else fmt
                    for fmt in one.formats
                )
                media[index] = replace(one, formats=formats)
    return media


def _read_rtpmap(value: str) -> tuple[int, tuple[str, int, int]]:
    """`96 H264/90000` or `97 MPEG4-GENERIC/48000/2`; number -1 when unreadable."""
    head, _, rest = value.partition(" ")
    number = _number(head)
    parts = [part.strip() for part in rest.strip().split("/")]
    if number is None or not parts[0]:
        return -1, ("", 0, 1)
    clock_hz = (_number(parts[1]) or 0) if len(parts) > 1 else 0
    channels = (_number(parts[2]) or 1) if len(parts) > 2 else 1
    return number, (parts[0].upper(), clock_hz, channels)


def _read_fmtp(value: str) -> tuple[int, dict[str, str]]:
    head, _, rest = value.partition(" ")
    number = _number(head)
    if number is None:
        return -1, {}
    parameters: dict[str, str] = {}
    for part in rest.split(";"):
        key, equals, text = part.partition("=")
        if key.strip():
            parameters.setdefault(key.strip().lower(), text.strip() if equals else "")
    return number, parameters


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if 0 < len(text) <= 9 and text.isascii() and text.isdigit() else None
