"""One viewer's recorded fMP4: frames of a player in, an initialisation segment and one-frame fragments out.

Law: sans-IO; a movie second is a second of recorder UTC: the presentation time of a picture is its `time_us` after the
epoch, to the tick, so `currentTime` of every camera is the same clock and a hole keeps its length. Sample bytes are
never copied. Called by `ws_playback`. Source: ISO/IEC 14496-12 §8.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediadb.mp4.fragment import FragmentTrack, fragment_head, init_segment
from mediadb.mp4.plan import to_ticks, to_us
from mediadb.types import TrackConfig, TrackKind
from recorderd.server.http.fragments import LONGEST_STEP_US, UNKNOWN_STEP_US, Init, mime_type
from recorderd.services.playback.types import Frame

_TRACK_IDS = {TrackKind.VIDEO: 1, TrackKind.AUDIO: 2}
_WORDS = {TrackKind.VIDEO: "video", TrackKind.AUDIO: "audio"}


@dataclass(frozen=True, slots=True)
class RecordedFragment:
    """One moof and mdat: send `head`, then the frame's own bytes."""

    head: bytes
    frame: Frame


class RecordedMovie:
    """`feed` the frames of one camera in the order the player gives them."""

    def __init__(self, epoch_us: int, sound: TrackConfig | None = None) -> None:
        self._epoch_us = epoch_us
        self._configs: dict[TrackKind, TrackConfig] = {} if sound is None else {TrackKind.AUDIO: sound}
        self._begun = False
        self._sequence = 0
        self._last: dict[TrackKind, int] = {}
        self._step_us = UNKNOWN_STEP_US  # how far pictures lie apart

    def arrive(self) -> None:
        """What follows does not continue what came before: decode times may fall."""
        self._last.clear()

    def feed(self, frame: Frame) -> list[Init | RecordedFragment]:
        """Everything this frame lets out: an Init first, and again whenever the coding changes."""
        kind = frame.kind
        if kind not in _TRACK_IDS or frame.time_us < self._epoch_us or not frame.config.timebase_hz:
            return []
        out: list[Init | RecordedFragment] = []
        if kind is TrackKind.AUDIO and (not self._begun or not _same_coding(self._configs.get(kind), frame.config)):
            return []  # sound that the movie was not told of: its track is not in it
        if kind is TrackKind.VIDEO and (not self._begun or not _same_coding(self._configs.get(kind), frame.config)):
            if not frame.is_key:
                return []
            self._configs[kind] = frame.config
            self._begun = True
            self._last.clear()
            out.append(self._init())
        out.append(self._fragment(frame))
        return out

    def _init(self) -> Init:
        configs = [(kind, self._configs[kind]) for kind in (TrackKind.VIDEO, TrackKind.AUDIO) if kind in self._configs]
        tracks = [
            FragmentTrack(_TRACK_IDS[kind], "video" if kind is TrackKind.VIDEO else "audio",
                          config.timebase_hz, config.sample_entry)
            for kind, config in configs
        ]  # fmt: skip
        return Init(init_segment(tracks), mime_type([config for _, config in configs]))

    def _fragment(self, frame: Frame) -> RecordedFragment:
        config, kind = frame.config, frame.kind
        shown = to_ticks(frame.time_us - self._epoch_us, config.timebase_hz)
        decoded = to_ticks(frame.sample.recv_us - self._epoch_us, config.timebase_hz)
        last = self._last.get(kind)
        if last is not None and not frame.is_key:
            decoded = max(decoded, last + 1)  # arrival trembles between chunks; decode order must not
            if kind is TrackKind.VIDEO:
                self._step_us = min(to_us(decoded - last, config.timebase_hz), LONGEST_STEP_US)
        decoded = max(0, decoded)
        self._last[kind] = decoded
        self._sequence += 1
        length = config.frame_ticks or config.timebase_hz // 25
        if kind is TrackKind.VIDEO:  # as in `fragments`
            length = max(length, to_ticks(self._step_us, config.timebase_hz))
        sync = frame.is_key or kind is TrackKind.AUDIO
        timing = (length, max(0, shown - decoded), sync)
        head = fragment_head(self._sequence, _TRACK_IDS[kind], decoded, len(frame.sample.data), timing)
        return RecordedFragment(head, frame)


def _same_coding(one: TrackConfig | None, other: TrackConfig) -> bool:
    return one is not None and (
        one is other or (one.sample_entry, one.timebase_hz) == (other.sample_entry, other.timebase_hz)
    )
