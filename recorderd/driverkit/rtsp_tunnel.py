"""Opening RTSP over HTTP: two connections that look like one.

Law: gives an RtspConnection that writes through the second connection; everything after that is as without a tunnel.
No login goes out here. Raises DriverError. Called by `rtsp_handshake`.
"""

from __future__ import annotations

import asyncio
import secrets

from recorderd.driverapi.base import Host
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported, DriverError, StreamLost
from recorderd.driverapi.tls import TlsCheck
from recorderd.driverkit.rtsp_connection import RtspConnection
from recorderd.wire import http_tunnel
from recorderd.wire.rtsp_client import USER_AGENT
from recorderd.wire.rtsp_url import RtspUrl

ANSWER_S = 10.0
_COOKIE_BYTES = 11  # 22 characters, as players send them


class _Upward(asyncio.Protocol):
    """The connection of POST: nothing worth reading comes from it."""

    def __init__(self, down: RtspConnection) -> None:
        self._down = down

    def data_received(self, data: bytes) -> None:
        words = data[:64].split()
        if len(words) > 1 and words[0].upper().startswith(b"HTTP/") and not words[1].startswith(b"2"):
            self._down.abort(_refused(words[1].decode("latin-1")))

    def connection_lost(self, error: Exception | None) -> None:
        self._down.abort(StreamLost("the camera closed the tunnel's way up", reason="closed"))


async def open_tunnel(url: RtspUrl, tls: TlsCheck | None, host: Host) -> RtspConnection:
    """GET, then POST, to the address's own port or 80 (443 with TLS)."""
    cookie = secrets.token_hex(_COOKIE_BYTES)
    _, down = await host.dial(url.host, url.tunnel_port, RtspConnection, tls)
    assert isinstance(down, RtspConnection)
    try:
        status = await down.ask_http(http_tunnel.get_head(url.url, cookie, USER_AGENT), ANSWER_S)
        if status != 200:
            raise _refused(str(status))
        up, _ = await host.dial(url.host, url.tunnel_port, lambda: _Upward(down), tls)
        up.write(http_tunnel.post_head(url.url, cookie, USER_AGENT))
        down.tunnel(up)
    except StreamLost as error:
        down.close()
        raise DeviceUnavailable(f"no RTSP over HTTP on port {url.tunnel_port}: {error.message}", "tunnel") from error
    except BaseException:
        down.close()
        raise
    return down


def _refused(status: str) -> DriverError:
    why = "which a tunnel does not carry" if status == "401" else "so it takes no RTSP over HTTP here"
    what = "the camera asks for a login in HTTP" if status == "401" else f"the camera answers {status}"
    message = f'{what}, {why}: set another transport than "http", or the port where it does'
    return DeviceUnsupported(message, "transport", status=status)
