"""The one error that bytes from the network can cause.

Law: every parser and state machine in `recorderd.wire` and `recorderd.media` either gives a result or raises
`ProtocolError`; hostile bytes never cause any other exception. Shells turn it into their own answer (a driver
into StreamLost, a server into 400 and a closed connection).
"""

from __future__ import annotations

from typing import ClassVar

from recorderd.core.errors import RecorderdError


class ProtocolError(RecorderdError):
    """The peer sent what cannot be read. `params` may name the place (`offset`, `line`)."""

    code: ClassVar[str] = "protocol-error"
