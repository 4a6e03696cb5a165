"""The stores that lodge in one: for whom it writes while their own logs take nothing.

Law: loop thread only, no files; every word about a guest's samples goes to the guest. A store that closes sends its
guests home first and waits for no disk but its own. Used by `mediadb.aio` only.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from mediadb.write.commits import CommitInfo
from mediadb.write.writer_thread import WriterThread


class Guest(Protocol):
    """A store that may be written by another one."""

    @property
    def abroad(self) -> bool: ...
    def holds(self, track: uuid.UUID, size: int) -> bool:
        """Are these bytes of the track its own?"""
        ...

    def knows(self, track: uuid.UUID) -> bool: ...
    def on_committed(self, info: CommitInfo) -> None: ...
    def refused(self, track: uuid.UUID, size: int) -> None: ...
    def on_host_trouble(self, code: str, params: dict[str, object]) -> None: ...
    def recall(self) -> bool:
        """Everything goes home; False when that waits for the guest's own disk alone."""
        ...


class Guests:
    """See the module. `thread` is that of the host."""

    def __init__(self) -> None:
        self._guests: list[Guest] = []

    def __len__(self) -> int:
        return len(self._guests)

    def __iter__(self) -> Iterator[Guest]:
        return iter(list(self._guests))

    def enter(self, guest: Guest) -> None:
        self._guests.append(guest)

    def leave(self, guest: Guest) -> None:
        if guest in self._guests:
            self._guests.remove(guest)

    def committed(self, info: CommitInfo) -> None:
        """A commit is durable here: perhaps with tracks of theirs."""
        for guest in self:
            theirs = {track: fact for track, fact in info.tracks.items() if guest.knows(track)}
            if theirs:
                guest.on_committed(replace(info, tracks=theirs))

    def refused(self, track: uuid.UUID, size: int) -> bool:
        """A sample of theirs was refused here. False: it is nobody's of them."""
        owner = next((guest for guest in self if guest.holds(track, size)), None)
        if owner is not None:
            owner.refused(track, size)
        return owner is not None

    def trouble(self, code: str, params: dict[str, object]) -> None:
        """Nothing becomes durable here, or does again."""
        for guest in self:
            if guest.abroad:
                guest.on_host_trouble(code, params)

    async def send_home(self, thread: WriterThread) -> None:
        """Nobody lodges in a log that is closed: what comes waits in their own memory."""
        for guest in self:
            while guest.abroad and guest.recall():
                await asyncio.wrap_future(thread.flushed())
                await asyncio.sleep(0)
