"""What storages that are not there are owed: statements about their cameras, durable in the data folder.

Law: one folder per storage below `data_dir/ledger-waiting`; the store moves what is in it into its ledger when it
opens. Files are touched on one thread, which never touches a volume. Statements come from the engine while it has no
store (its `MissingStore`), and from a store whose disk does not answer.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import encode_cause, encode_names, encode_spec, run_text
from mediadb.fs import RealFs
from mediadb.types import Cause, Names, TrackSpec
from mediadb.waiting import WaitingLedger, alive_pause_us
from recorderd.core.clock import Clock

FOLDER: Final = "ledger-waiting"
FLUSH_S: Final = 1.0
LAST_S: Final = 1.0  # how long the end of the process waits for the disk of the data folder

_log = structlog.get_logger("waits")


class StorageWaits:
    """Implements `engine.storage.Owed` for one storage."""

    def __init__(self, ledger: WaitingLedger, run: int, clock: Clock) -> None:
        self.ledger = ledger
        self._run, self._clock = run, clock
        self._spoken_us: int | None = None
        self._since_us = 0  # when the first of what is owed was said
        self._tracks: dict[uuid.UUID, Names] = {}
        self._failed = False
        self.pending = 0  # said since the storage is not there

    def track(self, spec: TrackSpec, names: Names) -> None:
        """A camera is there although its storage is not."""
        if self._tracks.get(spec.track) != names:
            self._tracks[spec.track] = names
            self._say(LedgerKind.TRACK, {**encode_spec(spec), "names": encode_names(names)})

    def cover(self, track: uuid.UUID, time_us: int, cause: Cause) -> None:
        """From `time_us` on `cause` holds."""
        self._say(LedgerKind.COVER, {"track": str(track), "time_us": time_us, **encode_cause(cause)})

    def flush(self) -> None:
        """Make it durable, with a sign of life now and then: so well is the end of a killed run known. Blocking.
        Trouble is logged once."""
        now_us = self._clock.monotonic_us()
        if self._spoken_us is not None and now_us - self._spoken_us >= alive_pause_us(now_us - self._since_us):
            self._say(LedgerKind.ALIVE, {})
        try:
            self.ledger.flush(self._clock.utc_us())
        except OSError as error:
            if not self._failed:
                _log.error("ledger-not-kept", error=str(error), waiting=self.ledger.pending)
            self._failed = True
        else:
            self._failed = False

    def _say(self, kind: LedgerKind, body: dict[str, object]) -> None:
        now_us = self._clock.utc_us()
        if self._spoken_us is None:
            self._since_us = self._clock.monotonic_us()
            self.ledger.add(LedgerKind.RUN_START, now_us, {"run": run_text(self._run)})
        self._spoken_us = self._clock.monotonic_us()
        self.ledger.add(kind, now_us, body)
        self.pending += 1


class Waits:
    """All storages of the process; `run` is that of its logs."""

    def __init__(self, data_dir: Path, run: int, clock: Clock) -> None:
        self._folder, self._run, self._clock = data_dir / FOLDER, run, clock
        self._storages: dict[str, StorageWaits] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-waiting")

    def of(self, storage: str) -> StorageWaits:
        """The same object for the same storage."""
        if storage not in self._storages:
            safe = re.sub(r"[^A-Za-z0-9_-]", lambda found: f"%{ord(found[0]):04x}", storage)
            ledger = WaitingLedger(RealFs(), self._folder / safe, self._run)
            self._storages[storage] = StorageWaits(ledger, self._run, self._clock)
        return self._storages[storage]

    def opened(self, storage: str) -> None:
        """Its own ledger takes statements from now on: no more signs of life here."""
        self.of(storage)._spoken_us = None

    async def keep(self) -> None:
        """Make durable what is owed, once a second."""
        while True:
            for waits in list(self._storages.values()):
                if waits.ledger.pending or waits._spoken_us is not None:
                    await self._flush(waits)
            await asyncio.sleep(FLUSH_S)

    async def stop(self) -> None:
        """The process ends on purpose: said where it is owed."""
        for waits in self._storages.values():
            if waits._spoken_us is not None:
                waits.ledger.add(LedgerKind.RUN_STOP, self._clock.utc_us(), {"run": run_text(self._run)})
        await self.last_words()

    async def last_words(self) -> None:
        """What waits is durable when this returns, unless this disk does not answer either."""
        owing = [waits for waits in self._storages.values() if waits.ledger.pending]
        try:
            async with asyncio.timeout(LAST_S):
                for waits in owing:
                    await self._flush(waits)
        except TimeoutError:
            _log.error("ledger-not-kept", error="the disk of the data folder does not answer", waited_s=LAST_S)

    async def _flush(self, waits: StorageWaits) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, waits.flush)
