"""An answer that is known now or a little later: what lets a session stay without tasks while its source reads disks.

Law: single-threaded, no loop, no time. Callbacks run at once, inside `resolve` or `refuse`; a value that nobody waits
for any more is dropped. Made by mounts and visits, waited for by the session and the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from recorderd.rtspserver.statuses import Refused

T = TypeVar("T")
U = TypeVar("U")


class Later(Generic[T]):
    """A value of type T that will be there exactly once, or a `Refused` in its place."""

    def __init__(self) -> None:
        self._known: tuple[T] | None = None
        self._refusal: Refused | None = None
        self._told: Callable[[T], None] | None = None
        self._refused: Callable[[Refused], None] | None = None

    @property
    def settled(self) -> bool:
        return self._known is not None or self._refusal is not None

    def resolve(self, value: T) -> None:
        """The value; whoever waits gets it before this returns. Once."""
        self._known = (value,)
        if self._told is not None:
            self._told(value)

    def refuse(self, refusal: Refused) -> None:
        """No value, but a status. Once."""
        self._refusal = refusal
        if self._refused is not None:
            self._refused(refusal)

    def when(self, told: Callable[[T], None], refused: Callable[[Refused], None]) -> None:
        """Call one of them when it is known, maybe now. One listener."""
        self._told, self._refused = told, refused
        if self._known is not None:
            told(self._known[0])
        elif self._refusal is not None:
            refused(self._refusal)

    def then(self, go: Callable[[T], U | Later[U]]) -> Later[U]:
        """What `go` makes of the value; a Refused raised there, or here, is handed on."""
        following: Later[U] = Later()

        def told(value: T) -> None:
            try:
                made = go(value)
            except Refused as refusal:
                following.refuse(refusal)
                return
            if isinstance(made, Later):
                made.when(following.resolve, following.refuse)
            else:
                following.resolve(made)

        self.when(told, following.refuse)
        return following


def after(value: T | Later[T], go: Callable[[T], U | Later[U]]) -> U | Later[U]:
    """`go(value)` now when the value is known, else later."""
    return value.then(go) if isinstance(value, Later) else go(value)
