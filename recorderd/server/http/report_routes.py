"""The coverage report: a week or a range, per camera.

Law: reads parameters, asks the service, shows its document.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web

from mediadb.report import Range, WeekTextError, week_of, week_range
from recorderd.core.rights import Right
from recorderd.server.footage import asked
from recorderd.server.http.answers import json_answer
from recorderd.server.http.coverage_routes import chosen_cameras
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.problems import Refusal
from recorderd.server.timespan import MAX_MEDIA_US, read_range
from recorderd.services.reports.service import CoverageReports

MAX_CAMERAS = 1_000


async def coverage_report(call: Call) -> web.StreamResponse:
    """GET reports/coverage: what was recorded in a week or a range, per camera, and where the rest went."""
    views = chosen_cameras(call, MAX_CAMERAS)
    limits = {one.name: one.stats.get("retention_us") for one in call.deps.engine.storages()}
    wanted = [asked(one, limits.get(one.storage)) for one in views]
    reports = call.deps.reports or CoverageReports(call.deps.stores, call.deps.clock)
    return json_answer(await reports.make(_span(call), wanted))


def _span(call: Call) -> Range:
    now_us = call.deps.clock.utc_us()
    start, end, week, name = (call.text(key) for key in ("start", "end", "week", "zone"))
    if start or end:
        if week:
            raise Refusal("bad-request", "give a week, or `start` and `end`, not both", name="week")
        span = read_range(start or "-7d", end or "now", now_us, MAX_MEDIA_US)
        return Range(span.start_us, span.end_us)
    try:
        zone = ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refusal("bad-request", f"{name[:100]!r} is no time zone; write Europe/Berlin", name="zone") from None
    try:
        return week_range(week or week_of(now_us, zone), zone, name or "UTC")
    except (WeekTextError, OverflowError) as error:
        raise Refusal("bad-request", str(error)[:200], name="week") from None


ROUTES = (
    Route(
        method="GET", path=f"{API}/reports/coverage", operation="getCoverageReport", handler=coverage_report,
        right=Right.VIEW_RECORDED, doc=(coverage_report.__doc__ or "").split(": ", 1)[1],
        answer=Answer(schema="CoverageReport"), tag="recorded", problems=("not-found", "range-too-long"),
        query=(
            Param("cameras", "text", "ids or names, separated by commas; all without it"),
            Param("week", "text", "such as 2026-W47; without any range the week that runs"),
            Param("zone", "text", "time zone of the week's borders, such as Europe/Berlin; UTC without it"),
            Param("start", "time", "first moment of another range, up to 31 days"),
            Param("end", "time", "first moment after it"),
        ),
    ),
)  # fmt: skip
