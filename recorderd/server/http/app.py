"""The application: the route table, the guard in front of it, the API document made from it.

Law: puts together, decides nothing. `ROUTES` is the only list of what this server answers. Called by the composition
root.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from aiohttp import web

from recorderd.core.rights import Right
from recorderd.server.deps import ServerDeps
from recorderd.server.http import (
    coverage_routes,
    export_routes,
    frame_routes,
    health_routes,
    hls_live,
    hls_recorded,
    list_routes,
    live_routes,
    media_routes,
    page_routes,
    report_routes,
    storage_routes,
    url_routes,
    ws_routes,
)
from recorderd.server.http.answers import json_answer
from recorderd.server.http.frame_cache import FRAMES, FrameCache
from recorderd.server.http.guard import MAX_BODY_BYTES, PRINCIPAL, add_headers, guard
from recorderd.server.http.live_share import SHARES, LiveShares
from recorderd.server.http.media_routes import SHELF, MovieShelf
from recorderd.server.http.openapi import api_document
from recorderd.server.http.routing import API, Answer, Call, Route, check_query, check_table
from recorderd.server.http.signing import SIGNER, UrlSigner, signed_principal


async def openapi_json(call: Call) -> web.StreamResponse:
    """This API as an OpenAPI 3.1 document, made from the route table."""
    return json_answer(api_document(ROUTES, call.deps.info.version))


ROUTES: tuple[Route, ...] = (
    *list_routes.ROUTES,
    *coverage_routes.ROUTES,
    *report_routes.ROUTES,
    *storage_routes.ROUTES,
    *media_routes.ROUTES,
    *hls_recorded.ROUTES,
    *frame_routes.ROUTES,
    *live_routes.ROUTES,
    *hls_live.ROUTES,
    *url_routes.ROUTES,
    *export_routes.ROUTES,
    *ws_routes.ROUTES,
    Route(method="GET", path=f"{API}/openapi.json", operation="getApiDocument", handler=openapi_json,
          right=Right.PUBLIC, doc=openapi_json.__doc__ or "", answer=Answer(schema="Document")),
    *health_routes.ROUTES,
    *page_routes.ROUTES,
)  # fmt: skip


def build_app(deps: ServerDeps, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The application over these dependencies. Raises RouteTableError when a route declares no right."""
    table = check_table(routes)
    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app[SHELF] = MovieShelf()
    app[SIGNER] = UrlSigner(deps.data_dir, deps.clock)
    app[FRAMES] = FrameCache(deps.supervisor)
    app[SHARES] = LiveShares(deps.engine.live, deps.supervisor)
    app[hls_live.HLS] = hls_live.LiveHls(app[SHARES], deps.supervisor, deps.clock)
    app[ws_routes.SOCKETS] = weakref.WeakSet()
    app.on_shutdown.append(ws_routes.close_sockets)
    app.on_response_prepare.append(add_headers)
    for route in table:
        endpoint = _endpoint(route, deps)
        app.router.add_route(route.method, route.path, endpoint)
        if route.method == "GET" and route.answer.status != 101:
            app.router.add_route("HEAD", route.path, endpoint)
    return app


def _endpoint(route: Route, deps: ServerDeps) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        call = Call(request, deps, request[PRINCIPAL], route, {})
        if "sig" in request.query:
            call = replace(call, principal=signed_principal(call))
        call.principal.require(route.right)
        return await route.handler(replace(call, query=check_query(route, request)))

    return endpoint
