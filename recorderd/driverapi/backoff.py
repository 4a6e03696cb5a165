"""When to try a device again: pure policy, one object per hardware or stream.

Law: no clock and no sleeping here; the engine says what happened and gets a delay. 1, 2, 4 ... 60 s with full
jitter, so that many cameras returning after a switch reboot do not call at once; forgotten after 30 s of
media;
a refused password is tried once every 15 minutes, because cameras lock out.
"""

from __future__ import annotations

import random

from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnsupported, DriverError

FIRST_US = 1_000_000
CAP_US = 60_000_000
AUTH_US = 15 * 60_000_000
STEADY_MEDIA_US = 30_000_000
FLOOR_US = 50_000  # full jitter may draw nearly zero; never a busy loop


class Backoff:
    """Counts failures of one device. `jitter` is injected so that tests are exact."""

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row since the last reset."""
        return self._failures

    @property
    def ceiling_us(self) -> int:
        """The longest delay the next failure can draw."""
        return min(CAP_US, FIRST_US << min(self._failures, 16))

    def after(self, error: DriverError | None, media_us: int = 0) -> int | None:
        """Delay in microseconds before the next attempt, or None: stop until the configuration is reloaded.

        `error` is what ended the attempt (None: a driver bug or a quiet end); `media_us` how long media
        flowed
        in it. A device that asks for patience (`retry_after_us` in the error's params) gets it.
        """
        if isinstance(error, DeviceUnsupported):
            return None
        if isinstance(error, DeviceAuthFailed):
            return AUTH_US
        if media_us >= STEADY_MEDIA_US:
            self._failures = 0
        delay_us = max(FLOOR_US, int(self._jitter.uniform(0, self.ceiling_us)))
        self._failures += 1
        patience = error.params.get("retry_after_us") if error is not None else None
        return max(delay_us, min(patience, CAP_US)) if isinstance(patience, int) else delay_us

    def reset(self) -> None:
        """Forget the past: the configuration was reloaded."""
        self._failures = 0
