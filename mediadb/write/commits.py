"""What the writer tells the outside: options in, facts about commits out.

Law: plain values and the two protocols that receive them; no I/O. Times are recorder UTC microseconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mediadb.known_tail import KnownTail
from mediadb.waiting import WaitingLedger
from mediadb.write.budget import Budget
from mediadb.write.retention import CameraLimits

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a log is written. `quota_bytes` and `retention_us` also bound what is kept (None: no limit);
    `limits` are those of single cameras (None: not told yet, what the log remembers holds; when it remembers nothing,
    nothing goes before they are told).

    `first_number`: where the numbers of a track begin that this log meets first; not 0 for one that another log of the
    run knows already.
    `memory_bytes` bounds what waits for this log, `budget` what waits for all logs of the process together.
    The ledger reaches `ledger_us` further back than the oldest footage. `waiting`: where its records are durable while
    the volume does not take them.
    `run`: the random id of this process, shared by all its logs (None: drawn for this log). `expected_volume`,
    `known_epoch` and `known_tail`: what the caller's own state remembers of this storage. A log that failed for
    `let_go_us` lets its volume go and tries to open it again every `retry_us`.
    """

    commit_us: int = 1_000_000
    slot_us: int = 100_000
    commit_bytes: int = 64 * MIB
    segment_us: int = 300_000_000
    segment_bytes: int = 64 << 30
    quota_bytes: int | None = None
    retention_us: int | None = None
    limits: Mapping[uuid.UUID, CameraLimits] | None = field(default_factory=dict)
    memory_bytes: int = 256 * MIB
    budget: Budget | None = None
    first_number: Callable[[uuid.UUID], int] | None = None
    waiting: WaitingLedger | None = None
    ledger_us: int = 400 * 86_400_000_000
    probe_us: int = 1_000_000
    alive_us: int = 60_000_000
    let_go_us: int = 3_000_000
    retry_us: int = 2_000_000
    create: bool = False
    run: int | None = None
    expected_volume: uuid.UUID | None = None
    known_epoch: int | None = None
    known_tail: KnownTail | None = None

    @property
    def segment_limit(self) -> int:
        """Bytes at which a segment ends: 64 GiB, or 1/64 of the quota when that is less (at least 64 KiB)."""
        if self.quota_bytes is None:
            return self.segment_bytes
        return min(self.segment_bytes, max(self.quota_bytes // 64, MIB // 16))

    def on_volume(self, total_bytes: int) -> StoreOptions:
        """For a file system of that size: a segment is no more than a 64th of it (or 4 MiB), so that little goes at
        once."""
        return replace(self, segment_bytes=min(self.segment_bytes, max(total_bytes // 64, 4 * MIB)))

    @property
    def commit_limit(self) -> int:
        """Bytes at which a commit ends before its time: `commit_bytes`, or half a segment when that is less."""
        return min(self.commit_bytes, max(self.segment_limit // 2, MIB // 2))


@dataclass(frozen=True, slots=True)
class TrackCommit:
    """One track's part of a commit. `bytes` are sample bytes, `last_recv_us` of the last sample's chunk end."""

    samples: int
    bytes: int
    last_recv_us: int | None
    next_seq: int


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit that is durable: its counter in this run, when it was closed, how long writing and syncing took."""

    number: int
    wall_us: int
    tracks: Mapping[uuid.UUID, TrackCommit]
    duration_us: int


class StoreListener(Protocol):
    """Told on the event loop thread."""

    def committed(self, info: CommitInfo) -> None: ...
    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None: ...
    def trouble(self, code: str, params: dict[str, object]) -> None: ...


class WriterEvents(Protocol):
    """Told on the writer thread."""

    def committed(self, info: CommitInfo) -> None: ...
    def trouble(self, code: str, params: dict[str, object]) -> None: ...
    def refused(self, track: uuid.UUID, size: int) -> None:
        """A sample whose times the format cannot hold was dropped; `size` leaves the memory budget."""
        ...

    def sealed(self, path: Path) -> None:
        """A segment has its footer and final name."""
        ...
