"""Time, sizes, secrets and rights: the words everything else is written in."""

from __future__ import annotations

import copy
import json
import pickle
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorderd.core.clock import FakeClock
from recorderd.core.errors import ForbiddenError, UsageError
from recorderd.core.ids import derived_uuid
from recorderd.core.rights import LOCAL, Principal, Right
from recorderd.core.secret import Secret
from recorderd.core.timerange import TimeRange, format_time, parse_duration, parse_size, parse_time

pytestmark = pytest.mark.fast

NOON = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01t12:00:00z", NOON),
        ("2026-03-01 12:00:00.5Z", NOON + 500_000),
        ("2026-03-01T12:00:00.123456789Z", NOON + 123_456),
        ("2026-03-01T13:00:00+01:00", NOON),
        ("2026-03-01T11:30:00-00:30", NOON),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("now", NOON),
        ("-10m", NOON - 600_000_000),
        ("+5s", NOON + 5_000_000),
    ],
)
def test_times_people_write(text: str, wanted: int) -> None:
    assert parse_time(text, NOON) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", "2026-02-30T12:00:00Z", "-10",
     "2026-03-01T25:00:00Z", "2026-03-01T12:00:00+24:00", "10m", "-10y", "٢٠٢٦-03-01T12:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="not a"):
        parse_time(text, NOON)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_a_time_survives_writing_and_reading(time_us: int) -> None:
    assert parse_time(format_time(time_us), 0) == time_us


@pytest.mark.parametrize(("text", "us"), [("250ms", 250_000), ("5s", 5_000_000), ("30d", 2_592_000_000_000)])
def test_durations(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(("text", "size"), [("4TB", 4 * 10**12), ("256MiB", 2**28), ("1kB", 1000), ("0B", 0)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["5", "s", "-5s", "5 weeks", "1.5h", "4tb", "4KB"])
def test_units_are_exact(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)
    with pytest.raises(UsageError):
        parse_size(text)


def test_ranges_are_half_open_and_never_inverted() -> None:
    whole = TimeRange(10, 20)
    assert whole.contains(10)
    assert not whole.contains(20)
    assert whole.intersect(TimeRange(20, 30)) is None
    assert whole.intersect(TimeRange(15, 30)) == TimeRange(15, 20)
    with pytest.raises(UsageError, match="swap"):
        TimeRange(2, 1)


def test_a_secret_cannot_be_shown_by_accident() -> None:
    secret = Secret("canary")
    assert "canary" not in f"{secret} {secret!r} {secret:>40} {[secret]} {vars(type(secret))}"
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    assert secret == Secret("canary")
    assert secret != Secret("other")
    assert secret.reveal() == "canary"


def test_rights_are_refused_unless_held() -> None:
    camera, other = uuid.uuid4(), uuid.uuid4()
    guest = Principal("guest", frozenset({Right.VIEW_LIVE}), frozenset({camera}))
    guest.require(Right.VIEW_LIVE, camera)
    guest.require(Right.PUBLIC)
    for right, which in [(Right.EXPORT, camera), (Right.VIEW_LIVE, other)]:
        with pytest.raises(ForbiddenError):
            guest.require(right, which)
    for right in Right:
        LOCAL.require(right, other)


def test_a_stepped_clock_keeps_its_monotonic_reading() -> None:
    clock = FakeClock(utc_us=1000, monotonic_us=5)
    clock.advance(10)
    clock.step(-500)
    assert (clock.utc_us(), clock.monotonic_us()) == (510, 15)


def test_derived_identities_are_stable_and_distinct() -> None:
    camera = uuid.UUID(int=7)
    assert derived_uuid(camera, "main/video") == derived_uuid(camera, "main/video")
    assert derived_uuid(camera, "main/video") != derived_uuid(camera, "sub/video")
