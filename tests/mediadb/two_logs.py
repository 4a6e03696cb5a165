"""Two logs of one process, one standing in for the other, in virtual time and on one thread.

What runs beside each other in the server (the loop, two writer threads, the thread that opens, recovery) are queues
here, emptied when a seeded generator says so: any order that threads may take, repeatable. The parts are the real ones;
only the timer of `mediadb.aio` is written again (`Two.slot`).
"""

from __future__ import annotations

import errno
import queue
import random
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import rig
from fault_fs import FaultFs

from mediadb.fs import FileStat
from mediadb.locks import OpenRequest, open_log
from mediadb.lodging import Lodging, Place
from mediadb.reopening import Held, Reopening
from mediadb.store_life import Phase, StoreLife
from mediadb.tools.verify import verify_volume
from mediadb.types import Names
from mediadb.write.collect import Collector, TrackWriter
from mediadb.write.commits import CommitInfo, StoreOptions
from mediadb.write.handover import forgive
from mediadb.write.items import Now
from mediadb.write.writer_thread import Bridge, WriterThread

SLOT_US = rig.FRAME_US
OPTIONS = StoreOptions(
    create=True, commit_us=10 * SLOT_US, probe_us=2 * SLOT_US, let_go_us=15 * SLOT_US, retry_us=5 * SLOT_US, run=77
)
ROOTS = (rig.ROOT, Path("/spare"))


class GoingFs(FaultFs):
    """A disk that can be unmounted lazily: paths lead nowhere, what is open goes on."""

    gone = False

    def _enter(self, call: str) -> None:
        if self.gone and call in ("open_read", "open_write", "create", "rename", "unlink", "fsync_dir", "mkdirs"):
            raise FileNotFoundError(errno.ENOENT, f"unmounted: {call}")
        super()._enter(call)

    def stat(self, path: Path) -> FileStat | None:
        return None if self.gone else super().stat(path)

    def listdir(self, path: Path) -> list[str]:
        return [] if self.gone else super().listdir(path)


class StepThread(WriterThread):
    """Commands and what runs beside are done when the test says so; what is waited for is done at once."""

    jobs: list[Callable[[], None]]

    def beside(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    def turn(self) -> bool:
        try:
            command = self._commands.get_nowait()
        except queue.Empty:
            return False
        command()
        return True

    def keep(self) -> bool:
        if self.jobs:
            self.jobs.pop(0)()
        return bool(self.jobs)

    def drain(self) -> None:
        while self.turn() or self.jobs:
            while self.jobs:
                self.keep()

    def let_go(self) -> Future[list[str]]:
        done = super().let_go()
        self.drain()
        return done

    def attach(self, log: object, now: Now) -> Future[list[str]]:
        done = super().attach(log, now)  # type: ignore[arg-type]
        while self.turn():
            pass
        return done


class Store:
    """One log: writer, collector, and the words they say."""

    def __init__(self, two: Two, root: Path, storage: str) -> None:
        self.two, self.root, self.storage, self.fs = two, root, storage, GoingFs()
        self.request = OpenRequest(root, storage, rig.SERVER, 77, two.utc_us(), True)
        self.said: list[str] = []
        log = open_log(self.fs, self.request)
        self.thread = StepThread(log, rig.SERVER, OPTIONS, two, cast("Bridge", self), two.post)
        self.thread.jobs = []
        self.thread.writer.start(two.now)
        self.collector = Collector(self.thread.writer, OPTIONS, lambda *args: self.said.append("shed"))
        self.guest: Store | None = None
        self.last_commit_us = two.monotonic_us()

    def on_committed(self, info: CommitInfo) -> None:
        self.collector.committed(info)
        if self.guest is not None:
            self.guest.on_committed(info)

    def on_wrote(self, *args: object) -> None:
        pass

    def on_trouble(self, code: str, params: dict[str, object]) -> None:
        self.said.append(code)

    def on_refused(self, track: uuid.UUID, size: int) -> None:
        self.said.append("refused")

    def on_sealed(self, path: Path) -> None:
        pass

    def on_away(self) -> None:
        self.said.append("let-go")

    def on_not_opened(self, code: str, message: str) -> None:
        self.said.append(code)

    def on_reopened(self, log: object) -> None:
        self.said.append("reopened")


class Two:
    """See the module. `number` counts the slots; track n has its key at another moment than track n + 1."""

    def __init__(self, seed: int, tracks: int = 3) -> None:
        self.rng, self.us, self.number = random.Random(seed), 1_000_000, 0
        self.host_commits = True
        self.posted: list[Callable[[], object]] = []
        self.opening: list[Callable[[], object]] = []
        self.home, self.host = Store(self, ROOTS[0], "main"), Store(self, ROOTS[1], "spare")
        self.host.guest = self.home
        nothing = SimpleNamespace(shut=lambda: None, reopen=lambda: None)
        home = self.home
        held = Held(home.request, home.fs, home.thread, nothing, nothing)  # type: ignore[arg-type]
        self.life = StoreLife(OPTIONS.let_go_us, OPTIONS.retry_us)
        self.reopening = Reopening(held, self.life, home, self.post)
        self.reopening.close()
        self.reopening._worker = SimpleNamespace(submit=self.later)  # type: ignore[assignment]
        self.lodging = Lodging("main", home.thread, home.collector, self.post, home.on_trouble)
        self.writers = [self._track(number) for number in range(tracks)]

    def _track(self, number: int) -> TrackWriter:
        writer = self.home.collector.track(rig.video_spec(number), Names("cam", "hw"))
        writer.config(rig.VIDEO)
        return writer

    # -- clock and queues -----------------------------------------------------------------------------------------

    def utc_us(self) -> int:
        return rig.T0 + self.us

    def monotonic_us(self) -> int:
        return self.us

    @property
    def now(self) -> Now:
        return Now(self.utc_us(), self.us)

    def post(self, call: Callable[..., object], *args: object) -> None:
        self.posted.append(lambda: call(*args))

    def later(self, call: Callable[..., object], *args: object) -> None:
        self.opening.append(lambda: call(*args))

    def _loop(self) -> bool:
        if self.posted:
            self.posted.pop(0)()
        return bool(self.posted)

    def _open(self) -> bool:
        if self.opening:
            self.opening.pop(0)()
        return bool(self.opening)

    def run(self, share: float = 1.0) -> None:
        """Each thread goes on for a while; with 1.0 until nothing is left."""
        threads = [
            self.home.thread.turn, self.home.thread.keep, self.host.thread.turn, self.host.thread.keep, self._loop,
            self._open,
        ]  # fmt: skip
        for _ in range(4):
            self.rng.shuffle(threads)
            for thread in threads:
                while self.rng.random() < share and thread():
                    pass

    # -- time -----------------------------------------------------------------------------------------------------

    def slot(self, share: float = 0.8, *, film: bool = True) -> None:
        """A frame of each track, then what the timer of the two stores does."""
        self.us += SLOT_US
        if film:
            for number, writer in enumerate(self.writers):
                writer.append(rig.frame(writer.state.spec.track, self.number + 3 * number))
            self.number += 1
        for store in (self.home, self.host):
            commit = self.us - store.last_commit_us >= OPTIONS.commit_us
            items = store.collector.slot()
            if commit:
                store.last_commit_us = self.us
            if store is self.host:
                commit = commit and self.host_commits
                store.thread.slot(items, self.now, commit)
            elif items or commit:
                self.lodging.slot(items, self.now, commit)
        self.reopening.step(self.now)
        self._lodge()
        self.run(share)
        both = [{id(state) for state in store.thread.writer._touched.values()} for store in (self.home, self.host)]
        assert not both[0] & both[1], "two threads write one track"

    def _lodge(self) -> None:
        writer, life = self.home.thread.writer, self.life
        if self.lodging.place is Place.ABROAD:
            if not life.away and writer.failed and not self.broken:
                self.home.thread.do(lambda writer: forgive(writer, self.now))
            elif not life.away and not writer.failed:
                self.lodging.come_home(self.now)
        elif life.fails_for(self.us) >= OPTIONS.let_go_us and not self.host.thread.writer.failed:
            self.lodging.leave(self.host, self.now)

    # -- faults and the end ---------------------------------------------------------------------------------------

    @property
    def broken(self) -> bool:
        return self.home.fs.gone or bool(self.home.fs.fail_always)

    def breaks(self, how: str) -> None:
        """`gone`: unmounted lazily; else the number of an error that every write has."""
        if how == "gone":
            self.home.fs.gone = True
        else:
            number = getattr(errno, how)
            self.home.fs.fail_always = dict.fromkeys(("pwritev", "fdatasync", "create"), number)

    def heals(self) -> None:
        self.home.fs.heal()
        self.home.fs.gone = False

    def until(self, condition: Callable[[], bool], share: float = 0.8) -> None:
        for _ in range(2_000):
            if condition():
                return
            self.slot(share)
        raise AssertionError("it did not come to that")

    def end(self) -> None:
        """All comes home, becomes durable and is closed."""
        self.heals()
        self.until(lambda: self.lodging.place is Place.HOME and self.life.phase is Phase.OPEN
                   and self.life.failing_since_us is None)  # fmt: skip
        for _ in range(30):
            self.slot(1.0, film=False)
        for store in (self.home, self.host):
            assert store.collector.held == 0
            assert not {"shed", "refused", "sample-failed"} & set(store.said)
            store.thread.drain()
            assert store.thread.failure is None
            assert store.thread.writer.close(self.now) == []
            store.thread.log.close()

    def check(self) -> None:
        """Every sample lies on exactly one of the two disks, and either one's ledger knows which numbers it lacks."""
        for store in (self.home, self.host):
            assert verify_volume(store.fs, store.root).findings == []
        for number, writer in enumerate(self.writers):
            track = writer.state.spec.track
            found = [rig.numbers(store.fs, track, store.root) for store in (self.home, self.host)]
            first = 3 * number
            expected = list(range(first, first + self.number))
            assert all(numbers == sorted(numbers) for numbers in found)
            assert sorted(found[0] + found[1]) == expected, (number, *(_ranges(numbers) for numbers in found))


def _ranges(numbers: list[int]) -> str:
    cuts = [at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1] + 1]
    starts, ends = [0, *cuts], [*cuts, len(numbers)]
    return " ".join(f"{numbers[a]}-{numbers[b - 1]}" for a, b in zip(starts, ends, strict=True) if a < b)
