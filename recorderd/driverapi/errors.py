"""Errors a driver raises; each class names the core's next move.

Law: anything else that leaves a driver is a driver bug: the traceback is logged once, counted, and the hardware
backs off. `reason` is a stable word that ends up in the coverage ledger.
"""

from __future__ import annotations

from typing import ClassVar

from recorderd.core.errors import RecorderdError


class DriverError(RecorderdError):
    """Base of the errors below. `reason` is a stable word such as 'refused', 'timeout', 'stall', 'closed'."""

    code: ClassVar[str] = "driver-error"

    def __init__(self, message: str, reason: str = "error", **params: object) -> None:
        super().__init__(message, reason=reason, **params)
        self.reason = reason


class DeviceUnavailable(DriverError):
    """Cannot be reached or answers nonsense now: back off (1, 2, 4 ... 60 s, full jitter) and retry."""

    code = "device-unavailable"


class DeviceAuthFailed(DriverError):
    """Refused twice although credentials were sent: one attempt every 15 min or on reload; cameras lock out."""

    code = "auth-failed"

    def __init__(self, message: str, reason: str = "auth-failed", **params: object) -> None:
        super().__init__(message, reason, **params)


class DeviceUnsupported(DriverError):
    """The device cannot do what is configured (no such path, codec, transport): stop until reload."""

    code = "device-unsupported"


class StreamLost(DriverError):
    """A running stream ended: reasons 'stall', 'closed', 'protocol'. Reopen that stream."""

    code = "stream-lost"
