"""What one connection is sent: pictures, sound and sender reports of one stream of one camera, in time.

Law: asked by the scheduler at due times, hands finished packets to the outlet; never waits, reads no clock. A frame
is sent whole or, when the connection's backlog is too large, not at all, and then counted as the farm's own drop.
A healthy camera sends the shared frames; one with a media fault has its packets built for itself.
"""

from __future__ import annotations

import random

from recorderd.media.marker import encode_marker_fields
from recorderd.rtspserver.mount import FirstPacket, Outlet, PlayStart
from recorderd.simulate.camera import Camera, CameraStream
from recorderd.simulate.packed import BuiltFrame, PackedVideo
from recorderd.simulate.tally import Tally
from recorderd.simulate.told import PackedTold, make_document
from recorderd.wire.rtp_send import SenderCounts, interleaved, interleaved_packet, sender_report

MAX_BACKLOG_BYTES = 8 * 1024 * 1024
SENDER_REPORT_US = 2_000_000
PIECE_GAP_US = 1_000
DOCUMENT_US = 1_000_000
VIDEO_TRACK, AUDIO_TRACK = 0, 1


class Feed:
    """One PLAY. `fire` is called when `due_us` has come and gives the next due time, or None at the end."""

    def __init__(self, camera: Camera, stream: CameraStream, outlet: Outlet, tracks: frozenset[int]) -> None:
        self._camera = camera
        self._stream = stream
        self._video = stream.video
        self._outlet = outlet
        self._with_video = VIDEO_TRACK in tracks
        self._audio = stream.audio if AUDIO_TRACK in tracks else None
        self._told = stream.told if stream.told is not None and stream.told.track.channel // 2 in tracks else None
        self._told_sequence = self._told_index = 0
        self._private = camera.faults.touches_media
        self._rest: list[tuple[bytes, ...]] = []
        self._wait_for_key = False
        self._report_due_us = 0
        self._seed = ""
        self._sequence = self._audio_sequence = self._timestamp_base = 0
        self._number = self._audio_index = 0
        self._counts = {VIDEO_TRACK: [0, 0], AUDIO_TRACK: [0, 0]}
        self.due_us = 0
        self.tally = Tally()
        self.ended = False

    def start(self, now_us: int, seed: str) -> PlayStart:
        """Place the feed at the next keyframe. `seed` names the farm's seed, the camera, stream and connection."""
        camera, faults = self._camera, self._camera.faults
        since_us = camera.since_play_us(now_us)
        if faults.changed_params(since_us) and self._stream.variant is not None:
            self._video = self._stream.variant
        video = self._video
        self._number = camera.next_key(now_us, video)
        stream_us = self._number * 1_000_000 // video.fps
        self.due_us = camera.mono_us(stream_us)
        self._seed = seed
        position = self._number + camera.key_offset
        if self._private:
            dice = random.Random(f"{seed}/{faults.boots(since_us)}")
            self._sequence, self._audio_sequence = dice.getrandbits(16), dice.getrandbits(16)
            self._timestamp_base = dice.getrandbits(32)
        first = []
        if self._with_video:
            seq = self._sequence if self._private else video.sequence(position)
            first.append(FirstPacket(VIDEO_TRACK, seq & 0xFFFF, self._timestamp(self._number) & 0xFFFFFFFF))
        if self._audio is not None:
            self._audio_index = self._audio.first_after(stream_us)
            seq = self._audio_sequence if self._private else self._audio_index
            timestamp = self._audio_timestamp(self._audio_index)
            first.append(FirstPacket(AUDIO_TRACK, seq & 0xFFFF, timestamp & 0xFFFFFFFF))
        self._told_index = stream_us // DOCUMENT_US
        return PlayStart(camera.claimed_utc_us(stream_us, self.due_us), tuple(first))

    def fire(self) -> int | None:
        """Send what is due now; gives the monotonic time of the next call."""
        if self.ended:
            return None
        if self._rest:
            return self._send_piece()
        since_us = self._camera.since_play_us(self.due_us)
        if self._private and not self._may_send(since_us):
            return None if self.ended else self._advance()
        if self._outlet.backlog_bytes > MAX_BACKLOG_BYTES:
            self.tally.dropped += 1
            return self._advance()
        parts: list[bytes] = []
        if self.due_us >= self._report_due_us:
            self._report_due_us = self.due_us + SENDER_REPORT_US
            parts += self._sender_reports()
        if self._with_video:
            frame = self._private_frame(since_us, parts) if self._private else self._shared_frame(parts)
            parts += frame.pieces[:1]
            self._rest = [(piece,) for piece in frame.pieces[1:]]
        if self._rest:
            self._outlet.send(parts)
            self.due_us += PIECE_GAP_US
            return self.due_us
        return self._finish(parts)

    def _send_piece(self) -> int:
        piece = self._rest.pop(0)
        if self._rest:
            self._outlet.send(piece)
            self.due_us += PIECE_GAP_US
            return self.due_us
        return self._finish(list(piece))

    def _finish(self, parts: list[bytes]) -> int:
        """Send the end of a frame and the sound captured until now."""
        if self._audio is not None:
            self._add_audio(parts)
        if self._told is not None:
            self._add_told(self._told, parts)
        if parts:
            self._outlet.send(parts)
        if self._with_video:
            self.tally.count(self._number)
        return self._advance()

    def _advance(self) -> int:
        self._number += 1
        self.due_us = self._camera.mono_us(self._number * 1_000_000 // self._video.fps)
        return self.due_us

    def _may_send(self, since_us: int) -> bool:
        """False while the camera's faults keep it silent; ends the feed at a reboot."""
        faults = self._camera.faults
        if faults.down(since_us):
            self.ended = True
            self._outlet.close()
            return False
        if faults.stalled(since_us):
            self._wait_for_key = True
            return False
        if self._wait_for_key:
            if not self._is_key():
                return False
            self._wait_for_key = False
            if self._audio is not None:
                stream_us = self._number * 1_000_000 // self._video.fps
                self._audio_index = self._audio.first_after(stream_us)
        return True

    def _is_key(self) -> bool:
        return (self._number + self._camera.key_offset) % self._video.clip.spec.gop == 0

    def _shared_frame(self, parts: list[bytes]) -> BuiltFrame:
        video = self._video
        frame = video.shared(self._number + self._camera.key_offset)
        self._add_marked(parts, video, frame)
        counts = self._counts[VIDEO_TRACK]
        counts[0] += frame.picture.packets
        return frame

    def _private_frame(self, since_us: int, parts: list[bytes]) -> BuiltFrame:
        faults = self._camera.faults
        variant = self._stream.variant
        if variant is not None and self._video is not variant and self._is_key() and faults.changed_params(since_us):
            self._video = variant
        video = self._video
        picture = video.pictures[(self._number + self._camera.key_offset) % len(video.pictures)]
        lost = faults.lost(self._seed.rpartition("/")[0], self._number, picture.packets)
        frame = video.build(picture, self._sequence, self._timestamp(self._number), lost)
        self._sequence += picture.packets
        if len(picture.before) in lost:
            parts.append(frame.before)
        else:
            self._add_marked(parts, video, frame)
        self._counts[VIDEO_TRACK][0] += picture.packets - len(lost)
        if lost:
            self.tally.lost_packets += len(lost)
            self.tally.lost_frames.append(self._number)
        return frame

    def _add_marked(self, parts: list[bytes], video: PackedVideo, frame: BuiltFrame) -> None:
        camera, picture = self._camera, frame.picture
        utc_us = camera.true_utc_us(self.due_us)
        fields = (camera.id, self._number, utc_us, picture.crc, picture.key)
        nal = encode_marker_fields(video.clip.spec.codec, fields)
        if frame.before:
            parts.append(frame.before)
        parts.append(video.marker_packet(nal, frame))
        self._counts[VIDEO_TRACK][1] += frame.payload_bytes + len(nal)

    def _timestamp(self, number: int) -> int:
        if not self._private:
            return self._video.timestamp(number + self._camera.key_offset)
        step = self._camera.stepped_us(self.due_us) * 9 // 100
        return self._timestamp_base + self._video.timestamp(number) + step

    def _audio_timestamp(self, index: int) -> int:
        assert self._audio is not None
        if not self._private:
            return self._audio.timestamp(index)
        step = self._camera.stepped_us(self.due_us) * self._audio.rate_hz // 1_000_000
        return self._timestamp_base + self._audio.timestamp(index) + step

    def _add_audio(self, parts: list[bytes]) -> None:
        audio, counts = self._audio, self._counts[AUDIO_TRACK]
        assert audio is not None
        stream_us = self._number * 1_000_000 // self._video.fps
        while audio.due_us(self._audio_index) <= stream_us:
            index = self._audio_index
            self._audio_index += 1
            sequence = index
            if self._private:
                sequence = self._audio_sequence
                self._audio_sequence += 1
            if self._private and self._camera.faults.lost(f"{self._seed.rpartition('/')[0]}/audio", index, 1):
                self.tally.lost_packets += 1
                continue
            payload = audio.payload(index)
            parts.append(interleaved_packet(audio.track, payload, sequence, self._audio_timestamp(index), True))
            counts[0] += 1
            counts[1] += len(payload)
            self.tally.count_audio(sequence)

    def _add_told(self, told: PackedTold, parts: list[bytes]) -> None:
        """A document for each second that is over."""
        stream_us = self._number * 1_000_000 // self._video.fps
        while (self._told_index + 1) * DOCUMENT_US <= stream_us:
            self._told_index += 1
            utc_us = self._camera.claimed_utc_us(self._told_index * DOCUMENT_US, self.due_us)
            document = make_document(self._camera.id, self._told_index, utc_us)
            packets = told.packets(document, self._told_sequence, stream_us * 9 // 100)
            self._told_sequence += len(packets)
            parts += packets
            self.tally.metadata_sent += 1

    def _sender_reports(self) -> list[bytes]:
        """Both tracks at the instant of the picture that is due: the camera's UTC beside the RTP timestamps."""
        stream_us = self._number * 1_000_000 // self._video.fps
        utc_us = self._camera.claimed_utc_us(stream_us, self.due_us)
        name = f"cam{self._camera.id}"
        reports = []
        if self._with_video:
            counts = SenderCounts(*self._counts[VIDEO_TRACK])
            track = self._video.track
            timestamp = self._timestamp(self._number)
            reports.append(interleaved(1, sender_report(track.ssrc, utc_us, timestamp, counts, name)))
        if self._audio is not None:
            counts = SenderCounts(*self._counts[AUDIO_TRACK])
            now = self._audio_timestamp(0) + stream_us * self._audio.rate_hz // 1_000_000
            reports.append(interleaved(3, sender_report(self._audio.track.ssrc, utc_us, now, counts, name)))
        return reports
