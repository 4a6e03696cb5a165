"""What one peer, and all of them together, may take of the server.

Law: numbers only; docs/api/stream.md names those that a peer can notice.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.wire.stream.messages import HELLO_S, IDLE_S, MAX_SERVER_BYTES

MIN_MESSAGE_BYTES = 2**20  # the least a client may lower the server's messages to
MAX_CREDIT = 2**40
MAX_INTERVALS = 20_000  # stretches in one answer
MAX_CAMERAS = 100  # in one question for coverage
MAX_CAUSES = 100  # of one hole
MAX_CAUSES_BYTES = 48 * 1024  # of them together: a head ends at 65535


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """`live_bytes`: live units that may wait for one connection. `owed_bytes`: answers that may wait before its
    requests are no longer read. `linger_us`: how long a connection that was said goodbye to may take to go."""

    connections: int = 2_048
    subscriptions: int = 64
    message_bytes: int = MAX_SERVER_BYTES
    hello_us: int = HELLO_S * 1_000_000
    idle_us: int = IDLE_S * 1_000_000
    linger_us: int = 2_000_000
    live_bytes: int = 6 * 2**20
    owed_bytes: int = 256 * 2**10
    questions: int = 4  # long questions of one connection being answered at once
    read_ahead_bytes: int = 4 * 2**20  # of one pull
