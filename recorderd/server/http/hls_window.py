"""The sliding window of a live HLS stream: fragments in, segments and playlist out.

Law: sans-IO; holds references to the fragments that all viewers share, bounded by time and by bytes. Sources: RFC 8216
§4.3, §6.2.2; ISO/IEC 14496-12 §8.8. Owned by `hls_live`.

A segment ends at the first key that is at least MIN_S behind its begin, or before it would be longer than TARGET_S, so
the target duration never changes. What is left out of the playlist stays fetchable for GRACE_S.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from recorderd.core.timerange import format_time
from recorderd.media.access_unit import MediaKind
from recorderd.server.http.fragments import Init
from recorderd.server.http.live_share import LiveFragment

TARGET_S = 4
MIN_S = 2
LISTED_S = 3 * TARGET_S  # RFC 8216 §6.2.2: a live playlist never gets shorter than three target durations
GRACE_S = 2 * TARGET_S
LIMIT_BYTES = 24 * 2**20


@dataclass(slots=True)
class Segment:
    """Consecutive fragments; `duration_s`: until the next one's first picture, as far as that is known.
    `discontinuity`: media time or coding broke off before."""

    number: int
    init: int
    discontinuity: bool
    begin_us: int
    parts: list[LiveFragment] = field(default_factory=list)
    size_bytes: int = 0
    begin_dts: int = 0
    ticks: int = 0
    timescale: int = 1

    @property
    def duration_s(self) -> float:
        return self.ticks / self.timescale

    def data(self) -> bytes:
        return b"".join(piece for part in self.parts for piece in (part.fragment.head, part.data))


class LiveWindow:
    """`first`: number of the first segment and discontinuity; those of a later window of the same stream are higher."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._breaks_gone = first  # discontinuities that left the playlist
        self._segments: deque[Segment] = deque()
        self._gone: deque[Segment] = deque()  # out of the playlist, still fetchable
        self._open: Segment | None = None
        self._inits: dict[int, Init] = {}
        self._init_number = first  # a name must not mean another header in a later window: browsers keep them
        self._broken = False

    @property
    def ready(self) -> bool:
        """Whether there is a segment to play."""
        return bool(self._segments)

    @property
    def size_bytes(self) -> int:
        held = (*self._segments, *self._gone, *((self._open,) if self._open else ()))
        return sum(segment.size_bytes for segment in held)

    def push(self, part: LiveFragment) -> bool:
        """Take a fragment; whether a segment was completed."""
        complete = False
        init = self._inits.get(self._init_number)
        video = part.kind is MediaKind.VIDEO
        if part.init is not init or part.skipped or (video and part.discontinuity):
            complete = self._close()
            self._broken = init is not None
            if part.init is not init:
                self._init_number += 1
                self._inits[self._init_number] = part.init
        if video and self._is_full(part):
            self._end_at(part.fragment.base_dts)
            complete = self._close() or complete
        if self._open is None:
            if not video or (self._broken and not part.is_key):
                return complete
            self._open = Segment(self._next, self._init_number, self._broken, part.recv_us)
            self._open.begin_dts, self._open.timescale = part.fragment.base_dts, part.fragment.timescale
            self._next, self._broken = self._next + 1, False
        segment = self._open
        segment.parts.append(part)
        segment.size_bytes += len(part.data) + len(part.fragment.head)
        if video:
            self._end_at(part.fragment.base_dts + part.fragment.duration)
        self._bound()
        return complete

    def segment(self, number: int) -> Segment | None:
        return next((one for one in (*self._gone, *self._segments) if one.number == number), None)

    def init(self, number: int) -> bytes | None:
        found = self._inits.get(number)
        return found.data if found is not None else None

    def playlist(self, query: str) -> str:
        """RFC 8216; `query` goes behind each address."""
        first = self._segments[0].number if self._segments else self._next
        head = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{TARGET_S}",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._breaks_gone}",
        ]
        return "\n".join([*head, *self._lines(query), ""])

    def _lines(self, query: str) -> Iterator[str]:
        init = 0
        for segment in self._segments:
            if segment.discontinuity:
                yield "#EXT-X-DISCONTINUITY"
            if segment.init != init:
                init = segment.init
                yield f'#EXT-X-MAP:URI="live/init-{init}.mp4?{query}"'
            yield f"#EXT-X-PROGRAM-DATE-TIME:{format_time(segment.begin_us)}"
            yield f"#EXTINF:{segment.duration_s:.6f},"
            yield f"live/{segment.number}.m4s?{query}"

    def _is_full(self, part: LiveFragment) -> bool:
        segment = self._open
        if segment is None or segment.timescale != part.fragment.timescale:
            return False
        ticks = part.fragment.base_dts - segment.begin_dts
        after = ticks + part.fragment.duration
        return after > TARGET_S * segment.timescale or (part.is_key and ticks >= MIN_S * segment.timescale)

    def _end_at(self, dts: int) -> None:
        """By decode times: what a camera says of its frame rate may be wrong. Never more than the target duration,
        however few pictures come."""
        segment = self._open
        if segment is not None:
            segment.ticks = min(dts - segment.begin_dts, TARGET_S * segment.timescale)

    def _close(self) -> bool:
        segment, self._open = self._open, None
        if segment is None:
            return False
        self._segments.append(segment)
        listed = sum(one.duration_s for one in self._segments)
        while len(self._segments) > 1 and listed - self._segments[0].duration_s >= LISTED_S:
            listed -= self._segments[0].duration_s
            self._unlist()
        grace = sum(one.duration_s for one in self._gone)
        while self._gone and grace - self._gone[0].duration_s >= GRACE_S:
            grace -= self._gone.popleft().duration_s
        kept = {one.init for one in (*self._gone, *self._segments)} | {self._init_number}
        self._inits = {number: init for number, init in self._inits.items() if number in kept}
        return True

    def _unlist(self) -> None:
        segment = self._segments.popleft()
        self._breaks_gone += segment.discontinuity
        self._gone.append(segment)

    def _bound(self) -> None:
        """Never more than LIMIT_BYTES, whatever the bit rate: the oldest goes early."""
        while self.size_bytes > LIMIT_BYTES and (self._gone or self._segments):
            if self._gone:
                self._gone.popleft()
            else:
                self._unlist()
                self._gone.popleft()
        if self.size_bytes > LIMIT_BYTES:
            self._open, self._broken = None, True
