"""One track's answer to "what holds from now on?", written into the ledger through its TrackWriter.

Law: pure but for the writer it talks to; time comes with each call. A state is written only when it changes; a
hole between two units is stated as a closed interval. The fold that reads it (`mediadb.ledger_fold`) lets media
win over statements, so stating the past (where the last unit ended) is right and expected. Owned by one track's
recorder; knows no other track.
"""

from __future__ import annotations

from mediadb.types import Cause, State
from recorderd.engine.ports import TrackWriter

RECORDED = Cause(State.RECORDED)
NEVER = Cause(State.NOT_SCHEDULED, "record-never")
STOPPED = Cause(State.SERVER_DOWN, "stop")
REMOVED = Cause(State.NOT_SCHEDULED, "not-configured")
CHANGED = Cause(State.CAMERA_OFFLINE, "reconfigured")
CONNECTING = "connecting"
_LATE_US = 10_000_000  # units arrive, and loops run, this late at most; more is a clock that was set back


def offline(reason: str, **params: object) -> Cause:
    """The camera gives nothing: with the driver's reason word."""
    return Cause(State.CAMERA_OFFLINE, reason, params)


class TrackCoverage:
    """The state machine of one track. `cause` is what holds, since `since_us` (recorder UTC)."""

    def __init__(self, writer: TrackWriter) -> None:
        self._writer = writer
        self.cause: Cause | None = None
        self.since_us = 0

    @property
    def recorded(self) -> bool:
        return self.cause is RECORDED

    def holds(self, time_us: int, cause: Cause) -> bool:
        """From `time_us` on `cause` holds; True when that is news (another state or reason)."""
        held = self.cause
        if held is not None and held.state is cause.state and held.reason == cause.reason:
            return False
        if 0 < self.since_us - time_us < _LATE_US:
            time_us = self.since_us  # said later, but about an earlier moment: the order of words must hold
        self.cause = cause
        self.since_us = time_us
        self._writer.cover(time_us, cause)
        return True

    def hole(self, start_us: int, end_us: int, cause: Cause) -> None:
        """[start_us, end_us) between two units has no media, for `cause`; the state itself goes on."""
        self._writer.gap(min(start_us, end_us - 1), end_us, cause)
