"""What a store said while its disk does not answer: durable on another disk, and not by a thread of the first.

Law: loop thread only, no files, no clock. The writer's thread hangs in the kernel and its statements with it; a copy
of each one that is not known to be durable goes into the witness of the waiting ledger (`mediadb.waiting`), which its
owner flushes. It is forgotten when the writer has made the statements durable itself; what a process leaves there is
moved into the ledger by the next one. Used by `mediadb.aio`; the bodies of statements by `write.store` too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record, encode_cause, encode_names, encode_spec, run_text
from mediadb.types import TrackSpec
from mediadb.waiting import WaitingLedger, alive_pause_us
from mediadb.watched_fs import UnderWay
from mediadb.write.health import OVER, STALLED
from mediadb.write.items import CoverItem, GapItem, Item, Now, TrackItem
from mediadb.write.segment_chunk import TrackState

MOST: Final = 10_000  # statements not known to be durable: then the oldest are left to the writer alone
NEVER: Final = 1 << 62
Add = Callable[[LedgerKind, int, Record], None]


class Witness:
    """See the module. `waiting` None: nothing is kept. `add` gives a record to the ledger of the log itself."""

    def __init__(self, waiting: WaitingLedger | None, add: Add) -> None:
        self._copy = waiting.witness if waiting is not None else None
        self._add = add
        self._unsafe: deque[tuple[int, LedgerKind, int, Record]] = deque(maxlen=MOST)  # by the commit that has it
        self._stalled = False
        self._since_us = self._alive_us = 0  # monotonic
        self._copied = False  # something may be left of a stall
        self._safe_from = NEVER  # the commit with which all that was copied is durable in the log

    def handed(self, items: Iterable[tuple[TrackState, Item]], number: int, now: Now) -> None:
        """Items go to the writer; commit `number` makes them durable."""
        if self._copy is None:
            return
        for track, item in items:
            said = _statement(track.spec, item)
            if said is not None:
                self._say(*said, number, now)

    def wrote(self, number: int) -> None:
        """All that was handed over with commit `number` or before is durable; 0: nothing is known."""
        while number and self._unsafe and self._unsafe[0][0] <= number:
            self._unsafe.popleft()
        if number >= self._safe_from:
            self._forget()

    def word(self, code: str, params: Record, number: int, now: Now) -> None:
        """The disk does not answer, or does again; `number` is the next commit."""
        if code == STALLED:
            self._begin(params, number, now)
        elif code == OVER and params.get("of") == STALLED:
            self._trouble(code, params, number, now)
            self._stalled, self._safe_from = False, number

    def look(self, now: Now) -> None:
        """At each slot: the process lives."""
        pause_us = alive_pause_us(now.mono_us - self._since_us)
        if self._stalled and self._copy is not None and now.mono_us - self._alive_us >= pause_us:
            self._alive_us = now.mono_us
            self._copy.add(LedgerKind.ALIVE, now.utc_us, {})

    def given_up(self, oldest: UnderWay | None, held_bytes: int, number: int, now: Now) -> None:
        """The process ends and does not wait for the disk any longer: a stop, with what it held."""
        if not self._stalled and oldest is not None:
            self._begin({"waiting_us": now.mono_us - oldest.began_us, "step": oldest.call}, number, now)
        if self._copy is not None:
            body = {"run": run_text(self._copy.run), "lost": [f"{held_bytes} bytes that it held"]}
            self._copy.add(LedgerKind.RUN_STOP, now.utc_us, body)

    def closed(self, lost: Sequence[str]) -> None:
        """The log was closed; all that was ever said is durable there, unless something is `lost`."""
        self._unsafe.clear()
        if self._copied and not lost:
            self._forget()

    def _begin(self, params: Record, number: int, now: Now) -> None:
        self._since_us, self._alive_us = now.mono_us - int(params["waiting_us"]), now.mono_us
        self._safe_from = NEVER
        if self._copied:
            self._forget()  # what is not durable of the last stall is said again with this one
        self._trouble(STALLED, params, number, now)
        self._stalled = self._copied = True
        if self._copy is not None:
            for _, kind, time_us, body in self._unsafe:
                self._copy.add(kind, time_us, body)

    def _forget(self) -> None:
        self._copied, self._safe_from = False, NEVER
        if self._copy is not None:
            self._copy.forget()

    def _trouble(self, code: str, params: Record, number: int, now: Now) -> None:
        body: Record = {"code": code, "params": params}
        self._add(LedgerKind.TROUBLE, now.utc_us, body)
        self._say(LedgerKind.TROUBLE, body, number, now)

    def _say(self, kind: LedgerKind, body: Record, number: int, now: Now) -> None:
        self._unsafe.append((number, kind, now.utc_us, body))
        if self._stalled and self._copy is not None:
            self._copy.add(kind, now.utc_us, body)


def _statement(spec: TrackSpec, item: Item) -> tuple[LedgerKind, Record] | None:
    """What the ledger is told of an item; None: nothing."""
    if isinstance(item, CoverItem):
        return LedgerKind.COVER, cover_body(spec, item)
    if isinstance(item, GapItem):
        return LedgerKind.GAP, gap_body(spec, item)
    if isinstance(item, TrackItem):
        return LedgerKind.TRACK, track_body(spec, item)
    return None


def track_body(spec: TrackSpec, item: TrackItem) -> Record:
    return {**encode_spec(spec), "names": encode_names(item.names)}


def cover_body(spec: TrackSpec, item: CoverItem) -> Record:
    return {"track": str(spec.track), "time_us": item.time_us, **encode_cause(item.cause)}


def gap_body(spec: TrackSpec, item: GapItem) -> Record:
    cause = encode_cause(item.cause)
    return {"track": str(spec.track), "start_us": item.start_us, "end_us": item.end_us, **cause}
