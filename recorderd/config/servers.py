"""The sections of the servers: [http], [stream], [rtsp], and of what they make: [exports].

Law: one reader per section, from its table to its value; findings are recorded in the table. Called by `load`.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from recorderd.config.schema import ExportsConfig, HttpConfig, ListenConfig, RtspConfig
from recorderd.config.table import Table
from recorderd.core.errors import UsageError
from recorderd.core.timerange import HOUR_US

_STREAM_DEFAULT, _RTSP_DEFAULT = ("127.0.0.1", 7563), ("127.0.0.1", 8554)
_SOCKET_LIMIT_BYTES = 107  # sun_path of unix(7) without the closing zero


def read_http(table: Table) -> HttpConfig:
    default = HttpConfig()
    socket = table.absolute("socket", Path("/")) if table.has("socket") else None
    if socket is not None and len(os.fsencode(socket)) > _SOCKET_LIMIT_BYTES:
        table.error("socket", f"is longer than the {_SOCKET_LIMIT_BYTES} bytes that a Unix socket's path may have")
    http = HttpConfig(table.parsed("listen", parse_listen, default.listen), socket)
    table.finish()
    return http


def read_stream(table: Table) -> ListenConfig:
    config = ListenConfig(table.parsed("listen", parse_listen, _STREAM_DEFAULT))
    table.finish()
    return config


def read_rtsp(table: Table) -> RtspConfig:
    config = RtspConfig(
        table.parsed("listen", parse_listen, _RTSP_DEFAULT), table.parsed("udp_ports", _port_range, (0, 0))
    )
    table.finish()
    return config


def _port_range(text: str) -> tuple[int, int]:
    """'50000-50399': pairs of ports, so at least two."""
    first, dash, last = text.partition("-")
    numbers = [int(word) if word.isascii() and word.isdigit() else 0 for word in (first.strip(), last.strip())]
    if not dash or not 1024 <= numbers[0] < numbers[1] <= 65535:
        raise UsageError("must be a range of ports between 1024 and 65535, like '50000-50399'")
    return numbers[0], numbers[1]


def read_exports(table: Table) -> ExportsConfig:
    default = ExportsConfig()
    config = ExportsConfig(
        folder=table.absolute("folder", Path("/")) if table.has("folder") else None,
        keep_us=table.duration_us("keep", default.keep_us, low=HOUR_US),
        reserve_bytes=table.size("reserve", default.reserve_bytes, low=64 * 2**20),
    )
    table.finish()
    return config


def parse_listen(text: str) -> tuple[str, int]:
    """'127.0.0.1:8080', '[::1]:8080' or 'localhost:8080' as host and port; anything but loopback is refused."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is not HOST:PORT; write it like '127.0.0.1:8080'")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == "localhost":
        bare = "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(bare).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"{text!r} is not a loopback address: without logins nothing is served off this machine; use 127.0.0.1 "
            "or [::1] and put a TLS proxy or an SSH tunnel in front"
        )
    return bare, int(port)
