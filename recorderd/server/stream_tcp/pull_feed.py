"""A `pull` subscription: whole chunks as fast as the disk, the socket and the client's credit go.

Law: chunks are read and checked on the volume's read pool, a few ahead of what is being sent and never more than the
limit of bytes; their memory goes to the socket as it was read. What cannot be given is said by a `hole`. Called by
`requests`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mediadb.errors import MediaDbError
from mediadb.read.reader import ChunkRef, Reader, StoredChunk
from mediadb.types import Interval, TrackKind
from recorderd.core.errors import UsageError
from recorderd.engine.storage import CommitLike
from recorderd.engine.stream import track_id
from recorderd.server.footage import store_of, stream_tracks
from recorderd.server.stream_tcp import fields
from recorderd.server.stream_tcp.heads import chunk_head, hole_head, unit_head
from recorderd.server.stream_tcp.pull_plan import Piece, PullPlan, TrackPlan
from recorderd.server.stream_tcp.request import Request
from recorderd.server.stream_tcp.subscription import TaskSubscription
from recorderd.services.playback.footage import cause_of
from recorderd.services.playback.gop import frames
from recorderd.services.playback.types import BadCursor, Cursor, Hole
from recorderd.wire.stream.messages import FRAME_BYTES, Type

if TYPE_CHECKING:
    from recorderd.engine.views import CameraView
    from recorderd.server.stream_tcp.session import Session

_KINDS = {"video": TrackKind.VIDEO, "audio": TrackKind.AUDIO, "metadata": TrackKind.METADATA}
_JOB_BYTES = 1 << 20  # read in one go
_JOBS = 3
_HEAD_BYTES = 4_096  # a chunk's head without its table, generously
_FOLLOW_S = 1.0  # how often the durable end is looked at when no commit said so

Unread = MediaDbError | OSError
Loaded = tuple[Piece, StoredChunk | Unread]


class PullFeed(TaskSubscription):
    """Raises RecorderdError for a camera, stream or range that cannot be meant."""

    def __init__(self, session: Session, request: Request, view: CameraView) -> None:
        super().__init__(session, request)
        head = request.head
        self._role = fields.text(head, "stream", "main")
        stream_tracks(view, self._role)
        self._deps = session.shared.deps
        self._store = store_of(self._deps, view)
        names = fields.texts(head, "tracks", len(_KINDS), ("video",))
        if not names or not set(names) <= set(_KINDS):
            raise UsageError(f"`tracks` names at least one of {', '.join(_KINDS)}", name="tracks")
        self._tracks = [track_id(view.id, self._role, _KINDS[name]) for name in names]
        self._start_us = fields.time_us(head, "start_us", 0)
        self._end_us = fields.optional_time_us(head, "end_us")
        if self._end_us is not None and self._end_us <= self._start_us:
            raise UsageError("the range is empty: `end_us` must lie after `start_us`", name="end_us")
        self._cursors = _cursors(fields.mapping(head, "cursor"), self._tracks)
        self._follow = fields.flag(head, "follow")
        self._watch_storage = view.storage
        self._id = request.id
        self._committed = asyncio.Event()
        self._last_us = self._start_us
        self._last_cursor: Cursor | None = None

    async def run(self) -> None:
        """Send everything, then end; with `follow` go on as chunks become durable."""
        plan = await self._store.read(self._plan)
        passed = asyncio.Event()

        def committed(info: CommitLike) -> None:
            self._committed.set()
            if plan.passed(info.tracks):
                passed.set()

        unwatch = self._deps.engine.listener(self._watch_storage).watch(committed)
        told_live = False
        try:
            while True:
                self._committed.clear()
                if passed.is_set():
                    passed.clear()
                    await self._store.read(plan.set_back)
                pieces = await self._store.read(plan.next)
                if pieces is not None:
                    await self._send_all(pieces)
                elif not self._follow or plan.complete:
                    break
                else:
                    if not told_live:
                        told_live = True
                        self._tell_position("live")
                    await self._more()
        finally:
            unwatch()
        self._tell_position("end")
        self.session.end(self.number, "end")

    def _plan(self) -> PullPlan:
        reader = self._store.reader
        plans = [TrackPlan(reader, track, self._start_us, self._cursors.get(track)) for track in self._tracks]
        return PullPlan(reader, plans, self._end_us)

    async def _more(self) -> None:
        """Until something was committed; a commit of another process says nothing here, so look now and then."""
        try:
            await asyncio.wait_for(self._committed.wait(), _FOLLOW_S)
        except TimeoutError:
            pass  # look again

    async def _send_all(self, pieces: Sequence[Piece]) -> None:
        """Read ahead by a few jobs, send in order."""
        jobs = deque(_jobs(pieces))
        limit = self.session.shared.limits.read_ahead_bytes
        running: deque[tuple[asyncio.Task[list[Loaded]], int]] = deque()
        ahead = 0
        while jobs or running:
            while jobs and len(running) < _JOBS and (not running or ahead + jobs[0][1] <= limit):
                members, size = jobs.popleft()
                work = self._store.read(_load, self._store.reader, members)
                task = self.session.shared.tree.start(f"pull read {self.number}", work)
                self.hold(task)
                running.append((task, size))
                ahead += size
            task, size = running.popleft()
            for piece, chunk in await task:
                await self._send(piece, chunk)
            ahead -= size

    async def _send(self, piece: Piece, chunk: StoredChunk | Unread) -> None:
        await self.room()
        ref = piece.ref
        self._last_us = ref.end_us
        self._last_cursor = Cursor(ref.track, ref.run, ref.seq, max(ref.frame_count - 1, 0))
        if isinstance(chunk, (MediaDbError, OSError)):
            self._tell_hole(ref, chunk)
            return
        coding = self.session.shared.codings.of(ref.track, chunk.spec.kind, chunk.spec.stream, chunk.config)
        self.send_coding(coding)
        size = FRAME_BYTES + _HEAD_BYTES + len(chunk.table) + len(chunk.data)
        if piece.skip or size > self.session.message_bytes or len(chunk.table) > 0xF000:
            await self._send_units(piece, coding.number)
        else:
            self.send_media(Type.CHUNK, chunk_head(chunk, coding.number), chunk.data)

    async def _send_units(self, piece: Piece, cfg: int) -> None:
        """A chunk that is no message of its own: sample by sample."""
        try:
            data = await self._store.read(self._store.reader.read, piece.ref)
        except (MediaDbError, OSError) as error:  # it went since it was read the first time
            self._tell_hole(piece.ref, error)
            return
        for unit in frames(data)[piece.skip :]:
            await self.room()
            self.send_media(Type.UNIT, unit_head(unit, cfg), unit.sample.data)

    def _tell_hole(self, ref: ChunkRef, error: Unread) -> None:
        cause = Interval(ref.recv_us, ref.end_us, cause_of(error))
        self.tell(Type.HOLE, hole_head(Hole(ref.recv_us, ref.end_us, (cause,)), ref.track))

    def _tell_position(self, end: str) -> None:
        head: dict[str, Any] = {"time_us": self._last_us, "end": end}
        if self._id is not None:
            head["id"] = self._id
        if self._last_cursor is not None:
            head["cursor"] = str(self._last_cursor)
        self.tell(Type.POSITION, head)


def _cursors(given: dict[str, Any], tracks: Sequence[object]) -> dict[object, Cursor]:
    """By track. Raises BadCursor, UsageError."""
    found: dict[object, Cursor] = {}
    for value in given.values():
        if not isinstance(value, str):
            raise UsageError("`cursor` maps track ids to cursors", name="cursor")
        cursor = Cursor.parse(value)
        if cursor.track not in tracks:
            raise BadCursor("a cursor is of a track that is not pulled", cursor=str(cursor))
        found[cursor.track] = cursor
    return found


def _jobs(pieces: Sequence[Piece]) -> list[tuple[list[Piece], int]]:
    """Chunks in groups of about _JOB_BYTES."""
    jobs: list[tuple[list[Piece], int]] = []
    for piece in pieces:
        size = piece.ref.row.length
        if not jobs or jobs[-1][1] + size > _JOB_BYTES:
            jobs.append(([], 0))
        members, held = jobs[-1]
        members.append(piece)
        jobs[-1] = members, held + size
    return jobs


def _load(reader: Reader, pieces: Sequence[Piece]) -> list[Loaded]:
    """On the read pool: the chunks, or why one cannot be given."""
    found: list[Loaded] = []
    for piece in pieces:
        try:
            found.append((piece, reader.stored(piece.ref)))
        except (MediaDbError, OSError) as error:
            found.append((piece, error))
    return found
