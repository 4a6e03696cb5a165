"""What the engine knows of each storage: who writes to it, what became durable, what is wrong with it.

Law: passes the store's words on to the tracks concerned and to the event log; decides nothing about disks. One
StorageWatch per configured storage; it is the `StoreListener` that the composition root hands to the store.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

from mediadb.types import Cause, Names, Sample, State, TrackConfig, TrackSpec
from recorderd.core.clock import Clock
from recorderd.engine.ports import EventLog, MediaStore, TrackCommit
from recorderd.engine.stream import StreamRecorder
from recorderd.engine.views import StorageView

_SAID_ELSEWHERE = frozenset({"recorder-clock-step"})  # the engine notices the step itself, for all storages
_DEGRADED = frozenset({"ledger-error", "segment-not-created", "storage-full", "storage-slow"})  # media are still taken
_FAILS = frozenset({"storage-error", "writer-failed"})  # nothing becomes durable, until storage-recovered
STALLED = "storage-stalled"
LET_GO = "storage-let-go"
_MOVES = frozenset({"moved-to-fallback", "moved-home", "fallback-error", "fallback-recovered"})
MISSING = Cause(State.STORAGE_ERROR, "storage-missing")


class CommitLike(Protocol):
    """The part of the store's CommitInfo that the engine reads."""

    @property
    def number(self) -> int: ...

    @property
    def tracks(self) -> Mapping[uuid.UUID, TrackCommit]: ...


class StorageWatch:
    """Implements the store's listener; called on the event loop's thread."""

    def __init__(self, name: str, path: str, clock: Clock, events: EventLog) -> None:
        self.name = name
        self.path = path
        self.store: MediaStore = MissingStore()
        self.cause: Cause | None = MISSING
        self.known_tracks: frozenset[uuid.UUID] = frozenset()  # those of earlier runs
        self._clock = clock
        self._events = events
        self._streams: list[StreamRecorder] = []
        self._watchers: list[Callable[[CommitLike], None]] = []
        self._degraded: dict[str, Cause] = {}
        self._stalled: Cause | None = None  # the disk does not answer: what comes waits in memory
        self._ill_until_us = 0  # when the last such trouble ended
        self.fallback = ""  # the storage that stands in at present
        self._fallback_cause: Cause | None = None
        self._let_go = False  # said since the trouble began
        self._since_us = clock.utc_us()
        self._last_commit_us: int | None = None
        self._commits = 0
        self._shed = 0

    def owes(self, owed: Owed) -> None:
        """Until it opens, what is said of its cameras goes there."""
        if isinstance(self.store, MissingStore):
            self.store = MissingStore(owed)

    def opened(self, store: MediaStore) -> None:
        """The storage can be written; or it is known and not there, and may have another one stand in for it: then what
        was said of it holds until it says more."""
        self.store = store
        self._turn(self.cause if store.away else None)

    def join(self, stream: StreamRecorder) -> None:
        self._streams.append(stream)
        stream.storage(self._recording_cause)

    def leave(self, stream: StreamRecorder) -> None:
        if stream in self._streams:
            self._streams.remove(stream)

    def watch(self, told: Callable[[CommitLike], None]) -> Callable[[], None]:
        """Call `told` with each commit once it is durable; it must be cheap and never raise. Returns what ends it."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told)

    # -- StoreListener ---------------------------------------------------------------------------------------

    def committed(self, info: CommitLike) -> None:
        self._commits += 1
        self._last_commit_us = self._clock.utc_us()
        commits = info.tracks
        for stream in self._streams:
            for track in stream.tracks:
                commit = commits.get(track.spec.track)
                if commit is not None:
                    track.committed(commit)
        for told in tuple(self._watchers):
            told(info)

    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None:
        self._shed += samples
        what = {"samples": samples, "bytes": bytes, "start_us": start_us, "end_us": end_us}
        ill = self.cause is not None or self._stalled is not None or start_us < self._ill_until_us
        code = "storage-error" if ill else "overload-shed"
        for stream in self._streams:
            for recorder in stream.tracks:
                if recorder.spec.track == track:
                    recorder.shed(samples, bytes)
                    spec = recorder.spec
                    params = {"storage": self.name, "stream": spec.stream, "track": spec.kind.name.lower(), **what}
                    self._events.emit(code, camera=spec.camera, hardware=spec.hardware, params=params)

    def _moved(self, code: str, cause: Cause) -> None:
        """Another storage takes what comes (moved-to-fallback), or does not any more."""
        if code == "moved-to-fallback":
            self.fallback = str(cause.params["fallback"])
        elif code == "moved-home":
            self.fallback = ""
        self._fallback_cause = cause if code == "fallback-error" else None
        self._tell()

    def trouble(self, code: str, params: dict[str, object]) -> None:
        cause = Cause(State.STORAGE_ERROR, str(params.get("reason", code)), params)
        again = code in _FAILS and self.cause is not None and self.cause.reason == cause.reason
        again = again or code in self._degraded or (code == STALLED and self._stalled is not None)
        again = again or (code == LET_GO and self._let_go)  # a disk that opens and then fails, again and again
        if not again and code not in _SAID_ELSEWHERE:
            self._events.emit(code, params={"storage": self.name, **params})
        self._let_go = (self._let_go or code == LET_GO) and self.cause is not None
        if code in _FAILS:
            self._turn(cause)
        elif code == STALLED or params.get("of") == STALLED:
            self._stall(cause if code == STALLED else None)
        elif code == "storage-recovered" and "of" in params:
            self._degrade(lambda: self._degraded.pop(str(params["of"]), None))
        elif code == "storage-recovered":
            self._let_go = False
            self._ill_until_us = self._clock.utc_us()
            self._turn(None)
        elif code in _MOVES:
            self._moved(code, cause)
        elif code in _DEGRADED:
            self._degrade(lambda: self._degraded.setdefault(code, cause))

    # -- inside ----------------------------------------------------------------------------------------------

    def _turn(self, cause: Cause | None) -> None:
        if (cause is None) is not (self.cause is None):
            self._since_us = self._clock.utc_us()
        self.cause = cause
        self._tell()

    def _stall(self, cause: Cause | None) -> None:
        now_us = self._clock.utc_us()
        self._stalled = cause
        if cause is None:
            self._ill_until_us = now_us
        if self.cause is None:
            self._since_us = now_us
        self._tell()

    @property
    def _recording_cause(self) -> Cause | None:
        """Why nothing of our cameras becomes durable, here or where they are written now."""
        return self._fallback_cause if self.fallback else self.cause or self._stalled

    def _tell(self) -> None:
        for stream in self._streams:
            stream.storage(self._recording_cause)

    def _degrade(self, change: Callable[[], object]) -> None:
        before = bool(self._degraded)
        change()
        if self.cause is None and before is not bool(self._degraded):
            self._since_us = self._clock.utc_us()

    def _worst(self) -> tuple[Cause | None, str]:
        """What is worst now, and the state it makes: missing, error, stalled, degraded, ok."""
        if self.cause is not None:
            return self.cause, "missing" if self.cause.reason == MISSING.reason else "error"
        if self._stalled is not None:
            return self._stalled, "stalled"
        worst = next(iter(self._degraded.values()), None)
        return worst, "ok" if worst is None else "degraded"

    def view(self) -> StorageView:
        trouble, state = self._worst()
        return StorageView(
            name=self.name,
            path=self.path,
            state=state,
            code=trouble.reason if trouble else "",
            params=(dict(trouble.params) if trouble else {}) | ({"fallback": self.fallback} if self.fallback else {}),
            since_us=self._since_us,
            last_commit_us=self._last_commit_us,
            commits=self._commits,
            shed_samples=self._shed,
            stats=dict(self.store.stats()),
        )


class Owed(Protocol):
    """Keeps what the ledger of a missing storage is to be told."""

    @property
    def pending(self) -> int: ...

    def track(self, spec: TrackSpec, names: Names) -> None: ...

    def cover(self, track: uuid.UUID, time_us: int, cause: Cause) -> None: ...


class MissingStore:
    """Stands for a storage that could not be opened: cameras run for live viewers, every track says
    storage-error, and `not-recording` fires. What is said waits in `owed`."""

    away = True

    def __init__(self, owed: Owed | None = None) -> None:
        self._owed = owed

    def track(self, spec: TrackSpec, names: Names) -> _NoWriter:
        if self._owed is not None:
            self._owed.track(spec, names)
        return _NoWriter(spec.track, self._owed)

    async def known_tracks(self) -> list[TrackSpec]:
        return []

    def stats(self) -> Mapping[str, int]:
        return {"ledger_pending": self._owed.pending} if self._owed is not None else {}


class _NoWriter:
    """Takes media and forgets them; nothing is ever committed."""

    durable_us: int | None = None

    def __init__(self, track: uuid.UUID, owed: Owed | None) -> None:
        self._track, self._owed = track, owed

    def config(self, config: TrackConfig) -> None:
        pass

    def append(self, sample: Sample) -> None:
        pass

    def cover(self, time_us: int, cause: Cause) -> None:
        if self._owed is not None:
            self._owed.cover(self._track, time_us, cause)

    def gap(self, start_us: int, end_us: int, cause: Cause) -> None:
        pass

    def mark(self, time_us: int, code: str, params: dict[str, object]) -> None:
        pass
