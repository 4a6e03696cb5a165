"""The API document (OpenAPI 3.1), made from the route table.

Law: pure; nothing stands here that is not in the table or the schemas. Called by the route that serves it and by the
check of the written docs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recorderd.server.http.routing import Param, Route, path_params
from recorderd.server.http.schemas import COMPONENTS
from recorderd.server.problems import CONTENT_TYPE, PROBLEMS

EVERYWHERE = ("bad-request", "unknown-parameter", "forbidden", "host-refused", "origin-refused", "internal")

_TIME_FORM = "RFC 3339 with offset, 'now', or relative as '-10m'"


def api_document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "recorderd", "version": version, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": COMPONENTS},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "tags": [route.tag],
        "summary": route.doc.strip().split("\n", 1)[0],
        "description": " ".join(route.doc.split()),
        "x-right": str(route.right),
        "parameters": [_in_path(name) for name in path_params(route.path)] + [_in_query(one) for one in route.query],
        "responses": {str(route.answer.status): _success(route)} | _refusals(route),
    }
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.signed:
        operation["x-signed"] = True
    return operation


def _success(route: Route) -> dict[str, Any]:
    answer = route.answer
    schema: dict[str, Any] = {"type": "string", "format": "binary"}
    if answer.schema is not None:
        schema = {"$ref": f"#/components/schemas/{answer.schema}"}
    shown: dict[str, Any] = {"description": "as asked", "content": {answer.content_type: {"schema": schema}}}
    if answer.status == 204:
        return {"description": "done"}
    if answer.status == 101:
        shown = {"description": "the WebSocket protocol of docs/api/websocket.md follows"}
    if answer.headers:
        shown["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    return shown


def _refusals(route: Route) -> dict[str, Any]:
    """One response per status; its codes are listed in `x-codes`."""
    by_status: dict[int, list[str]] = {}
    signed = ("signature-wrong", "signature-expired")
    for code in dict.fromkeys((*EVERYWHERE, *signed, *route.problems)):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"{code}: {PROBLEMS[code].meaning}" for code in codes),
            "x-codes": codes,
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, codes in sorted(by_status.items())
    }


def _in_path(name: str) -> dict[str, Any]:
    doc = {"camera": "id or name", "time": _TIME_FORM}.get(name, name)
    return {"name": name, "in": "path", "required": True, "description": doc, "schema": {"type": "string"}}


def _in_query(param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer" if param.kind == "count" else "string"}
    if param.kind == "word":
        schema["enum"] = list(param.words)
    if param.kind == "count":
        schema |= {"minimum": 1} | ({"maximum": param.highest} if param.highest else {})
    if param.default is not None:
        schema["default"] = int(param.default) if param.kind == "count" else param.default
    doc = f"{param.doc} ({_TIME_FORM})" if param.kind == "time" and "RFC" not in param.doc else param.doc
    return {"name": param.name, "in": "query", "required": param.required, "description": doc, "schema": schema}
