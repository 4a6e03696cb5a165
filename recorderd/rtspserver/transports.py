"""The Transport header of SETUP: what a client offers, and which offer this server takes.

Law: pure. Media go to the peer of the connection and to nobody else: a foreign `destination`, multicast and reserved
ports are refused, so that no one can point a stream at a third party. RFC 2326 §12.39. Called by the session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recorderd.rtspserver.statuses import Refused

_LOWEST_PORT = 1024  # below live other people's services
_MAX_OFFERS = 16
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_TCP, _UDP = ("RTP/AVP/TCP",), ("RTP/AVP", "RTP/AVP/UDP")


@dataclass(frozen=True, slots=True)
class Choice:
    """`client_ports` (RTP, RTCP) for UDP, None for media on the connection itself."""

    client_ports: tuple[int, int] | None


def choose(header: str, peer: str, udp: bool, taken: Choice | None) -> Choice:
    """The first offer that can be served. `peer`: the connection's remote address; `udp`: may UDP be offered;
    `taken`: what the session's other tracks use, since all use the same.

    Raises Refused: 461 when no offer fits, 403 when one only fails because it points at somebody else."""
    status = 461
    for offer in header.split(",")[:_MAX_OFFERS]:
        try:
            choice = _read(offer, peer, udp)
        except Refused as refusal:
            status = 403 if refusal.status == 403 else status
            continue
        if choice is not None and (taken is None or (taken.client_ports is None) == (choice.client_ports is None)):
            return choice
    raise Refused(status)


def _read(offer: str, peer: str, udp: bool) -> Choice | None:
    words = [word.strip() for word in offer.split(";")]
    fields = {name.strip().lower(): value.strip() for name, _, value in (word.partition("=") for word in words[1:])}
    profile = words[0].upper()
    if "multicast" in fields or fields.get("mode", "PLAY").strip('"').upper() != "PLAY":
        return None
    if profile in _TCP:
        return Choice(None)
    if profile not in _UDP or not udp:
        return None
    found = _PORTS.fullmatch(fields.get("client_port", ""))
    if found is None:
        return None
    if fields.get("destination", peer) not in (peer, ""):
        raise Refused(403)
    first = int(found[1])
    ports = (first, int(found[2]) if found[2] else first + 1)
    if not all(_LOWEST_PORT <= port <= 65535 for port in ports) or ports[0] == ports[1]:
        raise Refused(403)
    return Choice(ports)
