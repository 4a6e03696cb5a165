"""What every depacketiser is, and what those of H.264 and H.265 share.

Law: payload bytes in, coded units out; no sequence numbers, no clock. A depacketiser never raises on
bytes: what
cannot be read is counted (`malformed`) and marks the unit damaged. Nothing of the read
buffer is kept, only copies. The interface is small so that compiled code can take its place. Called by
`track` and, for
the
middle fragments of a large picture, by the loop of `interleaved`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.media.bits import BitstreamError
from recorderd.media.nal import has_recovery_point, split_annex_b

MAX_UNIT_BYTES = 32 * 1024 * 1024
PIECE_BYTES = 64  # what a piece costs besides its bytes
MAX_SETS = 64
_DELTA = UnitType.DELTA  # looked up once: a member costs an enum's own lookup

# (data, type, damaged, ticks after the packet's timestamp)
Emit = Callable[[bytes, UnitType, bool, int], None]


class Depacketiser(Protocol):
    """One track's depacketiser.

    `fragment_key` is None, or the payload header (as the track's `head` unpacks it) of packets that only
    continue
    the open NAL unit: such packets may be appended to `parts` from `fragment_offset` on without calling
    `feed`.
    """

    config: CodecConfig
    parts: list[bytes]
    fragment_key: int | bytes | None
    fragment_offset: int
    kept_bytes: int
    malformed: int

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        """One packet's payload."""
        ...

    def marker(self) -> None:
        """The packet just fed carried the marker bit."""
        ...

    def flush(self) -> None:
        """The next packet has another timestamp: give out what belongs to the old one."""
        ...

    def gap(self, packets: int) -> None:
        """Packets are missing in front of the next one (0: an unknown number)."""
        ...


@runtime_checkable
class ReadsExtensions(Protocol):
    """A depacketiser that is also told of RTP header extensions (RFC 3550 §5.3.1)."""

    def extension(self, identity: int, content: bytes, payload_at: int) -> None:
        """The extension of the packet whose payload lies at `payload_at`, which is fed next or dropped."""
        ...


class NalDepacketiser(ABC):
    """Collects the NAL units of one access unit, in order as received, each behind its length.

    A unit ends at the marker, if the marker comes with picture data, and at a change of timestamp. Where no
    marker ever was of use, a NAL unit that can only begin a picture ends the one before (H.264 7.4.1.2.4).
    """

    # What a codec's subclass states. Tables instead of calls: they are looked into for every packet.
    fragment_offset: int
    header_bytes: int  # of a NAL unit
    set_kinds: tuple[int, ...]  # parameter sets, in the order of CodecConfig.parameter_sets
    picture_kinds: frozenset[int]  # VCL
    entries: ClassVar[dict[int, UnitType]]  # picture kinds that start a GOP
    opening_kinds: frozenset[int]  # non-picture kinds that can only belong to the next picture
    sei_kind: int

    def __init__(self, emit: Emit, sets: list[bytes]) -> None:
        self.parts: list[bytes] = []
        self.fragment_key: int | bytes | None = None
        self.malformed = 0
        self._emit = emit
        self._sets: dict[tuple[int, int], bytes] = {}
        self._open_at = -1  # index in parts of the open NAL unit's length
        self._open_kind = 0
        self.kept_bytes = 0
        self._picture = False
        self._type = _DELTA
        self._damaged = False
        self._suspect = False  # packets were lost right in front of this unit
        self._after_gap = True  # fragments without a start are the rest of something lost
        self._complete_fronts: set[int] = set()
        self._front = -1
        self._marker_works = False
        self._marker_lies = False
        self._just_ended = False
        self._ended_by_gap = True  # nothing came before: the first unit is not suspect
        self._split = -1  # byte in the unit where the next one may begin
        self._orphaned = False  # fragments without a start were left out of this unit
        for nal in sets:
            if len(nal) > self.header_bytes:
                self._take_set(self.kind(nal[0]), nal)
        self.config = self._make_config(self._ordered_sets())
        self._config_stale = False

    @staticmethod
    @abstractmethod
    def kind(first_byte: int) -> int:
        """The NAL unit's type."""

    @abstractmethod
    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        """One packet's payload."""

    @abstractmethod
    def _set_id(self, nal: bytes) -> int: ...

    @abstractmethod
    def _make_config(self, sets: tuple[bytes, ...]) -> CodecConfig: ...

    def marker(self) -> None:
        if self._picture and not self._marker_lies:
            self._marker_works = True
            self.flush()
            self._just_ended = True

    def flush(self) -> None:
        """Give out the unit. Without picture data its NAL units go in front of the next picture."""
        if self._open_at >= 0:
            self._close()
        self._just_ended = False
        if self._orphaned:
            self._after_gap = self._orphaned = False
        if not self._picture or not self.parts:
            self._damaged = self._damaged and not self._picture
            self._picture = False
            return
        if self._config_stale:
            self.config = self._make_config(self._ordered_sets())
            self._config_stale = False
        # Behind a gap a unit is whole if units of its type were seen to begin with the same kind.
        front = self._front << 4 | self._type
        if self._suspect:
            self._damaged = self._damaged or front not in self._complete_fronts
        elif not self._damaged and len(self._complete_fronts) < 16:
            self._complete_fronts.add(front)
        data = b"".join(self.parts)
        kind, damaged = self._type, self._damaged
        self._reset()
        self._emit(data, kind, damaged, 0)

    def gap(self, packets: int) -> None:
        """The open NAL unit is kept up to the gap; what follows of it has no place any more."""
        self._after_gap, self._orphaned, self._ended_by_gap = True, False, False
        if not self.parts:
            return
        self._damaged = True
        if self._open_at >= 0:
            self._close()
        # One packet lost where only the end was missing: it was that end, the next unit is whole.
        self._ended_by_gap = packets == 1 and self._marker_works

    def _reset(self) -> None:
        self.parts.clear()
        self.fragment_key = None
        self._open_at, self._front = -1, -1
        self.kept_bytes = 0
        self._picture = self._damaged = self._suspect = False
        self._split = -1
        self._type = _DELTA

    def _overflow(self) -> None:
        """A unit that never ends is no picture: drop it, wait for the next start."""
        self._reset()
        self._bad()
        self._after_gap = True

    def _bad(self) -> None:
        self.malformed += 1
        self._damaged = True

    def _before(self, kind: int, opens_picture: bool) -> None:
        """A NAL unit of this kind begins: end the unit before, if this cannot belong to it."""
        if self._open_at >= 0:
            self._close()  # the end flag was never set
        picture = kind in self.picture_kinds
        if self._picture:
            if not self._marker_works:
                self._look_for_end(kind, picture, opens_picture)
        elif self._just_ended and picture and not opens_picture and not self.parts and not self._after_gap:
            # The rest of a picture that the marker declared finished: this marker means nothing.
            self._marker_lies, self._marker_works = True, False
        self._just_ended = False
        if not self.parts:
            self._front = kind
            if self._after_gap and not self._ended_by_gap:
                self._suspect = True
                self._damaged = picture and not opens_picture
        self._after_gap = self._ended_by_gap = False
        if picture:
            self._picture = True
            if kind in self.entries:
                self._type = self.entries[kind]

    def _look_for_end(self, kind: int, picture: bool, opens_picture: bool) -> None:
        """No marker helped so far. Only the next picture's first slice proves that this unit is over; what
        came
        since the last slice and can belong to the next picture goes with it. (Parameter sets alone prove
        nothing: GStreamer repeats them between the slices of one picture.)"""
        if not picture:
            if self._split < 0 and kind in self.opening_kinds:
                self._split = sum(map(len, self.parts))
            return
        split, self._split = self._split, -1
        if not opens_picture:
            return
        data = b"".join(self.parts)
        keep = len(data) if split < 0 else split
        self.parts[:] = [data[:keep]]
        self.flush()
        if keep < len(data):
            self.parts.append(data[keep:])

    def _whole(self, nal: bytes) -> None:
        """A whole NAL unit."""
        size = len(nal)
        if size <= self.header_bytes:
            self._bad()
            return
        kind = self.kind(nal[0])
        self._before(kind, nal[self.header_bytes] >= 0x80)
        self.parts += (size.to_bytes(4, "big"), nal)
        self.kept_bytes += size + PIECE_BYTES
        if self.kept_bytes > MAX_UNIT_BYTES:
            self._overflow()
            return
        if kind not in self.picture_kinds:
            self._other(kind, nal)

    def _single(self, data: bytes) -> None:
        """A single NAL unit packet; some cameras put start codes and several NAL units into one."""
        if b"\x00\x00\x01" not in data:
            self._whole(data)
            return
        for nal in split_annex_b(data):
            self._whole(nal)

    def _continue(self, flags: int, data: bytes) -> None:
        """A fragment of the open NAL unit."""
        self.parts.append(data)
        self.kept_bytes += len(data) + PIECE_BYTES
        if flags & 0x40:
            self._close()
        elif self.kept_bytes > MAX_UNIT_BYTES:
            self._overflow()

    def _start(self, flags: int, header: bytes, data: bytes) -> None:
        """A fragment that continues no open NAL unit; `flags` is the FU header with start and end bits."""
        kind = self.kind(header[0])
        if not flags & 0x80 and self._after_gap:
            # The start is lost: without its header the rest cannot be read by anybody.
            self._damaged = self._orphaned = True
            self._picture = self._picture or kind in self.picture_kinds
            return
        self._before(kind, len(data) > 0 and data[0] >= 0x80)
        self._open_at, self._open_kind = len(self.parts), kind
        self.parts += (b"", header)
        self._continue(flags, data)

    def _close(self) -> None:
        """The open NAL unit is complete, or all of it that will come."""
        at = self._open_at
        parts = self.parts
        size = sum(map(len, parts[at + 1 :]))
        parts[at] = size.to_bytes(4, "big")
        self._open_at, self.fragment_key = -1, None
        if self._open_kind not in self.picture_kinds:
            whole = b"".join(parts[at + 1 :])
            if b"\x00\x00\x01" in whole:
                del parts[at:]
                for nal in split_annex_b(whole):
                    self._whole(nal)
            else:
                self._other(self._open_kind, whole)

    def _other(self, kind: int, nal: bytes) -> None:
        if kind in self.set_kinds:
            self._take_set(kind, nal)
        elif self._type is _DELTA and kind == self.sei_kind and has_recovery_point(nal, self.header_bytes):
            self._type = UnitType.RECOVERY_POINT

    def _take_set(self, kind: int, nal: bytes) -> None:
        nal = nal.rstrip(b"\x00")  # trailing_zero_8bits; a NAL unit itself never ends in zero
        try:
            key = (kind, self._set_id(nal))
        except BitstreamError:
            return  # kept in the unit as it came, of no use for the config
        if self._sets.get(key) != nal and (key in self._sets or len(self._sets) < MAX_SETS):
            self._sets[key] = nal
            self._config_stale = True

    def _ordered_sets(self) -> tuple[bytes, ...]:
        order = sorted(self._sets, key=lambda key: (self.set_kinds.index(key[0]), key[1]))
        return tuple(self._sets[key] for key in order)
