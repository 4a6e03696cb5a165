"""What can go wrong between a program and a recording server, one class per next move.

Law: values only. `Refused` carries the server's stable code and parameters (docs/api/errors.md); nothing here holds
what was sent, so that no secret can reach a log through an error.
"""

from __future__ import annotations

from typing import ClassVar

from recorderd.core.errors import RecorderdError


class ClientError(RecorderdError):
    """Base of every error that this package raises on purpose."""

    code: ClassVar[str] = "client-error"


class CannotConnect(ClientError):
    """Nobody answers there, or not in time: is the server up, is [stream] configured, is the address right?"""

    code: ClassVar[str] = "unreachable"


class ConnectionLost(ClientError):
    """The connection ended without being asked to, and was not (or could not be) made again."""

    code: ClassVar[str] = "connection-lost"


class ProtocolViolation(ClientError):
    """The other side does not speak the stream API as documented: wrong port, or a bug worth a report."""

    code: ClassVar[str] = "protocol-error"


class Refused(ClientError):
    """The server refused one request. `server_code` is stable, `params` (of the base) are its parameters."""

    code: ClassVar[str] = "refused"

    def __init__(self, server_code: str, message: str, params: dict[str, object]) -> None:
        super().__init__(f"{message} ({server_code})")
        self.server_code = server_code
        self.params = params


class StreamEnded(ClientError):
    """The server ended a subscription that had more to give. `reason`: 'too-slow', 'camera-removed', ..."""

    code: ClassVar[str] = "stream-ended"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the server ended the subscription: {reason}", reason=reason)
        self.reason = reason


class Damaged(ClientError):
    """The bytes of a chunk do not have the SHA-256 that came with them: pull it again."""

    code: ClassVar[str] = "chunk-damaged"
