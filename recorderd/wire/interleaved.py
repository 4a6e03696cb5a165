"""The loop over `$` frames of an RTSP connection (RFC 2326 §10.12): the hot path of the recorder.

Law: no object per RTP packet; packets that only continue an open NAL unit are taken right here, many with
one copy, everything else goes through `Track.packet`. Sans-IO. Called by the driver shell with the shared read buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter

from recorderd.wire.depay import MAX_UNIT_BYTES, PIECE_BYTES
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import DOLLAR
from recorderd.wire.track import Track

_TEXT_STARTS = frozenset(b"RrHGgSsOoAaTtPpDd")  # RTSP/1.0, or a request of the server
_FRAMING = struct.Struct(">I")
_NUMBERED = struct.Struct(">4xI")  # flags and sequence number behind the framing
MAX_RESYNC_BYTES = 256 * 1024
_BLOCK = 32  # fragments copied with one call


class InterleavedReceiver:
    """Channels of one connection. `receive` consumes whole frames; text is left to the caller."""

    def __init__(self) -> None:
        self.unassigned = 0  # frames on channels nobody asked for
        self.resyncs = 0
        self._media: dict[int, Track] = {}  # by `$` and channel as one 16-bit number
        self._control: dict[int, Track] = {}
        self._tracks: list[Track] = []
        self._skipped_bytes = 0

    def assign(self, track: Track, media_channel: int, control_channel: int) -> None:
        """From now on these channels belong to `track`."""
        self._media[DOLLAR << 8 | media_channel] = track
        self._control[DOLLAR << 8 | control_channel] = track
        if track not in self._tracks:
            self._tracks.append(track)

    def receive(self, buffer: memoryview, pos: int, end: int) -> int:
        """Consume frames from `buffer[pos:end]`; gives the position of the first byte not consumed: the start
        of a partial frame or of text. Raises ProtocolError when no frame can be found any more."""
        media = self._media
        while end - pos >= 4:
            (framing,) = _FRAMING.unpack_from(buffer, pos)
            track = media.get(framing >> 16)
            if track is None:
                after = self._not_media(framing, buffer, pos, end)
                if after == pos:
                    break
                pos = after
                continue
            stop = pos + 4 + (framing & 0xFFFF)
            if stop > end:
                break
            depay = track.depay
            # The last fragment (end flag of the FU header) mostly has a size of its own: it is no run.
            at = pos + depay.fragment_offset
            if depay.fragment_key is not None and at < stop and not buffer[at - 1] & 0x40:
                after = _run(track, framing, buffer, (pos, end))
                if after != pos:
                    pos = after
                    continue
            track.packet(buffer, pos + 4, stop)
            pos = stop
        return pos

    def _not_media(self, framing: int, buffer: memoryview, pos: int, end: int) -> int:
        """Take what is no media of a known track; `pos` again for text and for what is not all there."""
        head, first = framing >> 16, framing >> 24
        control = self._control.get(head)
        if control is None and first != DOLLAR:
            if first in b"\r\n":
                return pos + 1  # blank lines, also in front of a frame
            return pos if first in _TEXT_STARTS else self._resync(buffer, pos, end)
        stop = pos + 4 + (framing & 0xFFFF)
        if stop > end:
            return pos
        if control is not None:
            control.control(buffer, pos + 4, stop)
        else:
            self.unassigned += 1
        return stop

    def _resync(self, buffer: memoryview, pos: int, end: int) -> int:
        """Old servers write frames only in part: go on at the next plausible frame."""
        if not self._media:
            raise ProtocolError("neither an RTSP message nor interleaved data", byte=buffer[pos])
        self.resyncs += not self._skipped_bytes
        found = pos + 1
        while found < end and not self._plausible(buffer, found, end):
            found += 1
        self._skipped_bytes += found - pos
        if self._skipped_bytes > MAX_RESYNC_BYTES:
            raise ProtocolError("lost the border between packets and did not find it again")
        if found < end:
            self._skipped_bytes = 0
            for track in self._tracks:
                track.gap_unknown()
        return found

    def _plausible(self, buffer: memoryview, pos: int, end: int) -> bool:
        if buffer[pos] != DOLLAR:
            return False
        if end - pos < 6:
            return True  # looked at again when more has come
        head = DOLLAR << 8 | buffer[pos + 1]
        if head not in self._media and head not in self._control:
            return False
        return buffer[pos + 4] >> 6 == 2 and (buffer[pos + 2] << 8 | buffer[pos + 3]) >= 8


def _run(track: Track, framing: int, buffer: memoryview, span: tuple[int, int]) -> int:
    """Middle fragments of one NAL unit: they have one size and everything of their headers repeats but the
    sequence number, which counts up. So one structure reads them all and four numbers are compared for each;
    the first packet that differs ends the run. One allocation for the run instead of one per fragment: memory
    that frames were kept in is slow to come by. The caller saw that the first packet is all there and
    has a payload behind its headers."""
    pos, end = span
    depay = track.depay
    size = 4 + (framing & 0xFFFF)
    if depay.kept_bytes > MAX_UNIT_BYTES:
        return pos
    start = track.sequence or 0
    expected = track.flags << 16 | start
    if _NUMBERED.unpack_from(buffer, pos)[0] != expected:
        return pos  # it must not cost a structure
    if size != track.run_size:
        track.run_size, track.run_struct = size, fragment_struct(track.plan.head, size)
    source, key = track.timestamp << 32 | track.ssrc, depay.fragment_key
    run = buffer[pos : end - (end - pos) % size]
    count = 0
    for f, numbered, s, k in track.run_struct.iter_unpack(run):
        if numbered != expected or f != framing or k != key or s != source:
            break
        count += 1
        expected += 1
        if not expected & 0xFFFF:
            expected -= 0x10000
    if not count:
        return pos
    for done in range(0, count, _BLOCK):
        pick = fragment_picker(depay.fragment_offset, size, min(_BLOCK, count - done))
        depay.parts.append(b"".join(pick(run[done * size :])))
    track.sequence = expected & 0xFFFF
    track.counters.packets += count
    depay.kept_bytes += count * (size + PIECE_BYTES)
    return pos + count * size


@lru_cache(maxsize=256)
def fragment_struct(head: str, size: int) -> struct.Struct:
    """A whole packet of `size` bytes whose headers `head` describes, the fragment left out."""
    return struct.Struct(f"{head}{size - struct.calcsize(head)}x")


@lru_cache(maxsize=512)
def fragment_picker(offset: int, size: int, count: int) -> Callable[[memoryview], tuple[memoryview, ...]]:
    """The fragments of `count` packets of `size` bytes, each from `offset` on, out of a view of the packets."""
    slices = [slice(at + offset, at + size) for at in range(0, count * size, size)]
    return itemgetter(*slices) if count > 1 else lambda run: (run[slices[0]],)
