"""A log taken from under its writer and given back: letting a volume go, opening it again.

Law: acts on a `LogWriter` between two of its commands; no thread, no clock, no policy (the store's life decides when).
Letting go closes every file the writer holds and changes nothing on the volume: what is there may be another disk by
now. The writer goes on in memory: what is not durable waits as the commits it was closed in, and is written with the
same bytes into the log that comes back.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mediadb.format.block import Supersedes
from mediadb.format.constants import NO_COMMIT
from mediadb.locks import LogHandle
from mediadb.write.items import Now

if TYPE_CHECKING:
    from mediadb.write.store import LogWriter


def let_go(writer: LogWriter) -> None:
    """Close every file of the volume. What was written and not synced is void from now on: it is written again.
    Called once more behind what ran beside (a file made ahead)."""
    writer.detached = writer.failed = True
    void = writer._segments.first_staged
    if void is not None:
        writer._supersedes.append(void)
    writer.newest = writer._segments.let_go() or writer.newest
    for close in (writer.ledger.close, writer._log.close):
        with contextlib.suppress(OSError):  # a dying disk may complain even here; the descriptor is gone
            close()


def attach(writer: LogWriter, log: LogHandle, now: Now) -> list[Supersedes]:
    """Go on in a log that was opened again. Returns what its recovery must take as void. The writer stays failed until
    a commit is durable in it. Raises OSError when a log that this run meets first does not take its first record."""
    first = not writer._log.identity.epoch
    writer._log, writer._fs = log, log.fs
    writer._epoch = log.identity.epoch
    writer._counter, writer._durable = 0, NO_COMMIT
    writer._next_probe_us = 0
    writer.ledger.move(log.fs, log.ledger_folder, log.identity.epoch)
    writer._segments.move(log)
    if first:
        writer.start(now)
    writer.detached = False
    return list(writer._supersedes)
