"""Chunks that are there and do not verify: told once each, and taken back when they verify again.

Law: remembers places, touches no file. What was told goes into the ledger by whoever listens, so that coverage says it
after a restart too; coverage of this process knows it at once. Thread-safe. Used by `mediadb.read.chunks`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from mediadb.coverage import Coverage, Told
from mediadb.ledger_book import Damage

if TYPE_CHECKING:
    from mediadb.read.chunks import ChunkRef

CORRUPT: Final = "chunk-corrupt"
WHOLE: Final = "chunk-whole"
MAX_PLACES: Final = 100_000  # a disk with more wrong chunks needs no longer list


class DamageBook:
    """`told` hears `chunk-corrupt` and `chunk-whole` with the fields of a DAMAGED record."""

    def __init__(self, coverage: Coverage, told: Told | None) -> None:
        self._coverage, self._told = coverage, told
        self._known = coverage.damaged_chunks
        self._lock = threading.Lock()

    def met(self, ref: ChunkRef, end_us: int, what: str, lasting: bool) -> None:
        """`ref` did not verify, so nothing can be shown up to `end_us`. Not `lasting`: its disk gave an error, which
        may pass; the ledger is not told."""
        key = ref.name, ref.row.offset
        with self._lock:
            if key in self._known or len(self._known) >= MAX_PLACES:
                return
            self._coverage.found(ref.track, Damage(*key, str(ref.segment), ref.recv_us, end_us))
        self._tell(CORRUPT, {**_place(ref, end_us), "what": what, "lasting": lasting})

    def verified(self, ref: ChunkRef) -> None:
        """`ref` verified: when it did not before, that is over (a good copy came, or the disk reads again)."""
        if not self._known:
            return
        key = ref.name, ref.row.offset
        with self._lock:
            if key not in self._known:
                return
            self._coverage.healed(ref.track, *key)
        self._tell(WHOLE, {**_place(ref, ref.end_us), "whole": True})

    def _tell(self, code: str, params: dict[str, object]) -> None:
        if self._told is not None:
            self._told(code, params)


def _place(ref: ChunkRef, end_us: int) -> dict[str, object]:
    return {
        "track": str(ref.track),
        "segment": str(ref.segment),
        "name": ref.name,
        "offset": ref.row.offset,
        "start_us": ref.recv_us,
        "end_us": end_us,
    }
