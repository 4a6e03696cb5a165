"""The web page: static files out of the package.

Law: serves exactly the files that the package ships, found at start; nothing of a request ever becomes a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from aiohttp import web

from recorderd.core.rights import Right
from recorderd.server.http.routing import Answer, Call, Route
from recorderd.server.problems import Refusal

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str


@cache
def _shipped() -> dict[str, _File]:
    found = {}
    for entry in files("recorderd").joinpath("web").iterdir():
        kind = _TYPES.get("." + entry.name.rpartition(".")[2])
        if kind is not None:
            body = entry.read_bytes()
            found[entry.name] = _File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found


async def page(call: Call) -> web.StreamResponse:
    """The web page."""
    return _answer(call, "index.html")


async def page_file(call: Call) -> web.StreamResponse:
    """A file of the web page."""
    return _answer(call, call.request.match_info["file"])


async def page_icon(call: Call) -> web.StreamResponse:
    """Browsers ask for it; there is none."""
    return web.Response(status=204)


def _answer(call: Call, name: str) -> web.StreamResponse:
    file = _shipped().get(name)
    if file is None:
        raise Refusal("not-found", "the web page has no such file")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if call.request.headers.get("If-None-Match") == file.etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)


ROUTES = (
    Route(method="GET", path="/", operation="page", handler=page, right=Right.PUBLIC, doc=page.__doc__ or "",
          answer=Answer("text/html"), tag="page"),
    Route(method="GET", path="/web/{file}", operation="pageFile", handler=page_file, right=Right.PUBLIC,
          doc=page_file.__doc__ or "", answer=Answer("text/plain"), tag="page", problems=("not-found",)),
    Route(method="GET", path="/favicon.ico", operation="pageIcon", handler=page_icon, right=Right.PUBLIC,
          doc=page_icon.__doc__ or "", answer=Answer("image/x-icon", status=204), tag="page"),
)  # fmt: skip
