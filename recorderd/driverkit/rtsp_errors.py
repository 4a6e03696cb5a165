"""What a failed RTSP exchange means for the core: from wire errors to driver errors.

Law: a pure table. Each result names the core's next move; `reason` is the word that ends up in the coverage
ledger. Called by `rtsp_stream`.
"""

from __future__ import annotations

import errno

from recorderd.core.errors import RecorderdError
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DeviceUnsupported, DriverError
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_client import LoginRefused, StatusError, TransportRefused
from recorderd.wire.rtsp_reply import Lower

_BUSY_STATUS = frozenset((453, 503))
_NEVER_STATUS = frozenset((415, 505, 551))
_REASONS = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "timeout", errno.ECONNRESET: "closed"}


def driver_error(error: Exception, session_timeout_s: int = 60) -> DriverError:
    """The driver error for anything that ended a handshake."""
    if isinstance(error, DriverError):
        return error
    if isinstance(error, LoginRefused):
        return DeviceAuthFailed(error.message)
    if isinstance(error, StatusError):
        return _status_error(error, session_timeout_s)
    if isinstance(error, TransportRefused):
        return _transport_error(error)
    if isinstance(error, ProtocolError):
        return DeviceUnavailable(f"the camera's answer cannot be used: {error.message}", "protocol", **error.params)
    if isinstance(error, TimeoutError):
        return DeviceUnavailable("the camera did not answer in time", "timeout")
    if isinstance(error, OSError):
        reason = _REASONS.get(error.errno or 0, "unreachable")
        return DeviceUnavailable(f"the camera cannot be reached: {error.strerror or error}", reason)
    if isinstance(error, RecorderdError):
        return DeviceUnavailable(error.message, "error", **error.params)
    raise error


def _transport_error(error: TransportRefused) -> DriverError:
    """Says what to set instead."""
    if error.answered is not None:
        advice = f'set transport = "{error.answered.value}"'
    else:
        others = [f'"{one.value}"' for one in Lower if one is not error.asked]
        advice = f"set transport to {' or '.join(others)}"
    return DeviceUnsupported(f"{error.message}: {advice}", "transport", **error.params)


def _status_error(error: StatusError, session_timeout_s: int) -> DriverError:
    if error.status in _BUSY_STATUS:
        return DeviceUnavailable(
            f"{error.message}: the camera has no connection left", "busy", status=error.status,
            retry_after_us=session_timeout_s * 1_000_000,
        )  # fmt: skip
    if error.status in _NEVER_STATUS:
        return DeviceUnsupported(f"{error.message}: change the transport or stream", "transport", status=error.status)
    if error.status == 404:
        # Also what a camera answers while it starts: worth trying again.
        return DeviceUnavailable(f"{error.message}: check the path", "not-found", status=404)
    hint = ": perhaps it does not know this transport" if error.method == "SETUP" else ""
    return DeviceUnavailable(error.message + hint, "status", status=error.status, method=error.method)
