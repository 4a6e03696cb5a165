"""RTSP addresses and the rules by which a camera's answers change them.

Law: text only. The address the user gave decides where to connect; what a camera says in Content-Base,
Location
or a=control only changes the text of request lines. Called by `rtsp_client` and the driver shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from recorderd.wire.errors import ProtocolError

DEFAULT_PORT = 554
_SCHEME = "rtsp://"


@dataclass(frozen=True, slots=True)
class RtspUrl:
    """A checked address. `url` is its text for request lines, without user info."""

    host: str
    port: int
    url: str

    @property
    def origin(self) -> str:
        return self.url[: self.url.find("/", len(_SCHEME))] if "/" in self.url[len(_SCHEME) :] else self.url


def parse_url(text: str) -> RtspUrl:
    """Read an address as people and devices write it: blanks around it, `&amp;` inside. Raises
    ProtocolError."""
    text = "".join(text.split()).replace("&amp;", "&")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ProtocolError(f"not an RTSP address: {error}") from None
    if parts.scheme.lower() != "rtsp" or not host:
        raise ProtocolError("not an RTSP address: write rtsp://HOST[:PORT]/PATH")
    if parts.username is not None or parts.password is not None:
        raise ProtocolError("an address must not carry a login: use the keys username and password")
    rest = text[text.find("//") + 2 :]
    return RtspUrl(host, port or DEFAULT_PORT, _SCHEME + rest)


def with_path(url: RtspUrl, path: str) -> RtspUrl:
    """The same camera under another path; a query in `path` survives."""
    path = "".join(path.split())
    return RtspUrl(url.host, url.port, url.origin + (path if path.startswith("/") else "/" + path))


def base_url(request_url: str, content_base: str, content_location: str) -> str:
    """The base of relative controls (RFC 2326 C.1.1): Content-Base, Content-Location, else the request."""
    base = content_base or content_location
    while base.lower().startswith(_SCHEME * 2):
        base = base[len(_SCHEME) :]
    if base and "://" not in base:
        # Schemeless as `10.0.0.1:554/x/`, or only a path.
        first = base.split("/", 1)[0]
        base = _SCHEME + base if ":" in first or "." in first else ""
    return base or request_url


def control_url(base: str, control: str) -> str:
    """The URL of a control attribute; cameras expect it put behind the base, even behind a query."""
    if not control or control == "*":
        return base
    if control.lower().startswith((_SCHEME, "rtsps://")):
        return control
    return base.rstrip("/") + "/" + control.lstrip("/")


def redirect_target(here: RtspUrl, location: str) -> RtspUrl:
    """Where a redirect leads; another host is refused, it could be handed the credentials."""
    there = parse_url(location)
    if there.host.lower() != here.host.lower():
        raise ProtocolError("the camera redirects to another host: give that address if it is meant")
    return there
