"""The HTTP client of the command line: one server, by URL or Unix socket.

Law: carries requests and answers, turns refusals into typed errors with exit codes, prints nothing. Never follows a
redirect and never uses a proxy: the server is on this machine or behind the tunnel that the user named.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlsplit

import aiohttp

from recorderd.cli.arguments import UNREACHABLE, USAGE, WRONG
from recorderd.core.errors import RecorderdError, UsageError

API = "/api/v1"
DEFAULT_SOCKETS = (Path("/run/recorderd/api.sock"), Path("/var/lib/recorderd/api.sock"))
DEFAULT_URL = "http://127.0.0.1:8080"
_CONNECT_S = 5.0
_ANSWER_S = 120.0
PAGE = 1_000


class Unreachable(RecorderdError):
    """No server answers there."""

    code: ClassVar[str] = "unreachable"
    exit_code = UNREACHABLE


class Refused(RecorderdError):
    """The server answered with a problem; `problem` is its document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))
        self.status = status
        self.problem = problem

    @property
    def exit_code(self) -> int:
        if self.status == 503:
            return UNREACHABLE
        return USAGE if self.status == 400 else WRONG

    @property
    def problem_code(self) -> str:
        return str(self.problem.get("code", ""))


def choose_server(given: str | None, environ: Mapping[str, str], sockets: Sequence[Path] = DEFAULT_SOCKETS) -> str:
    """What to talk to: the option, RECORDERD_SERVER, a default socket that is there, the default URL."""
    chosen = given or environ.get("RECORDERD_SERVER")
    if chosen:
        return chosen
    return next((f"unix:{path}" for path in sockets if path.is_socket()), DEFAULT_URL)


class Client:
    """`async with Client(server) as client`. `server` is http://HOST:PORT or unix:PATH."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._socket = server.removeprefix("unix:") if server.startswith("unix:") else None
        self._base = "http://localhost" if self._socket else server.rstrip("/")
        if self._socket is None:
            url = urlsplit(server)
            if url.scheme != "http" or not url.hostname or url.path.strip("/") or url.username is not None:
                raise UsageError(f"not a server: {server!r}; write http://HOST:PORT or unix:PATH")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(self._socket) if self._socket else aiohttp.TCPConnector()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_ANSWER_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, **query: str | None) -> Any:
        """The JSON of API/path; empty and absent query values are left out."""
        async with self.open("GET", path, **query) as answer:
            return await answer.json()

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of the answer; `body` goes as JSON."""
        async with self.open("POST", path, body) as answer:
            return await answer.json()

    @property
    def base(self) -> str:
        """What stands in front of a path of this server; empty over its socket."""
        return "" if self._socket else self._base

    async def text(self, path: str) -> str:
        async with self.open("GET", path) as answer:
            return await answer.text()

    async def readiness(self) -> Any:
        """The parts of the server, also of one that is not ready."""
        try:
            return await self.get("/readyz")
        except Refused as error:
            parts = error.problem.get("params", {}).get("subsystems")
            if parts is None:
                raise
            return {"ready": False, "subsystems": parts}

    async def items(self, path: str, **query: str | None) -> list[dict[str, Any]]:
        """A whole list, over all its pages."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, cursor=cursor, **query)
            found += page["items"]
            cursor = page.get("next")
            if cursor is None:
                return found

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, /, **query: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A streaming answer; `path` is below the API, or whole with a '/'. Raises Unreachable, Refused."""
        assert self._session is not None
        params = {name: value for name, value in query.items() if value}
        try:
            async with self._session.request(
                method,
                self._base + (path if path.startswith("/") else f"{API}/{path}"),
                params=params,
                json=body,
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    raise Refused(answer.status, _problem(await answer.text()))
                yield answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(
                f"{self.server} does not answer ({_reason(error)}); is recorderd running? "
                "Name it with --server or RECORDERD_SERVER",
                server=self.server,
            ) from error


def segment(text: str) -> str:
    """A name or id as one path segment."""
    return quote(text, safe="")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__


def _problem(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"detail": text[:200]}
