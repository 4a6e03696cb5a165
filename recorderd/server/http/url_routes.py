"""Signed addresses on request: for players that send no headers.

Law: names a media path and signs it; never opens it. The route's own right is the right that the address carries.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from recorderd.core.rights import Right
from recorderd.core.timerange import SECOND_US, format_time, parse_duration
from recorderd.server.footage import stream_tracks
from recorderd.server.http.answers import json_answer
from recorderd.server.http.bodies import json_body, take_text, take_time
from recorderd.server.http.routing import API, Answer, Call, Route
from recorderd.server.http.signing import SIGNER
from recorderd.server.problems import Refusal

LIVE = {"mp4": "live.mp4", "hls": "hls/live.m3u8"}
RECORDED = {"mp4": "media.mp4", "hls": "hls/recorded.m3u8"}
_EXP = re.compile(r"[?&]exp=(\d+)")


async def live_url(call: Call) -> web.StreamResponse:
    """An address of live media that opens without headers until it expires."""
    body = await json_body(call, ("form", "stream", "lifetime"))
    form = _form(body, tuple(LIVE))
    return _answer(call, body, LIVE[form], [("stream", _stream(call, body))])


async def recorded_url(call: Call) -> web.StreamResponse:
    """An address of recorded media (a stretch, or the picture at `start`) that opens without headers until it
    expires."""
    body = await json_body(call, ("form", "start", "end", "stream", "lifetime"))
    form = _form(body, (*RECORDED, "jpg"))
    now_us = call.deps.clock.utc_us()
    start = format_time(take_time(body, "start", now_us))
    stream = ("stream", _stream(call, body))
    if form == "jpg":
        return _answer(call, body, f"frames/{start}.jpg", [stream])
    end = format_time(take_time(body, "end", now_us))
    return _answer(call, body, RECORDED[form], [("start", start), ("end", end), stream])


def _answer(call: Call, body: Any, media: str, query: list[tuple[str, str]]) -> web.StreamResponse:
    lifetime_s = parse_duration(take_text(body, "lifetime", "1h")) // SECOND_US
    path = f"{API}/cameras/{call.camera().id}/{media}"
    url = call.request.app[SIGNER].sign(path, query, lifetime_s)
    found = _EXP.search(url)
    assert found is not None
    return json_answer({"url": url, "expires": format_time(int(found[1]) * SECOND_US)})


def _form(body: Any, words: tuple[str, ...]) -> str:
    form = take_text(body, "form")
    if form not in words:
        raise Refusal("bad-request", f"'form' must be one of {', '.join(words)}", name="form")
    return form


def _stream(call: Call, body: Any) -> str:
    role = take_text(body, "stream", "main")
    stream_tracks(call.camera(), role)
    return role


def _route(name: str, operation: str, handler: Any, right: Right, body: str) -> Route:
    return Route(method="POST", path=f"{API}/cameras/{{camera}}/{name}", operation=operation, handler=handler,
                 right=right, doc=handler.__doc__, answer=Answer(schema="SignedUrl"), body=body,
                 problems=("not-found", "unavailable"), tag="media")  # fmt: skip


ROUTES = (
    _route("live-url", "signLiveUrl", live_url, Right.VIEW_LIVE, "LiveUrlOrder"),
    _route("recorded-url", "signRecordedUrl", recorded_url, Right.VIEW_RECORDED, "RecordedUrlOrder"),
)
