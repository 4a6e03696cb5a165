"""What a playing stream needs of the way its media takes, and the way inside the RTSP connection.

Law: a path assigns tracks, paces reads, carries receiver reports and counts; it knows no session policy. Called by
`rtsp_play` and `rtsp_stream`; the other path is `rtsp_udp`.
"""

from __future__ import annotations

from typing import Protocol

from recorderd.driverkit.rtsp_connection import RtspConnection
from recorderd.wire.rtsp_client import PlannedTrack
from recorderd.wire.track import Track


class MediaPath(Protocol):
    """One stream's media, whatever it travels by. Tracks are told by their index in the session."""

    def assign(self, index: int, track: Track, planned: PlannedTrack) -> None:
        """SETUP of this track was answered; may be called again with the same."""
        ...

    def before_play(self, tracks: list[Track], planned: list[PlannedTrack]) -> None:
        """Every SETUP was answered, PLAY is next. Raises DriverError."""
        ...

    def gather(self, tick_us: int) -> None:
        """Read in shared ticks of `tick_us`, or at once when it is 0."""
        ...

    def send_report(self, index: int, packet: bytes) -> None:
        """Send RTCP about a track."""
        ...

    def stats(self) -> dict[str, int]:
        """Counters of the path, in the names of `RunningStream.stats`."""
        ...

    def silence(self) -> str:
        """Why perhaps nothing came at all, and what to set; "" when something did."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


class InterleavedPath:
    """Media inside the RTSP connection, tunnelled or not."""

    def __init__(self, connection: RtspConnection) -> None:
        self._connection = connection
        self._control: dict[int, int] = {}

    def assign(self, index: int, track: Track, planned: PlannedTrack) -> None:
        self._connection.receiver.assign(track, *planned.channels)
        self._control[index] = planned.channels[1]

    def before_play(self, tracks: list[Track], planned: list[PlannedTrack]) -> None:
        """Nothing to do: the connection is there."""

    def gather(self, tick_us: int) -> None:
        self._connection.gather(tick_us)

    def send_report(self, index: int, packet: bytes) -> None:
        self._connection.send_control(self._control[index], packet)

    def stats(self) -> dict[str, int]:
        receiver = self._connection.receiver
        return {
            "bytes": self._connection.bytes_received,
            "foreign_packets": receiver.unassigned,
            "resyncs": receiver.resyncs,
        }

    def silence(self) -> str:
        return ""

    def close(self) -> None:
        """The connection is closed by its owner."""
