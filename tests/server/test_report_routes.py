"""The coverage report over HTTP: what coverage says, summed up."""

from __future__ import annotations

import pytest
from server_scene import T0, S, Scene, record

from recorderd.core.timerange import format_time

WINDOW = f"start={format_time(T0)}&end={format_time(T0 + 11 * S)}"


async def test_the_report_is_coverage_summed_up(server: Scene) -> None:
    await record(server.store, "yard", start=20, end=60, audio=False)
    covered = await server.json(f"/api/v1/coverage?{WINDOW}")
    report = await server.json(f"/api/v1/reports/coverage?{WINDOW}")
    assert [one["name"] for one in report["cameras"]] == ["away", "gate", "yard"]
    assert report["length_us"] == 11 * S
    for camera, said in zip(report["cameras"], covered["cameras"], strict=True):
        assert camera["id"] == said["id"]
        assert sum(one["duration_us"] for one in camera["states"]) == 11 * S
        states = {(one["state"], one["reason"]) for one in camera["states"]}
        assert states == {(one["state"], one["reason"]) for one in said["intervals"]}
    away, gate, yard = report["cameras"]
    assert (away["recorded_us"], away["recorded_percent"], away["oldest"]) == (0, None, None)
    assert gate["recorded_us"] >= 10 * S
    assert gate["oldest"] == format_time(T0)
    assert 0 < yard["recorded_percent"] < 100
    assert yard["gaps"][0]["duration_us"] > 0
    assert report["totals"]["recorded_us"] == gate["recorded_us"] + yard["recorded_us"]


async def test_one_camera_by_name_and_a_week_of_a_zone(server: Scene) -> None:
    utc = await server.json("/api/v1/reports/coverage?cameras=gate")
    assert [one["name"] for one in utc["cameras"]] == ["gate"]
    assert (utc["zone"], utc["length_us"]) == ("UTC", 7 * 86_400 * S)
    berlin = await server.json(f"/api/v1/reports/coverage?week={utc['week']}&zone=Europe/Berlin")
    assert berlin["start"] < utc["start"]
    assert {one["state"] for one in utc["cameras"][0]["states"]} >= {"recorded", "not-scheduled"}


@pytest.mark.parametrize(
    "query", ["week=2026", "week=2026-W60", "zone=Nowhere/At", "zone=../etc/passwd", "week=2026-W01&start=-1h"]
)
async def test_what_is_no_week_or_zone_is_refused(server: Scene, query: str) -> None:
    await server.problem(f"/api/v1/reports/coverage?{query}", "bad-request")


async def test_too_long_and_unknown(server: Scene) -> None:
    await server.problem("/api/v1/reports/coverage?start=-40d", "range-too-long")
    await server.problem("/api/v1/reports/coverage?cameras=nobody", "not-found")
