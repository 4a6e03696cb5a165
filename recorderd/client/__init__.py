"""The Python client of the TCP stream API: live, playback, pull at full speed, events, timeline, coverage.

Law: for other programs; stands on `wire`, `media` and `core` alone, starts no tasks, prints and logs nothing. Described
in docs/client.md, the protocol in docs/api/stream.md.
"""

from recorderd.client.client import Client, ConnectOptions, connect
from recorderd.client.connection import Timing
from recorderd.client.errors import (
    CannotConnect,
    ClientError,
    ConnectionLost,
    Damaged,
    ProtocolViolation,
    Refused,
    StreamEnded,
)
from recorderd.client.media import Events, Live, LiveOptions, Player, PlayOptions, Pull, PullOptions
from recorderd.client.retry import Reconnect, Retry
from recorderd.client.values import (
    Camera,
    Chunk,
    ChunkSample,
    Config,
    Event,
    Hole,
    Interval,
    Position,
    Sealed,
    Server,
    Span,
    TrackSpans,
    Unit,
)

__all__ = [
    "Camera",
    "CannotConnect",
    "Chunk",
    "ChunkSample",
    "Client",
    "ClientError",
    "Config",
    "ConnectOptions",
    "ConnectionLost",
    "Damaged",
    "Event",
    "Events",
    "Hole",
    "Interval",
    "Live",
    "LiveOptions",
    "PlayOptions",
    "Player",
    "Position",
    "ProtocolViolation",
    "Pull",
    "PullOptions",
    "Reconnect",
    "Refused",
    "Retry",
    "Sealed",
    "Server",
    "Span",
    "StreamEnded",
    "Timing",
    "TrackSpans",
    "Unit",
    "connect",
]  # fmt: skip
