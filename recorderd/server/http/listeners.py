"""Where the server listens: one loopback address and one Unix socket.

Law: binds, tells what it bound, lets go. Anything but loopback is refused before it is bound. Requests are `app`'s.
Called by the composition root.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

import structlog
from aiohttp import web

from recorderd.core.errors import UsageError
from recorderd.server.http.access import check_listen
from recorderd.server.http.connections import LimitedRunner, Limits

_log = structlog.get_logger("http")

BACKLOG = 256
HANDSHAKE_TIMEOUT_S = 1.0
SHUTDOWN_S = 0.4  # what is being sent may end by itself for so long, and as long again once it was told to


class ListenFailed(UsageError):
    """An address or a socket path cannot be used."""

    code = "listen-failed"


class HttpServer:
    """`start`, then `addresses`, then `stop`; both listeners serve the same application."""

    def __init__(self, app: web.Application, limits: Limits | None = None) -> None:
        self._runner = LimitedRunner(
            app,
            limits or Limits(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_S,
            handler_cancellation=True,
        )
        self._bound: list[tuple[str, int]] = []
        self._path: Path | None = None
        self._inode: tuple[int, int] | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(host, port) actually bound: port 0 became a real one."""
        return list(self._bound)

    def gauges(self) -> Mapping[str, float]:
        """Figures for /metrics."""
        server = self._runner.server
        return {"http_connections": float(len(server.connections) if server is not None else 0)}

    async def start(self, listen: tuple[str, int] | None, socket_path: Path | None) -> None:
        """Bind both. Raises UsageError for an address beyond this machine, ListenFailed when it cannot be had."""
        if listen is not None:
            check_listen(listen[0])
        await self._runner.setup()
        try:
            if listen is not None:
                await self._listen_tcp(*listen)
            if socket_path is not None:
                await self._listen_unix(socket_path)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop accepting, end what runs within twice SHUTDOWN_S, remove the socket file if it is still ours."""
        await self._runner.cleanup()
        self._bound.clear()
        if self._path is not None:
            if _inode(self._path) == self._inode:
                _unlink(self._path)
            self._path = None

    async def _listen_tcp(self, host: str, port: int) -> None:
        plain = host.strip("[]")
        family = socket.AF_INET6 if ":" in plain else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1" if plain == "localhost" else plain, port))
        except OSError as error:
            listener.close()
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise ListenFailed(
                f"http.listen: cannot listen on {host}:{port}: {reason}; choose another port", host=host, port=port
            ) from error
        await web.SockSite(self._runner, listener, backlog=BACKLOG).start()
        self._bound.append((host, listener.getsockname()[1]))

    async def _listen_unix(self, path: Path) -> None:
        listener = _bind_unix(path)
        self._path, self._inode = path, _inode(path)
        await web.SockSite(self._runner, listener, backlog=BACKLOG).start()


def _bind_unix(path: Path) -> socket.socket:
    """Bind with mode 0600. A socket file left behind by a dead process is replaced, a living one is not."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        listener.close()
        raise ListenFailed(
            f"http.socket: cannot create {path}: {error.strerror or error}; check the folder and its owner",
            path=str(path),
        ) from error
    return listener


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _inode(path: Path) -> tuple[int, int] | None:
    """Which file is at the path now, None when there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _remove_stale(path: Path) -> None:
    """Clear the way for a bind. Raises ListenFailed when something else or somebody living is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenFailed(f"http.socket: {path}: {error.strerror}", path=str(path)) from error
    if not stat.S_ISSOCK(mode):
        raise ListenFailed(f"http.socket: {path} is no socket; it is left alone", path=str(path))
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(HANDSHAKE_TIMEOUT_S)
    try:
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
        _log.info("stale-socket-removed", path=str(path))
        return
    except OSError as error:
        raise ListenFailed(f"http.socket: {path}: {error.strerror or error}", path=str(path)) from error
    finally:
        probe.close()
    raise ListenFailed(f"http.socket: another server answers on {path}; stop it first", path=str(path))
