"""The reconnect policy, to the microsecond."""

from __future__ import annotations

import random

import pytest

from recorderd.driverapi.backoff import AUTH_US, CAP_US, FLOOR_US, Backoff
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DeviceUnsupported, StreamLost

pytestmark = pytest.mark.fast


class Top(random.Random):
    """Draws the highest value, so that the ceiling is seen."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Bottom(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


def test_doubles_to_a_minute_and_forgets_after_30_s_of_media() -> None:
    backoff = Backoff(Top())
    lost = StreamLost("x", reason="closed")
    delays = [backoff.after(lost) for _ in range(9)]
    assert delays == [1_000_000 << at for at in range(6)] + [CAP_US] * 3
    assert backoff.after(lost, media_us=29_999_999) == CAP_US
    assert backoff.after(lost, media_us=30_000_000) == 1_000_000
    backoff.reset()
    assert backoff.failures == 0


def test_full_jitter_but_never_a_busy_loop() -> None:
    assert Backoff(Bottom()).after(None) == FLOOR_US
    seeded = Backoff(random.Random(1))
    drawn = [seeded.after(None) or 0 for _ in range(50)]
    assert min(drawn[6:]) < 15_000_000
    assert max(drawn) <= CAP_US


def test_login_unsupported_and_patience() -> None:
    backoff = Backoff(Top())
    assert backoff.after(DeviceAuthFailed("x")) == AUTH_US
    assert backoff.after(DeviceUnsupported("x")) is None
    assert backoff.after(DeviceUnavailable("x", "busy", retry_after_us=30_000_000)) == 30_000_000
    assert backoff.after(DeviceUnavailable("x", "busy", retry_after_us=10**12)) == CAP_US
