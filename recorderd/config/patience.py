"""Asking a file system that may not answer: a mount that hangs must hold up neither the start nor a reload.

Law: one question on a thread of its own, which is left to itself when it hangs; nothing is decided here. Used by the
checks of `recorderd.config` that look at where folders lie.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
PATIENCE_S: Final = 2.0


def ask(question: Callable[[], T], unknown: T, patience_s: float = PATIENCE_S) -> T:
    """The answer, or `unknown` when none comes in time. Raises what the question raises."""
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(question())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="ask a file system", daemon=True)
    thread.start()
    thread.join(patience_s)
    if errors:
        raise errors[0]
    return answers[0] if answers else unknown
