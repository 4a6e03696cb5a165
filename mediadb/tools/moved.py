"""Sequence numbers that lie in another storage: what the MOVED records of a ledger say of a track's numbers.

Law: pure. A track arrives in a storage at a number and departs at one; what lies between a departure (or the beginning)
and the next arrival was written by the storage that stood in, or by the one that was stood in for. Used by verify.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from mediadb.format.records import Record

FOREVER = 1 << 64


@dataclass(slots=True)
class Moves:
    """Of one storage."""

    storage: str
    _turns: dict[tuple[int, uuid.UUID], list[tuple[int, bool]]] = field(default_factory=dict)  # number, arrives?

    def add(self, run: int, body: Record) -> None:
        """A MOVED record. KeyError, ValueError, TypeError when it lacks what it must say."""
        arrives = str(body["to"]) == self.storage
        for track, number in body["tracks"]:
            self._turns.setdefault((run, uuid.UUID(str(track))), []).append((int(number), arrives))

    def elsewhere(self, run: int, track: uuid.UUID) -> list[tuple[int, int]]:
        """Ranges [low, high) of numbers that are not expected here."""
        turns = self._turns.get((run, track), [])
        out: list[tuple[int, int]] = []
        departed = 0 if turns and turns[0][1] else None  # who arrives first began elsewhere
        for number, arrives in turns:
            if not arrives:  # at once again: nothing of its stay was written here
                departed = out.pop()[0] if out and out[-1][1] == number else number
            elif departed is not None:
                out.append((departed, number))
                departed = None
        if departed is not None:
            out.append((departed, FOREVER))
        return out

    def explains(self, run: int, track: uuid.UUID, low: int, high: int) -> bool:
        """Are all numbers of [low, high) elsewhere?"""
        return any(start <= low and high <= end for start, end in self.elsewhere(run, track))
