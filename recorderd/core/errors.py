"""The root of every error that recorderd raises on purpose.

Law: an error is a stable `code` with parameters; people and clients translate the code, the text is help.
The text names the place and the next move. A bug never inherits from these classes.
"""

from __future__ import annotations

from typing import ClassVar


class RecorderdError(Exception):
    """Base: `code` is stable across versions, `params` are JSON-able, str(error) is a sentence for people."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **params: object) -> None:
        super().__init__(message)
        self.message = message
        self.params: dict[str, object] = params


class UsageError(RecorderdError):
    """The caller asked for something that cannot be meant (HTTP 400, exit code 2)."""

    code = "bad-request"


class NotFoundError(RecorderdError):
    """The named thing does not exist (HTTP 404, exit code 1)."""

    code = "not-found"


class ForbiddenError(RecorderdError):
    """The principal lacks the right that the operation declares (HTTP 403)."""

    code = "forbidden"


class UnavailableError(RecorderdError):
    """Right question, but it cannot be answered now; retry later (HTTP 503, exit code 3)."""

    code = "unavailable"
