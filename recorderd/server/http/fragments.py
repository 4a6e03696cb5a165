"""A live stream's fMP4: access units in, an initialisation segment and one-frame fragments out.

Law: sans-IO; owns the movie time of one stream and nothing else. Sample bytes are never copied: a fragment is its head
and the access unit's own bytes. Called by `live_share`, once for all viewers. Source: ISO/IEC 14496-12 §8.8.

Movie time begins at 0 with the first picture and follows media time; where media time breaks (reconnect, clock jump)
it goes on by the time of arrival, so a viewer's buffer keeps its length against the wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediadb.mp4.fragment import FragmentTrack, fragment_head, init_segment
from mediadb.mp4.plan import to_ticks
from mediadb.types import TrackConfig
from recorderd.engine.sample_entry import track_config
from recorderd.media.access_unit import AccessUnit, Codec, CodecConfig, MediaKind
from recorderd.media.marker import is_vcl

JUMP_S = 2  # media time and time of arrival part by more: media time broke off
# A picture that lasts less than half as long as the next one takes to come makes MSE drop everything up to a key: what
# a camera says of its frame rate is not enough.
UNKNOWN_STEP_US = 500_000  # before the second picture came
LONGEST_STEP_US = 1_000_000
BASE_DTS_AT = 60  # of `fragment_head`: tfdt's baseMediaDecodeTime, 8 bytes
WAIT_FOR_AUDIO_UNITS = 50  # pictures held back at most until a first audio frame tells how sound is coded


@dataclass(frozen=True, slots=True)
class Init:
    """What a player needs before the fragments that follow: ftyp and moov. `mime` is for MediaSource (RFC 6381)."""

    data: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """One moof and mdat: send `head`, then `data`. `key`: a player may start here. `base_dts` and `duration` are
    ticks of `timescale`; the head has `base_dts` at BASE_DTS_AT."""

    head: bytes
    unit: AccessUnit
    kind: MediaKind
    key: bool
    base_dts: int
    duration: int
    timescale: int

    @property
    def data(self) -> bytes:
        return self.unit.data

    @property
    def discontinuity(self) -> bool:
        return self.unit.discontinuity

    @property
    def recv_us(self) -> int:
        return self.unit.recv_us


class _Timeline:
    """Movie time of one track in its own ticks."""

    __slots__ = ("_is_video", "_last", "_next", "_shift", "_step", "duration", "timescale")

    def __init__(self, timescale: int, *, is_video: bool) -> None:
        self.timescale = timescale
        self._is_video = is_video
        self._step = to_ticks(UNKNOWN_STEP_US, timescale) if is_video else 0  # how far pictures lie apart
        self.duration = 0  # of the sample placed last
        self._last: tuple[int, int] | None = None  # dts and movie time of arrival of the unit before
        self._shift = 0
        self._next = 0

    def place(self, unit: AccessUnit, since_first_us: int) -> int:
        """Decode time of the unit in the movie; negative for one that lies before the movie."""
        arrived = to_ticks(since_first_us, self.timescale)
        observed = 0
        if self._last is None:
            self._shift = arrived - unit.dts
        else:
            observed, waited = unit.dts - self._last[0], arrived - self._last[1]
            # a flagged break may have been on a unit that was skipped: a jump against the time of arrival is one too
            if unit.discontinuity or observed < 0 or abs(observed - waited) > JUMP_S * self.timescale:
                observed = 0
                self._shift = max(arrived, self._next) - unit.dts
            elif self._is_video:
                self._step = min(observed, to_ticks(LONGEST_STEP_US, self.timescale))
        self._last = unit.dts, arrived
        self.duration = max(unit.config.frame_ticks, self._step) or observed or self.timescale // 25
        at = unit.dts + self._shift
        self._next = at + self.duration
        return at

    def recode(self, timescale: int) -> None:
        """The track goes on in other ticks, as after a change of codec."""
        if timescale != self.timescale:
            self._next = self._next * timescale // self.timescale + 1
            self._last = (1 << 62, 0)
            self._step = self._step * timescale // self.timescale
            self.timescale = timescale


class Fragmenter:
    """`feed` units of one stream in order of arrival; output begins with an Init at the first key."""

    def __init__(self, *, audio: bool) -> None:
        self._audio = audio
        self._configs: dict[MediaKind, CodecConfig] = {}
        self._lines: dict[MediaKind, _Timeline] = {}
        self._held: list[tuple[MediaKind, AccessUnit]] = []
        self._started = False
        self._first_us = 0
        self._sequence = 0

    @property
    def configs(self) -> dict[MediaKind, CodecConfig]:
        """What the newest Init says the tracks are coded as."""
        return dict(self._configs)

    def feed(self, kind: MediaKind, unit: AccessUnit) -> list[Init | Fragment]:
        """Everything this unit lets out: nothing before the first key, an Init whenever the coding changes.

        Raises UnusableConfig when a configuration cannot be written into a movie."""
        if kind is MediaKind.AUDIO and unit.config.codec is Codec.G726:
            self._audio = False  # no movie can carry it: the picture is shown without sound, and without waiting for it
        if kind is MediaKind.METADATA or (kind is MediaKind.AUDIO and not self._audio):
            return []
        if unit.damaged and kind is MediaKind.VIDEO and not _has_picture(unit):
            return []  # a lost picture: players give up on a sample without one
        if not self._started:
            return self._hold(kind, unit)
        if kind not in self._configs:
            return []  # sound that began after the movie did: its track is not in it
        if unit.config is not self._configs[kind]:
            if kind is MediaKind.VIDEO and not unit.is_key:
                return []  # cannot be shown without the key that comes with the new parameter sets
            if not _same_coding(unit.config, self._configs[kind]):
                self._configs[kind] = unit.config
                self._lines[kind].recode(unit.config.timebase_hz)
                return [self._init(), *self._fragment(kind, unit)]
            self._configs[kind] = unit.config
        return self._fragment(kind, unit)

    def _hold(self, kind: MediaKind, unit: AccessUnit) -> list[Init | Fragment]:
        """Before the start: keep units from the first key on until every wanted track is known."""
        if kind is MediaKind.VIDEO and not self._held and not unit.is_key:
            return []
        if kind is MediaKind.AUDIO and MediaKind.VIDEO not in self._configs:
            self._configs[kind] = unit.config  # how sound is coded is known; the frame lies before the movie
            return []
        self._configs[kind] = unit.config
        self._held.append((kind, unit))
        if self._audio and MediaKind.AUDIO not in self._configs and len(self._held) < WAIT_FOR_AUDIO_UNITS:
            return []
        held, self._held = self._held, []
        self._started = True
        self._first_us = next(one.recv_us for what, one in held if what is MediaKind.VIDEO)
        self._configs = dict(sorted(self._configs.items(), reverse=True))  # video first
        self._lines = {
            what: _Timeline(config.timebase_hz, is_video=what is MediaKind.VIDEO)
            for what, config in self._configs.items()
        }
        out: list[Init | Fragment] = [self._init()]
        for what, one in held:
            out += self._fragment(what, one)
        return out

    def _init(self) -> Init:
        stored = {kind: track_config(config) for kind, config in self._configs.items()}
        tracks = [
            FragmentTrack(_TRACK_IDS[kind], "video" if kind is MediaKind.VIDEO else "audio",
                          config.timebase_hz, config.sample_entry)
            for kind, config in stored.items()
        ]  # fmt: skip
        return Init(init_segment(tracks), mime_type(list(stored.values())))

    def _fragment(self, kind: MediaKind, unit: AccessUnit) -> list[Init | Fragment]:
        line = self._lines[kind]
        at = line.place(unit, unit.recv_us - self._first_us)
        if at < 0:
            return []
        self._sequence += 1
        sync = unit.is_key or kind is MediaKind.AUDIO
        timing = (line.duration, unit.pts - unit.dts, sync)
        head = fragment_head(self._sequence, _TRACK_IDS[kind], at, len(unit.data), timing)
        return [Fragment(head, unit, kind, sync, at, line.duration, line.timescale)]


_TRACK_IDS = {MediaKind.VIDEO: 1, MediaKind.AUDIO: 2}


def _has_picture(unit: AccessUnit) -> bool:
    """Whether any picture data arrived. O(NAL units); asked for damaged units only."""
    data, at = unit.data, 0
    while at + 4 < len(data):
        if is_vcl(data[at + 4], unit.config.codec):
            return True
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False


def _same_coding(one: CodecConfig, other: CodecConfig) -> bool:
    return (
        one.codec is other.codec
        and one.parameter_sets == other.parameter_sets
        and one.extra == other.extra
        and one.timebase_hz == other.timebase_hz
        and (one.sample_rate, one.channels) == (other.sample_rate, other.channels)
    )


def mime_type(configs: list[TrackConfig]) -> str:
    """E.g. 'video/mp4; codecs="avc1.4d0028,mp4a.40.2"'."""
    codecs = ",".join(config.codec_string or config.codec for config in configs)
    return f'video/mp4; codecs="{codecs}"'
