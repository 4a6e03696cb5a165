"""What cameras do with their clocks: wraps, jumps, equal and falling times, reports that lie, drift over a day."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest

from recorderd.media.access_unit import AccessUnit, MediaKind, TimeQuality, UnitType
from recorderd.media.timeline import NTP_EPOCH_S
from tests.time.time_rig import DAY, GOP, MINUTE, VIDEO, S, World, number_of, picture
from tests.wire.rtp_bench import Bench, frame, rtp, sender_report

SLICE = b"\x41\x9a" + b"\x11" * 40
UTC_S = 1_750_000_000
WRAP = 1 << 32


def send(bench: Bench, numbers: range, ticks: float, us: float) -> None:
    """Pictures `ticks` apart on the camera's clock, arriving `us` apart."""
    begin_us = bench.clock.monotonic_us()
    for at, number in enumerate(numbers):
        bench.feed([rtp(SLICE, number, round(number * ticks) % WRAP, True)])
        bench.clock.advance(begin_us + round((at + 1) * us) - bench.clock.monotonic_us())


def test_the_media_clock_wraps_again_and_again() -> None:
    """32 bits at 90 kHz are 13 hours: five wraps at one picture in ten minutes."""
    bench = Bench()
    send(bench, range(400), 54_000_000, 600 * S)
    assert len(bench.units) == 400
    assert {b.pts - a.pts for a, b in pairwise(bench.units)} == {54_000_000}
    assert not any(unit.discontinuity or unit.lost_packets for unit in bench.units)
    assert bench.units[-1].pts - bench.units[0].pts > 5 * WRAP
    assert not bench.events


@pytest.mark.parametrize("years", [20, -20])
def test_a_camera_whose_date_jumps_by_years(years: int) -> None:
    bench = Bench()
    for number in range(60):
        jumped = years * 365 * 86_400 if number >= 30 else 0
        bench.feed([rtp(SLICE, number, number * 90_000, True)])
        bench.read(frame(sender_report((UTC_S + number + jumped + NTP_EPOCH_S) % WRAP, 0, number * 90_000), 1))
        bench.clock.advance(S)
    assert len(bench.units) == 60
    assert [code for code, _ in bench.events] == ["clock-step"]
    assert abs(int(str(bench.events[0][1]["delta_us"])) - years * 365 * DAY) < S
    assert {b.pts - a.pts for a, b in pairwise(bench.units)} == {90_000}, "media time is not moved by a date"
    assert {b.recv_us - a.recv_us for a, b in pairwise(bench.units)} == {S}


@pytest.mark.parametrize(
    "ntp_s", [0, 1, (1 << 32) - 1, NTP_EPOCH_S, 1 << 31], ids=["none", "one", "last", "1970", "half"]
)
def test_a_report_with_a_senseless_date_costs_nothing(ntp_s: int) -> None:
    bench = Bench()
    for number in range(40):
        bench.feed([rtp(SLICE, number, number * 90_000, True)])
        bench.read(frame(sender_report(ntp_s, 1 << 31, number * 90_000), 1))
        bench.clock.advance(S)
    assert len(bench.units) == 40
    assert {b.recv_us - a.recv_us for a, b in pairwise(bench.units)} == {S}


def test_one_report_that_goes_back_is_not_believed_two_are() -> None:
    bench = Bench()
    for number, ahead in enumerate((0, 5, 10, -3_000, 20, 25, -2_970, -2_965, -2_960)):
        bench.feed([rtp(SLICE, number, number * 450_000, True)])
        bench.read(frame(sender_report(UTC_S + ahead + NTP_EPOCH_S, 0, number * 450_000), 1))
        bench.clock.advance(5 * S)
    steps = [params["delta_us"] for code, params in bench.events if code == "clock-step"]
    assert steps == [-3_000 * S]
    assert len(bench.units) == 9


def test_a_camera_without_reports_says_so() -> None:
    bench = Bench()
    send(bench, range(100), 3_600, 40_000)
    assert {unit.cam_quality for unit in bench.units} == {TimeQuality.NONE}
    assert {unit.cam_us for unit in bench.units} == {None}
    assert not bench.events


@pytest.mark.parametrize("ppm", [500, -500])
def test_a_day_of_drift_moves_nothing_and_is_no_step(ppm: int) -> None:
    """Half a per mille is 43 s a day: pictures keep their arrival, no jump is seen, none is lost."""
    bench = Bench()
    step_us = 2 * S
    send(bench, range(DAY // step_us), 90_000 * 2 * (1 + ppm / 1e6), step_us)
    units = bench.units
    assert len(units) == DAY // step_us
    assert not any(unit.discontinuity for unit in units)
    assert "clock-step" not in [code for code, _ in bench.events]
    apart_us = (units[-1].pts - units[0].pts) * S // 90_000 - (units[-1].recv_us - units[0].recv_us)
    assert math.isclose(apart_us, 43.2 * S * ppm / 500, rel_tol=0.01)


async def recorded(folder: Path, ticks: list[int]) -> World:
    """Pictures two a second with these media times."""
    world = await World(folder).start()
    for number, at in enumerate(ticks):
        kind = UnitType.DELTA if number % GOP else UnitType.IDR
        now, mono = world.clock.utc_us(), world.clock.monotonic_us()
        world.sent.append(number)
        world.times[number] = now
        unit = AccessUnit(picture(number, not number % GOP), at, at, kind, now, mono, VIDEO)
        world.stream.unit(MediaKind.VIDEO, unit)
        world.clock.advance(S // 2)
        if number % 20 == 0:
            await world.flush()
    await world.stop()
    return world


async def test_a_thousand_pictures_of_the_same_time(tmp_path: Path) -> None:
    """Equal times are put in order by number: none overwrites another."""
    world = await recorded(tmp_path, [900_000] * 1_000)
    assert world.served() == world.sent
    for second in (10, 250, 499):
        at = world.times[0] + second * S
        assert second * 2 in world.served(at, at + S)


async def test_a_thousand_units_in_the_same_microsecond(tmp_path: Path) -> None:
    world = await World(tmp_path).start()
    for _ in range(1_000):
        world.unit()
    await world.flush()
    assert world.served() == world.sent
    await world.stop()
    assert world.served() == world.sent


async def test_media_times_that_fall(tmp_path: Path) -> None:
    """Each second the camera's count goes back: what comes out is what came in, in the order it came."""
    ticks = [900_000 + number * 45_000 - (number // 2) * 95_000 for number in range(400)]
    world = await recorded(tmp_path, ticks)
    assert world.served() == world.sent
    reader = world.reader()
    stored = [one for ref in reader.chunks(world.track, 0, 1 << 61) for one in reader.read(ref).samples]
    assert [number_of(one.data) for one in stored] == world.sent
    assert max(abs(one.recv_us - world.times[number_of(one.data)]) for one in stored) < 2 * S
    reader.close()


async def test_media_time_that_jumps_by_years_in_the_storage(tmp_path: Path) -> None:
    far = 90_000 * 3_600 * 24 * 365 * 20
    ticks = [900_000 + number * 45_000 + (far if 50 <= number < 100 else 0) for number in range(150)]
    world = await recorded(tmp_path, ticks)
    assert world.served() == world.sent
    words = world.words(world.times[0], world.times[149])
    assert "unexplained" not in {word[2] for word in words}
    assert sum(word[1] - word[0] for word in words if word[2] == "recorded") > 74 - 3, words
    assert world.times[149] - world.times[0] < 2 * MINUTE
