"""Rights and who asks.

Law: every route, WebSocket command and TCP message declares one Right; one without a declaration stops the
start. Until identity exists the only Principal is `LOCAL`, which holds them all.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field

from recorderd.core.errors import ForbiddenError


class Right(enum.StrEnum):
    """What an operation needs; camera-scoped rights are checked against the cameras it touches."""

    PUBLIC = "public"  # health and the API description: nothing about cameras
    VIEW_LIVE = "view-live"
    VIEW_RECORDED = "view-recorded"
    EXPORT = "export"
    READ_STATUS = "read-status"
    READ_CONFIG = "read-config"
    WRITE_CONFIG = "write-config"
    ADMINISTER = "administer"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a name for logs, the rights held, and the cameras they hold for (None: all)."""

    name: str
    rights: frozenset[Right]
    cameras: frozenset[uuid.UUID] | None = field(default=None)

    def require(self, right: Right, camera: uuid.UUID | None = None) -> None:
        """Raise ForbiddenError unless the right is held (for that camera)."""
        if right is not Right.PUBLIC and right not in self.rights:
            raise ForbiddenError(f"{self.name} lacks the right {right}", right=str(right))
        if camera is not None and self.cameras is not None and camera not in self.cameras:
            raise ForbiddenError(f"{self.name} may not use this camera", right=str(right))


LOCAL = Principal("local", frozenset(Right))
