"""JSON bodies of requests, member by member.

Law: pure but for reading the body; unknown members are refused, never ignored. Called by the handlers that take a body.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from recorderd.server.http.routing import MAX_VALUE_CHARS, Call
from recorderd.server.problems import Refusal
from recorderd.server.timespan import read_time

BODY_S = 10.0


async def json_body(call: Call, known: Sequence[str]) -> Mapping[str, Any]:
    """The body as a map. Raises Refusal for anything else and for members that are not `known`."""
    if call.request.content_type != "application/json":
        raise Refusal("bad-request", "the body must be JSON, with Content-Type: application/json")
    try:
        async with asyncio.timeout(BODY_S):
            data = await call.request.read()
    except TimeoutError:
        raise Refusal("request-rejected", f"the body did not come within {BODY_S:.0f} s") from None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal("bad-request", "the body is no JSON") from None
    if not isinstance(value, dict):
        raise Refusal("bad-request", "the body must be a JSON object")
    for name in value:
        if name not in known:
            raise Refusal("unknown-parameter", f"{name[:100]!r} is no member of this body", name=name[:100])
    return value


def take_texts(body: Mapping[str, Any], name: str, highest: int, default: list[str] | None = None) -> list[str]:
    """A list of 1 to `highest` different texts."""
    value = body.get(name, default)
    if (
        not isinstance(value, list)
        or not 0 < len(value) <= highest
        or not all(isinstance(one, str) and 0 < len(one) <= 256 and one.isprintable() for one in value)
    ):
        raise Refusal("bad-request", f"{name!r} must be a list of 1 to {highest} texts", name=name)
    return list(dict.fromkeys(value))


def take_time(body: Mapping[str, Any], name: str, now_us: int) -> int:
    """A time as in queries."""
    value = body.get(name)
    if not isinstance(value, str) or len(value) > MAX_VALUE_CHARS:
        raise Refusal("bad-request", f"{name!r} must be a time: RFC 3339, 'now' or relative as '-10m'", name=name)
    return read_time(value, now_us, name)


def take_flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise Refusal("bad-request", f"{name!r} must be true or false", name=name)
    return value


def take_text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text of 1 to 256 characters."""
    value = body.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise Refusal("bad-request", f"{name!r} must be a text of 1 to 256 characters", name=name)
    return value
