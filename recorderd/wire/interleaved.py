"""The loop over `$` frames of an RTSP connection (RFC 2326 §10.12): the hot path of the recorder.

Law: no object per RTP packet; a packet that only continues an open NAL unit is appended as a slice right
here,
everything else goes through `Track.packet`. Sans-IO. Called by the driver shell with the shared read buffer.
"""

from __future__ import annotations

from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import DOLLAR
from recorderd.wire.track import Arrival, Track

_TEXT_STARTS = frozenset(b"RrHGgSsOoAaTtPpDd")  # RTSP/1.0, or a request of the server
MAX_RESYNC_BYTES = 256 * 1024


class InterleavedReceiver:
    """Channels of one connection. `receive` consumes whole frames; text is left to the caller."""

    def __init__(self) -> None:
        self.arrival = Arrival()
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
            track.packet(buffer, pos + 4, stop)
            pos = stop
            if track.depay.fragment_key is not None:
                pos = _run(track, head, buffer, (pos, end))
        for track in self._tracks:
            track.depay.settle()
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
    """Middle fragments of one NAL unit: everything of their headers but the sequence number repeats."""
    pos, end = span
    depay = track.depay
    first, second = depay.fragment_key or (-1, -1)
    unpack, offset, append = track.unpack_head, depay.fragment_offset, depay.parts.append
    flags, timestamp, ssrc = track.flags, track.timestamp, track.ssrc
    start = sequence = track.sequence or 0
    while end - pos > offset:
        h, length, f, s, t, source, a, b = unpack(buffer, pos)
        stop = pos + 4 + length
        if (
            s != sequence or stop > end or f != flags or b != second or a != first
            or t != timestamp or h != head or source != ssrc
        ):  # fmt: skip
            break
        append(buffer[pos + offset : stop])
        sequence = (s + 1) & 0xFFFF
        pos = stop
    track.sequence = sequence
    track.counters.packets += (sequence - start) & 0xFFFF
    return pos
