"""Who may talk to this server at all: Host and Origin against DNS rebinding, peers of the Unix socket, loopback.

Law: pure decisions over header texts, addresses and user ids; no request object, no socket. Called by the
middleware for every request before anything else, and by the listeners before they bind.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from recorderd.core.errors import UsageError
from recorderd.core.rights import LOCAL, Principal
from recorderd.server.problems import Refusal

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def check_host(host: str) -> None:
    """Refuse a Host header that names another machine: a page that rebinds its own name to 127.0.0.1 (DNS
    rebinding) sends its own name here. Any port goes, so that a forwarded port works."""
    name, _, port = host.strip().lower().rpartition(":") if _has_port(host) else (host.strip().lower(), "", "0")
    if name not in LOCAL_NAMES or not port.isdigit():
        raise Refusal("host-refused", "the Host header must be localhost, 127.0.0.1 or [::1]", host=host[:200])


def check_target(target: str) -> None:
    """Refuse a request line that names another machine: in absolute form (RFC 9112, 3.2.2) its authority is what the
    request is meant for, whatever the Host header says."""
    if not target.startswith("/") and target != "*":
        check_host(urlsplit(target).netloc)


def check_origin(headers: Mapping[str, str], host: str, method: str) -> None:
    """Refuse what a page of another origin started. No CORS header is ever sent, so it could not read the
    answer anyway; this keeps it from causing work and from opening a WebSocket, which CORS does not cover.

    Following a link from another site (a top-level GET navigation) is allowed."""
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.strip().lower()}":
        raise Refusal("origin-refused", "only this server's own pages may use it", origin=origin[:200])
    if headers.get("Sec-Fetch-Site", "none") in ("cross-site", "same-site"):
        navigation = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        if method != "GET" or not navigation:
            raise Refusal("origin-refused", "the request was started by a page of another site")


def principal_of_peer(peer_uid: int, own_uid: int) -> Principal:
    """Root and the service's own user are administrators; everyone else is refused."""
    if peer_uid == 0:
        return Principal("root", LOCAL.rights)
    if peer_uid == own_uid:
        return Principal("service", LOCAL.rights)
    raise Refusal("peer-refused", f"user id {peer_uid} may not use this socket", uid=peer_uid)


def check_listen(host: str) -> None:
    """Refuse to listen beyond this machine: plain HTTP shows pictures and takes orders from whoever can reach
    it. Raises UsageError."""
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"http.listen: {host!r} is not a loopback address. Plain HTTP carries pictures and commands in the "
            "clear, so it is offered on 127.0.0.1, [::1] and the Unix socket only. For other machines put a "
            "TLS reverse proxy or an SSH tunnel in front of it.",
            listen=host,
        )


def _has_port(host: str) -> bool:
    """'[::1]:80' and 'localhost:80' have one; '[::1]' and 'localhost' have none."""
    text = host.strip()
    return ":" in text[text.rfind("]") + 1 :]
