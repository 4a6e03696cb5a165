"""Reclaim of one open log, as the store runs it: made behind recovery, stepped every few seconds, told other limits.

Law: joins the reclaimer with the volume's thread and with who must be told; decides nothing about footage and knows
no event loop. `open`, `step` run on the volume's keeper thread; `limits`, `room` may be called from any. Used by
`mediadb.aio` only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from mediadb.ledger import LedgerWriter
from mediadb.locks import LogHandle
from mediadb.reclaim.reclaimer import MIN_RESERVE_BYTES, ClockBrake, Reclaimer, ReclaimOptions, Report

RECLAIM_US: Final = 5_000_000
Tell = Callable[[str, dict[str, object]], object]


class Clocks(Protocol):
    """UTC that may step, and a monotonic count."""

    def utc_us(self) -> int: ...
    def monotonic_us(self) -> int: ...


class ReclaimKeeper:
    """See the module. `tell(code, params)` takes trouble and the code "reclaimed"; `removed` each path that went."""

    def __init__(self, options: ReclaimOptions, clock: Clocks, tell: Tell, removed: Callable[[Path], None]) -> None:
        self._options, self._clock, self._tell, self._removed = options, clock, tell, removed
        self._reclaimer: Reclaimer | None = None
        self._full = False
        self._last_us = clock.monotonic_us()
        self.room = (0, 0, 0)  # used, free and total bytes, as the last step found them

    def open(self, log: LogHandle, ledger: LedgerWriter, newest_us: int | None) -> None:
        """From now on `step` works; `newest_us`: the newest footage on the volume (for the clock brake)."""
        self._reclaimer = Reclaimer(
            log.fs,
            log.folder,
            ledger,
            self._options,
            lambda: log.fs.free_bytes(log.root),
            ClockBrake(newest_us),
            self._removed,
        )

    def repeat_unfinished(self) -> None:
        """Finish what a crash interrupted. Raises OSError."""
        if self._reclaimer is not None:
            self._reclaimer.repeat_unfinished(self._clock.utc_us())

    def limits(self, options: ReclaimOptions) -> None:
        """Other limits from the next step on."""
        self._options = options
        if self._reclaimer is not None:
            self._reclaimer.options = options

    def due(self, mono_us: int) -> bool:
        """Is it time for a step? True once per interval."""
        if mono_us - self._last_us < RECLAIM_US:
            return False
        self._last_us = mono_us
        return True

    def step(self) -> None:
        """Remove what the limits ask for and tell what went."""
        reclaimer, clock = self._reclaimer, self._clock
        if reclaimer is None:
            return
        report = reclaimer.step(clock.utc_us(), clock.monotonic_us())
        self.room = report.used_bytes, report.free_bytes, report.total_bytes
        for removal in report.removed:
            self._tell("reclaimed", {"path": str(removal.fact.path), "rule": removal.rule})
        if report.errors or report.short_bytes:
            self._tell("reclaim-short", {"errors": report.errors, "short_bytes": report.short_bytes})
        self._watch_room(reclaimer, report)

    def _watch_room(self, reclaimer: Reclaimer, report: Report) -> None:
        """Tell once when the disk is as good as full and retention finds nothing to remove, and once when that ends."""
        try:
            free = reclaimer.free_bytes()[0]
        except OSError:
            return  # a disk that does not answer is found by the next commit
        full = bool(report.short_bytes) and free < MIN_RESERVE_BYTES
        if full is not self._full:
            self._full = full
            params: dict[str, object] = {"free_bytes": free, "short_bytes": report.short_bytes}
            code = "storage-full" if full else "storage-recovered"
            self._tell(code, params if full else {"of": "storage-full"})
