"""The one table of routes, and what a handler receives.

Law: a Route says everything about a path: method, right, parameters, answer, text. The application, the API document
and the checks of the written docs are made from the table and from nothing else. A route without a Right stops the
start. Called by `app` and `openapi`; every handler module builds a tuple of Routes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from recorderd.core.errors import RecorderdError
from recorderd.core.rights import Principal, Right
from recorderd.server.problems import PROBLEMS, Refusal

if TYPE_CHECKING:
    from recorderd.engine.views import CameraView
    from recorderd.server.deps import ServerDeps

API = "/api/v1"
SIGNED_UNTIL: web.RequestKey[int] = web.RequestKey("signed until", int)
MAX_VALUE_CHARS = 4_096

ParamKind = Literal["text", "time", "duration", "count", "word"]


class RouteTableError(RecorderdError):
    """The table of routes contradicts itself; the server does not start."""

    code = "route-table"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of path or query. `words`: the allowed values of kind `word`; `highest`: of kind `count`."""

    name: str
    kind: ParamKind
    doc: str
    required: bool = False
    default: str | None = None
    words: tuple[str, ...] = ()
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route gives back on success. `schema`: name of a component of the API document, for JSON answers."""

    content_type: str = "application/json"
    schema: str | None = None
    status: int = 200
    headers: tuple[str, ...] = ()


Handler = Callable[["Call"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `path` uses {name} for path parameters; `problems` are the codes it may answer beyond the ones
    that every route can; `body` names the schema of its JSON body; `signed`: a signed address opens it."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    operation: str
    handler: Handler
    right: Right
    doc: str
    answer: Answer
    query: tuple[Param, ...] = ()
    problems: tuple[str, ...] = ()
    tag: str = "server"
    body: str | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler: who asks, with which parameters (declared ones only, checked)."""

    request: web.Request
    deps: ServerDeps
    principal: Principal
    route: Route
    query: Mapping[str, str]

    def text(self, name: str) -> str:
        """A declared query parameter, or its default, or ''."""
        return self.query.get(name, "")

    def camera(self) -> CameraView:
        """The camera of the path, by id or name, if the caller may use it for this route."""
        view = self.deps.engine.camera(self.request.match_info["camera"])
        self.principal.require(self.route.right, view.id)
        return view

    def sees(self, camera: Any) -> bool:
        """Whether a list may show this camera (or None: not about a camera) to the caller."""
        return self.principal.cameras is None or camera is None or camera in self.principal.cameras


def check_table(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The table, or RouteTableError: a missing Right, a doubled path or operation, an unknown problem code."""
    table = tuple(routes)
    seen: set[tuple[str, str]] = set()
    names: set[str] = set()
    for route in table:
        place = f"{route.method} {route.path}"
        if not isinstance(route.right, Right):
            raise RouteTableError(f"{place} declares no Right; every route must", path=route.path)
        if (route.method, route.path) in seen or route.operation in names:
            raise RouteTableError(f"{place} ({route.operation}) is in the table twice", path=route.path)
        if unknown := set(route.problems) - set(PROBLEMS):
            raise RouteTableError(f"{place} names unknown problems: {sorted(unknown)}", path=route.path)
        seen.add((route.method, route.path))
        names.add(route.operation)
    return table


def path_params(path: str) -> list[str]:
    """Names of the {parameters} of a path."""
    return re.findall(r"\{(\w+)\}", path)


def check_query(route: Route, request: web.Request) -> dict[str, str]:
    """The declared parameters of a request with defaults filled in; refuses unknown, doubled and missing ones."""
    known = {param.name: param for param in route.query}
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if SIGNED_UNTIL in request and name in ("exp", "sig"):
            continue
        if name not in known:
            raise Refusal("unknown-parameter", f"{name!r} is not a parameter of {route.path}", name=name[:100])
        if name in values:
            raise Refusal("bad-request", f"{name!r} is given twice", name=name)
        if len(value) > MAX_VALUE_CHARS:
            raise Refusal("bad-request", f"{name!r} is longer than {MAX_VALUE_CHARS} characters", name=name)
        values[name] = value
    for param in route.query:
        if param.name not in values:
            if param.required:
                raise Refusal("bad-request", f"the parameter {param.name!r} is missing: {param.doc}",
                                  name=param.name)  # fmt: skip
            if param.default is not None:
                values[param.name] = param.default
        _check_value(param, values.get(param.name))
    return values


def _check_value(param: Param, value: str | None) -> None:
    if value is None:
        return
    if param.kind == "word" and value not in param.words:
        raise Refusal("bad-request", f"{param.name!r} must be one of {', '.join(param.words)}", name=param.name)
    if param.kind == "count":
        highest = param.highest if param.highest is not None else 2**31
        if not re.fullmatch(r"\d{1,10}", value, re.ASCII) or not 1 <= int(value) <= highest:
            raise Refusal("bad-request", f"{param.name!r} must be a whole number from 1 to {highest}", name=param.name)
