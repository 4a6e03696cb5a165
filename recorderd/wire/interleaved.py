"""The loop over `$` frames of an RTSP connection (RFC 2326 §10.12): the hot path of the recorder.

Law: no object per RTP packet but its payload; packets that only continue an open NAL unit are taken right here,
everything else goes through `Track.packet`. Sans-IO. Called by the driver shell with the shared read buffer.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from recorderd.wire.depay import MAX_UNIT_BYTES, PIECE_BYTES
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import DOLLAR
from recorderd.wire.track import Track

_TEXT_STARTS = frozenset(b"RrHGgSsOoAaTtPpDd")  # RTSP/1.0, or a request of the server
_FRAMING = struct.Struct(">I")
MAX_RESYNC_BYTES = 256 * 1024


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
            head = buffer[pos] << 8 | buffer[pos + 1]
            stop = pos + 4 + (buffer[pos + 2] << 8 | buffer[pos + 3])
            track = media.get(head)
            if track is None:
                known = head in self._control
                if not known and buffer[pos] != DOLLAR:
                    if buffer[pos] in b"\r\n":
                        pos += 1  # blank lines, also in front of a frame
                        continue
                    if buffer[pos] in _TEXT_STARTS:
                        break
                    pos = self._resync(buffer, pos, end)
                    continue
                if stop > end:
                    break
                if known:
                    self._control[head].control(buffer, pos + 4, stop)
                else:
                    self.unassigned += 1
                pos = stop
                continue
            if stop > end:
                break
            if track.depay.fragment_key is not None:
                after = _run(track, head, buffer, (pos, end))
                if after != pos:
                    pos = after
                    continue
            track.packet(buffer, pos + 4, stop)
            pos = stop
        return pos

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


def _run(track: Track, head: int, buffer: memoryview, span: tuple[int, int]) -> int:
    """Middle fragments of one NAL unit: they have one size and everything of their headers repeats but the
    sequence number, which counts up. So one structure reads them all and four numbers are compared for each;
    the first packet that differs ends the run."""
    pos, end = span
    depay = track.depay
    if end - pos < depay.fragment_offset or depay.kept_bytes > MAX_UNIT_BYTES:
        return pos
    framing = _FRAMING.unpack_from(buffer, pos)[0]
    size = 4 + (framing & 0xFFFF)
    if framing >> 16 != head or size <= depay.fragment_offset or end - pos < size:
        return pos
    start = track.sequence or 0
    expected = track.flags << 16 | start
    source, key, append = track.timestamp << 32 | track.ssrc, depay.fragment_key, depay.parts.append
    run = buffer[pos : end - (end - pos) % size]
    for f, numbered, s, k, data in fragment_struct(track.plan.head, size).iter_unpack(run):
        if numbered != expected or f != framing or k != key or s != source:
            break
        append(data)
        pos += size
        expected += 1
        if not expected & 0xFFFF:
            expected -= 0x10000
    count = (expected - start) & 0xFFFF
    track.sequence = expected & 0xFFFF
    track.counters.packets += count
    depay.kept_bytes += count * (size + PIECE_BYTES)
    return pos


@lru_cache(maxsize=256)
def fragment_struct(head: str, size: int) -> struct.Struct:
    """A whole packet of `size` bytes whose headers `head` describes, its fragment as the last value."""
    return struct.Struct(f"{head}{size - struct.calcsize(head)}s")
