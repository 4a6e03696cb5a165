"""RTSP addresses and the rules by which a camera's answers change them.

Law: text only. The address the user gave decides where to connect; what a camera says in Content-Base,
Location
or a=control only changes the text of request lines. Called by `rtsp_client` and the driver shell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from recorderd.wire.errors import ProtocolError

_PORTS = {"rtsp": 554, "rtsps": 322}
_TUNNEL_PORTS = {"rtsp": 80, "rtsps": 443}  # where HTTP is spoken when the address names no port
_SCHEME = "rtsp://"
_TLS_SCHEME = "rtsps://"


@dataclass(frozen=True, slots=True)
class RtspUrl:
    """A checked address. `url` is its text for request lines, without user info; `tls`: rtsps, everything on the
    connection is encrypted; `port` is where to connect, `tunnel_port` where an HTTP tunnel does."""

    host: str
    port: int
    url: str
    tls: bool = False
    tunnel_port: int = 0

    @property
    def origin(self) -> str:
        start = self.url.find("://") + 3
        slash = self.url.find("/", start)
        return self.url if slash < 0 else self.url[:slash]


def parse_url(text: str) -> RtspUrl:
    """Read an address as people and devices write it: blanks around it, `&amp;` inside. Raises
    ProtocolError."""
    text = "".join(text.split()).replace("&amp;", "&")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ProtocolError(f"not an RTSP address: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host:
        raise ProtocolError("not an RTSP address: write rtsp://HOST[:PORT]/PATH or rtsps://HOST[:PORT]/PATH")
    if parts.username is not None or parts.password is not None:
        raise ProtocolError("an address must not carry a login: use the keys username and password")
    rest = text[text.find("//") + 2 :]
    tunnel_port = port or _TUNNEL_PORTS[scheme]
    return RtspUrl(host, port or _PORTS[scheme], f"{scheme}://{rest}", scheme == "rtsps", tunnel_port)


def with_path(url: RtspUrl, path: str) -> RtspUrl:
    """The same camera under another path; a query in `path` survives."""
    path = "".join(path.split())
    return replace(url, url=url.origin + (path if path.startswith("/") else "/" + path))


def base_url(request_url: str, content_base: str, content_location: str) -> str:
    """The base of relative controls (RFC 2326 C.1.1): Content-Base, Content-Location, else the request."""
    base = content_base or content_location
    for scheme in (_SCHEME, _TLS_SCHEME):
        while base.lower().startswith(scheme * 2):
            base = base[len(scheme) :]
    if base and "://" not in base:
        # Schemeless as `10.0.0.1:554/x/`, or only a path.
        first = base.split("/", 1)[0]
        scheme = _TLS_SCHEME if request_url.startswith(_TLS_SCHEME) else _SCHEME
        base = scheme + base if ":" in first or "." in first else ""
    return base or request_url


def control_url(base: str, control: str) -> str:
    """The URL of a control attribute; cameras expect it put behind the base, even behind a query."""
    if not control or control == "*":
        return base
    if control.lower().startswith((_SCHEME, _TLS_SCHEME)):
        return control
    return base.rstrip("/") + "/" + control.lstrip("/")


def redirect_target(here: RtspUrl, location: str) -> RtspUrl:
    """Where a redirect leads; another host is refused, it could be handed the credentials, and so is a way out of
    TLS or into it: what is checked about the other end is the user's decision."""
    there = parse_url(location)
    if there.tls != here.tls:
        raise ProtocolError(f"the camera redirects to {there.origin}: give that address if it is meant")
    if there.host.lower() != here.host.lower():
        raise ProtocolError("the camera redirects to another host: give that address if it is meant")
    return there
