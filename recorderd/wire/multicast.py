"""Which multicast group a camera sends a medium to, by its SETUP answer and its session description.

Law: pure; the answer wins over the description. Whether this is a group at all is checked where it is joined. Called
by the driver shell. RFC 2326 §12.39, RFC 8866 §5.7, RFC 4570 (source filters), RFC 4607 (232/8 is source-specific).
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.wire.rtsp_reply import SetupReply
from recorderd.wire.sdp import MediaDescription, SessionDescription

DEFAULT_TTL = 16
_ALWAYS_SPECIFIC = ("232.", "ff3")


@dataclass(frozen=True, slots=True)
class Group:
    """`source`: the only sender to listen to, "" for any; `ports` are (0, 0) when nobody named them."""

    address: str
    ports: tuple[int, int]
    source: str
    ttl: int


def find_group(reply: SetupReply, media: MediaDescription, session: SessionDescription, camera: str) -> Group:
    """The group of one medium; `camera` is the address the camera was reached at."""
    address = reply.group or media.group
    ports = reply.ports or ((media.port, media.port + 1) if 0 < media.port < 65535 else (0, 0))
    source = _filter(media.attributes, address) or _filter(session.attributes, address)
    if not source and address.lower().startswith(_ALWAYS_SPECIFIC):
        source = reply.source or camera
    return Group(address, ports, source, DEFAULT_TTL if reply.ttl is None else reply.ttl)


def _filter(attributes: tuple[tuple[str, str], ...], address: str) -> str:
    """`a=source-filter: incl IN IP4 232.1.1.1 192.0.2.7`: the first source named for this group, or for any (`*`)."""
    for name, value in attributes:
        words = value.split()
        if name == "source-filter" and len(words) >= 5 and words[0].lower() == "incl" and words[3] in (address, "*"):
            return words[4]
    return ""
