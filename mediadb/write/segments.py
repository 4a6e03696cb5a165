"""The segment files of one log: the one being written, the next one made ahead, those that wait for their seal.

Law: when a file begins, ends, is given up and is sealed; what goes into it is the writer's matter. The writer thread
calls everything here; the next file is made and full ones are sealed beside it, through the `beside` callable. On a
full disk no file is made before there is room for what waits. A file that was given up is sealed up to its last
acknowledged commit as soon as the disk works again (at once when it only lacked room), so that retention can take it.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mediadb.blockfile import RESERVE_BYTES
from mediadb.errors import StorageMissing
from mediadb.format.footer import FooterHead
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.segment_header import SegmentHeader
from mediadb.ledger import LedgerWriter
from mediadb.ledger_facts import SEGMENT_MISSING
from mediadb.ledger_rescue import RESTORED
from mediadb.locks import VOLUME_NAME, LogHandle
from mediadb.segment_index import LiveSegment
from mediadb.write.commits import StoreOptions, WriterEvents
from mediadb.write.items import Now
from mediadb.write.segment import OPEN_SUFFIX, SEALED_SUFFIX, SegmentWriter, seal_record, segment_name

ROLL_RETRY_US = SEAL_RETRY_US = LOOK_US = 10_000_000
SEALS_AWAITED = 64
SEAL_WAIT_S = 10.0
CLOCK_ROLL_US = 10_000_000  # a clock that is set again and again does not make a file each time
AHEAD_SHARE = 4  # the next file is made when less than a quarter of this one's time or room is left
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
ROOM_BYTES = 1 << 20  # beside the media: what a new segment needs to be worth a try on a full disk
NOT_CREATED = "segment-not-created"
Beside = Callable[[Callable[[], None]], None]


class Segments:
    """See the module. `beside(job)` runs a job on another thread of the volume (or at once, in tests)."""

    def __init__(
        self,
        log: LogHandle,
        server: uuid.UUID,
        options: StoreOptions,
        events: WriterEvents,
        ledger: LedgerWriter,
        beside: Beside,
    ) -> None:
        self._log, self._server, self._options = log, server, options
        self._events, self._ledger, self._beside = events, ledger, beside
        self._fs = log.fs
        self._current: SegmentWriter | None = None
        self._since_us = 0
        self._other_clock = False  # the present segment was begun before the wall clock was set
        self._number = 0
        self._next_roll_us = self._next_ahead_us = self._next_seal_us = self._next_look_us = 0
        self._ahead: SegmentWriter | None = None
        self._making = False
        self._made: SegmentWriter | Exception | None = None  # put there by the other thread, taken by the writer's
        self._live: tuple[LiveSegment, ...] = ()
        self._lock = threading.Lock()  # seals end on another thread
        self._given_up: list[tuple[SegmentWriter, bool]] = []  # with: did it only lack room? Under `_lock`
        self._no_space = False
        self._told = False  # that the next file could not be made
        self.make_room: Callable[[int], bool] = lambda _: True  # retention, before a file; raises OSError
        self._seals = threading.Condition()
        self._sealing = 0  # seals that were asked for and are not done. Under `_seals`

    def live(self) -> Sequence[LiveSegment]:
        """Segments without a footer, oldest first; any thread."""
        return self._live

    # -- writing --------------------------------------------------------------------------------------------------

    def writable(self, waiting_bytes: int, now: Now) -> SegmentWriter:
        """The segment for the next commits, `waiting_bytes` of media. Raises OSError, StorageMissing."""
        segment = self._current
        if segment is not None and not segment.in_place():
            self._current = None
            self._beside(partial(self._bring_back, segment, now))
            segment = None
        if segment is None:
            return self._begin(waiting_bytes, now)
        age = now.mono_us - self._since_us
        options = self._options
        full = segment.end + min(waiting_bytes, options.commit_limit) > options.segment_limit
        due = age >= options.segment_us or (full and segment.end > options.segment_limit // 4)
        due = due or (self._other_clock and age >= CLOCK_ROLL_US)
        if not due or now.mono_us < self._next_roll_us:
            return segment
        try:
            fresh = self._begin(waiting_bytes, now)
        except OSError as error:  # the present one still takes writes: keep to it and try again soon
            if error.errno == errno.EDQUOT:
                raise  # not beyond what the storage may take
            self._next_roll_us = now.mono_us + ROLL_RETRY_US
            self._not_created(error, now)
            return segment
        self._seal_beside(lambda: self._finish(segment, now))
        return fresh

    @property
    def sealing(self) -> bool:
        """Are segments waiting for a footer that they will get? Retention may take them then. Any thread."""
        return self._sealing > 0

    def _seal_beside(self, seal: Callable[[], None]) -> None:
        def run() -> None:
            try:
                seal()
            finally:
                with self._seals:
                    self._sealing -= 1
                    self._seals.notify_all()

        with self._seals:
            self._sealing += 1
        self._beside(run)

    def _await_room(self) -> None:
        """On the writer thread: room for another segment, also when seals are behind and it takes a while. Goes on
        without when there is nothing to wait for. Raises OSError."""
        for _ in range(SEALS_AWAITED):
            with self._seals:
                waiting = self._sealing
            if self.make_room(self._options.segment_limit) or not waiting:
                return
            with self._seals:
                if not self._seals.wait_for(lambda: self._sealing < waiting, SEAL_WAIT_S):  # noqa: B023
                    return

    def clock_set(self) -> None:
        """What comes now has other times: not in the present segment, if that is not a moment old."""
        self._other_clock = self._current is not None

    def works(self) -> None:
        """A commit is durable: there is room."""
        self._no_space = False

    def give_up(self, error: Exception) -> SegmentWriter | None:
        """A failed write or sync is final for the file, which is returned: nothing more goes into it."""
        self._no_space = getattr(error, "errno", None) in NO_SPACE
        segment, self._current = self._current, None
        if segment is None:
            return None
        if segment.has_durable:
            self._wait_for_seal(segment, error)
        else:
            self._discard(segment)
        return segment

    def close(self, now: Now) -> None:
        """Behind `ending`: seal what was written; the file made ahead goes."""
        self._take_made(now)
        self._keep_volume()
        segment, self._current = self._current, None
        if segment is not None:
            self._finish(segment, now)
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._discard(ahead)

    # -- without a log --------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Close every file and change none: another disk may lie where ours was. Called again behind what runs
        beside."""
        held, self._current, self._ahead = (self._current, self._ahead), None, None
        made, self._made = self._made, None
        for segment in (*held, made):
            if isinstance(segment, SegmentWriter):
                with contextlib.suppress(OSError):  # a dying disk may complain even here; the descriptor is gone
                    segment.close()

    def move(self, log: LogHandle) -> None:
        """Go on in a log that was opened again; what is unsealed there is recovery's matter."""
        self._log, self._fs = log, log.fs
        self._live, self._given_up, self._made = (), [], None
        self._making = self._no_space = self._told = False
        self._next_roll_us = self._next_ahead_us = self._next_seal_us = 0

    # -- beginning ------------------------------------------------------------------------------------------------

    def prepare(self, now: Now) -> None:
        """Have the next file made and its first room allocated while this one lasts: a roll then waits for no disk,
        and a disk without room is met a segment early."""
        self._take_made(now)
        if now.mono_us >= self._next_look_us:
            self._next_look_us = now.mono_us + LOOK_US
            self._keep_volume()
        current, options = self._current, self._options
        if current is None or self._ahead is not None or self._making or now.mono_us < self._next_ahead_us:
            return
        left_us = options.segment_us - (now.mono_us - self._since_us)
        left_bytes = options.segment_limit - current.end
        if left_us * AHEAD_SHARE > options.segment_us and left_bytes * AHEAD_SHARE > options.segment_limit:
            return
        self._making = True
        number, self._number = self._number, self._number + 1
        self._beside(lambda: self._make_ahead(number, now))

    def _keep_volume(self) -> None:
        """Without the VOLUME file the log is refused at the next start."""
        with contextlib.suppress(OSError):  # tried again soon; what is written meets the same trouble and tells it
            if self._log.keep_volume():
                self._events.trouble(RESTORED, {"path": str(self._log.root / VOLUME_NAME)})

    def _make_ahead(self, number: int, now: Now) -> None:
        room = min(self._options.segment_limit, RESERVE_BYTES)
        try:
            free = self._fs.free_bytes(self._log.root)[0]
            if free < room:
                raise OSError(errno.ENOSPC, f"{free} bytes free for the next segment", str(self._log.folder))
            segment = self._create(number, now)
        except (OSError, StorageMissing) as error:
            self._not_made(error)
            return
        try:
            segment.reserve(room)
        except OSError as error:
            self._discard(segment)
            self._not_made(error)
        else:
            self._made = segment

    def _not_made(self, error: Exception) -> None:
        """Without room while others are sealed: no trouble yet, it is tried again."""
        if self._sealing and getattr(error, "errno", None) in NO_SPACE:
            self._making = False
        else:
            self._made = error

    def _take_made(self, now: Now) -> None:
        made, self._made = self._made, None
        if made is None:
            return
        self._making = False
        current = self._current
        if isinstance(made, Exception):
            self._next_ahead_us = now.mono_us + ROLL_RETRY_US
            if isinstance(made, OSError):
                self._not_created(made, now)
        elif current is not None and current.index.header.number > made.index.header.number:
            self._beside(lambda: self._discard(made))  # it came too late: files are used in the order of their numbers
        else:
            self._ahead = made
            self._created()

    def _begin(self, waiting_bytes: int, now: Now) -> SegmentWriter:
        self._take_made(now)
        segment, self._ahead = self._ahead, None
        if segment is not None and not segment.in_place():
            self._drop_live(segment.live)
            segment.close()
            segment = None
        if segment is None:
            self._check_room(waiting_bytes)
            self._await_room()
            segment = self._create(self._number, now)
            self._number += 1
            self._created()
        self._current, self._since_us, self._next_roll_us, self._other_clock = segment, now.mono_us, 0, False
        header = segment.index.header
        name = str(segment.path.relative_to(self._log.folder).with_suffix(""))
        body = {"segment": str(header.segment), "name": name, "number": header.number}
        self._ledger.add(LedgerKind.SEGMENT_BIRTH, now.utc_us, body)
        return segment

    def _create(self, number: int, now: Now) -> SegmentWriter:
        if not self._log.still_there():  # else its folders would be made in the empty mount point
            raise StorageMissing(f"{self._log.folder} was unmounted; mount it again", path=str(self._log.folder))
        self.make_room(self._options.segment_limit)
        identity = self._log.identity
        header = SegmentHeader(
            segment=uuid.uuid4(),
            log=identity.log,
            volume=identity.volume,
            server=self._server,
            run=identity.run,
            epoch=identity.epoch,
            number=number,
            created_us=now.utc_us,
        )
        path = self._log.folder / (segment_name(now.utc_us, identity.epoch, number) + OPEN_SUFFIX)
        segment = SegmentWriter.create(self._fs, path, header, self._options.segment_limit)
        with self._lock:
            self._live = (*self._live, segment.live)
        return segment

    def _check_room(self, waiting_bytes: int) -> None:
        """After the disk was full: no new file before there is room for all that waits."""
        if self._no_space:
            need = waiting_bytes + ROOM_BYTES
            free = self._fs.free_bytes(self._log.root)[0]
            if free < need:
                raise OSError(errno.ENOSPC, f"no space left: {free} bytes free, {need} needed", str(self._log.folder))

    def _not_created(self, error: OSError, now: Now) -> None:
        if not self._told:
            self._told = True
            params: dict[str, object] = {"errno": error.errno, "text": str(error), "path": str(self._log.folder)}
            self._ledger.add(LedgerKind.TROUBLE, now.utc_us, {"code": NOT_CREATED, "params": params})
            self._events.trouble(NOT_CREATED, params)

    def _created(self) -> None:
        if self._told:
            self._told = False
            self._events.trouble("storage-recovered", {"of": NOT_CREATED})

    # -- ending ---------------------------------------------------------------------------------------------------

    def seal_given_up(self, works: bool, now: Now) -> None:
        """What only lacked room even while the storage fails: the space this gives back, and what retention may then
        remove, can be its cure. What failed otherwise when the storage works again."""
        if not self._given_up or now.mono_us < self._next_seal_us:
            return
        with self._lock:
            due = [(segment, room) for segment, room in self._given_up if works or room]
            self._given_up = [entry for entry in self._given_up if entry not in due]
        if not due:
            return
        self._next_seal_us = now.mono_us + SEAL_RETRY_US

        def seal() -> None:
            for segment, _ in due:
                try:
                    if not self._log.still_there():
                        raise OSError(errno.ENODEV, "unmounted", str(self._log.folder))
                    path, head = segment.seal_given_up()
                    self._fs.point("seal_ledger")
                except FileNotFoundError:
                    self._taken(segment, now)
                except OSError as error:
                    self._wait_for_seal(segment, error)
                else:
                    self._sealed(segment, path, head, now)

        self._seal_beside(seal)

    def ending(self) -> None:
        """From here on jobs run at once and nothing waits for its turn."""
        self._beside = lambda job: job()
        self._next_seal_us = 0

    def _finish(self, segment: SegmentWriter, now: Now) -> None:
        """Seal a segment that gets no more commits; called beside the writer, or by `close`."""
        if not segment.has_durable:
            self._discard(segment)
            return
        try:
            path, head = segment.seal()
            self._fs.point("seal_ledger")
        except FileNotFoundError:
            self._bring_back(segment, now)
            return
        except OSError as error:
            self._wait_for_seal(segment, error)
            self._events.trouble("seal-failed", {"path": str(segment.path), "text": str(error)})
            return
        self._sealed(segment, path, head, now)

    def _bring_back(self, segment: SegmentWriter, now: Now) -> None:
        """Other hands took the file from under its writer: what is durable in it is read through the descriptor. Where
        that is not possible its time is said to be missing, at once."""
        if not segment.has_durable:
            self._drop_live(segment.live)
            segment.close()
            return
        path = str(segment.path)
        try:
            if not self._log.still_there():
                self._wait_for_seal(segment, OSError(errno.ENODEV, "unmounted", path))
                return
            segment.bring_back()
        except OSError as error:
            segment.close()
            self._taken(segment, now)
            head = segment.head()
            start_us = min((t.first_us for t in head.tracks if t.media_count), default=now.utc_us)
            end_us = max((t.end_us for t in head.tracks if t.media_count), default=now.utc_us)
            params: dict[str, object] = {"path": path, "start_us": start_us, "end_us": end_us, "text": str(error)}
            self._events.trouble(SEGMENT_MISSING, params)
        else:
            self._wait_for_seal(segment, OSError(errno.ENOENT, "removed by other hands", path))
            self._events.trouble(RESTORED, {"path": path, "bytes": segment.index.durable_end})

    def _taken(self, segment: SegmentWriter, now: Now) -> None:
        """It had its final name, only the sync of its folder failed, and retention took it meanwhile."""
        name = str(segment.path.with_suffix(SEALED_SUFFIX).relative_to(self._log.folder))
        self._ledger.add(LedgerKind.SEGMENT_SEAL, now.utc_us, seal_record(segment.head(), name, 0))
        self._drop_live(segment.live)

    def _sealed(self, segment: SegmentWriter, path: Path, head: FooterHead, now: Now) -> None:
        status = self._fs.stat(path)
        name = str(path.relative_to(self._log.folder))
        body = seal_record(head, name, status.size if status else 0)
        self._ledger.add(LedgerKind.SEGMENT_SEAL, now.utc_us, body)
        self._events.sealed(path)
        self._drop_live(segment.live)

    def _wait_for_seal(self, segment: SegmentWriter, error: Exception) -> None:
        """It stays readable up to its last durable commit. What cannot be sealed now, recovery seals at the next
        start."""
        segment.close()
        with self._lock:
            self._given_up.append((segment, getattr(error, "errno", None) in NO_SPACE))

    def _discard(self, segment: SegmentWriter) -> None:
        """Remove a file in which nothing was ever acknowledged."""
        self._drop_live(segment.live)
        segment.discard()

    def _drop_live(self, gone: LiveSegment) -> None:
        with self._lock:
            self._live = tuple(live for live in self._live if live is not gone)
