"""Health, readiness, metrics and the API document.

Law: nothing here touches a disk or a camera; a probe is answered from memory.
"""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from recorderd.core.rights import Right
from recorderd.server.http.answers import json_answer
from recorderd.server.http.metrics import CONTENT_TYPE, metrics_text
from recorderd.server.http.routing import Answer, Call, Route
from recorderd.server.problems import Refusal


async def healthz(call: Call) -> web.StreamResponse:
    """200 while the process answers; says nothing about cameras or storage."""
    return web.Response(text="ok\n")


async def readyz(call: Call) -> web.StreamResponse:
    """200 when recording can be relied on, else 503; both with every part of the server and what is missing."""
    parts = [asdict(part) for part in call.deps.subsystems()]
    missing = call.deps.not_ready()
    if missing:
        raise Refusal("unavailable", "not ready: " + "; ".join(missing), missing=missing, subsystems=parts)
    return json_answer({"ready": True, "subsystems": parts})


async def metrics(call: Call) -> web.StreamResponse:
    """Figures for Prometheus."""
    deps = call.deps
    pool = {name: value for name, value in asdict(deps.decoder.stats).items() if isinstance(value, int)}
    process = {f"decode_{name}_total": float(value) for name, value in pool.items()}
    process |= {"uptime_seconds": (deps.clock.utc_us() - deps.info.started_us) / 1e6, **deps.gauges()}
    states = [view.state for view in deps.engine.hardware()]
    parts = {part.name: part.ready for part in deps.subsystems()}
    audit = deps.audit.seconds() if deps.audit is not None else {}
    text = metrics_text(deps.engine.cameras(), deps.engine.storages(), states, process, parts, audit)
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


ROUTES = (
    Route(method="GET", path="/healthz", operation="healthz", handler=healthz, right=Right.PUBLIC,
          doc=healthz.__doc__ or "", answer=Answer("text/plain"), tag="health"),
    Route(method="GET", path="/readyz", operation="readyz", handler=readyz, right=Right.PUBLIC,
          doc=readyz.__doc__ or "", answer=Answer(schema="Readiness"), tag="health", problems=("unavailable",)),
    Route(method="GET", path="/metrics", operation="metrics", handler=metrics, right=Right.READ_STATUS,
          doc=metrics.__doc__ or "", answer=Answer("text/plain"), tag="health"),
)  # fmt: skip
