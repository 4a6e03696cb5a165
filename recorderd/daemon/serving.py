"""The servers of the daemon: HTTP always, the stream API and RTSP when they are configured.

Law: order and addresses only. They start when everything records, and end before anything stops recording; one that
cannot listen stops the start and says which key to change.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

from recorderd.config.schema import Config, HttpConfig, ListenConfig
from recorderd.core.errors import UsageError
from recorderd.daemon.vitals import Vitals
from recorderd.server.deps import ServerDeps
from recorderd.server.http.app import build_app
from recorderd.server.http.listeners import HttpServer
from recorderd.server.rtsp.listener import RtspLimits, RtspOut
from recorderd.server.stream_tcp.listener import StreamServer

_SOCKET_LIMIT_BYTES = 107

_log = structlog.get_logger("daemon")


class Serving:
    """`start` once, `stop` any number of times."""

    def __init__(self, deps: ServerDeps, vitals: Vitals) -> None:
        self._deps = deps
        self._vitals = vitals
        self._http = HttpServer(build_app(deps))
        self._further: list[StreamServer | RtspOut] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of HTTP."""
        return self._http.addresses

    async def start(self, config: Config) -> None:
        """Raises UsageError naming the key whose address cannot be had."""
        self._vitals.servers["http"] = self._http
        await self._http.start(config.http.listen, socket_path(config.http, config.server.data_dir))
        if config.stream is not None:
            await self._add("stream", StreamServer(self._deps), config.stream)
        if config.rtsp is not None:
            limits = RtspLimits(udp_ports=config.rtsp.udp_ports)
            await self._add("rtsp", RtspOut(self._deps, limits), config.rtsp)
        shown = {
            name: [f"{host}:{port}" for host, port in server.addresses] for name, server in self._vitals.servers.items()
        }
        _log.info("listening", **shown)

    async def stop(self) -> None:
        """End all viewers."""
        await asyncio.gather(self._http.stop(), *(server.stop() for server in self._further))

    async def _add(self, name: str, server: StreamServer | RtspOut, listen: ListenConfig) -> None:
        host, port = listen.listen
        try:
            await server.start(listen.listen)
        except (OSError, UsageError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise UsageError(
                f"{name}.listen: cannot listen on {host}:{port}: {reason}; choose another port or end who has it"
            ) from error
        self._further.append(server)
        self._vitals.servers[name] = server


def socket_path(http: HttpConfig, data_dir: Path) -> Path | None:
    """The configured socket, or data_dir/api.sock when the kernel takes a path of that length."""
    path = http.socket or data_dir / "api.sock"
    if len(os.fsencode(path)) > _SOCKET_LIMIT_BYTES:
        _log.warning("socket-skipped", path=str(path), reason="the path is too long: set [http] socket")
        return None
    return path
