"""The machine's clocks behind the `Clock` protocol.

Law: this is the only file of the daemon that reads the machine's time; everyone else is handed a Clock. It is
built once, in the composition root.
"""

from __future__ import annotations

import time


class SystemClock:
    """UTC from the system clock (it may step) and the kernel's steady count, both in microseconds."""

    __slots__ = ()

    def utc_us(self) -> int:
        return time.time_ns() // 1_000  # noqa: TID251 - the one place

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1_000
