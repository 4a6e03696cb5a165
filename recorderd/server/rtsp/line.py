"""Recorded frames, holes and ends to packets: RTP time, replay stamps, sender reports, the filter of frames.

Law: pure: items of a player in, bytes out; no clock, no waiting. ONVIF Streaming Specification, "Playback": the flags
of a unit tell what follows it, so with the replay extension a picture is held back until the next item is known.
Called by the recorded visit.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from mediadb.types import TrackConfig, TrackKind
from recorderd.media.access_unit import CodecConfig
from recorderd.server.rtsp.formats import coded_as
from recorderd.server.rtsp.sender import TrackSender
from recorderd.server.rtsp.timing import Passage, RecordedClock
from recorderd.services.playback.types import Cursor, End, Frame, Hole, Item
from recorderd.wire.onvif_replay import ReplayFlag, replay_extension
from recorderd.wire.pay import is_disposable

REPORT_US = 5_000_000
_NOMINAL_US = 40_000  # between pictures when nothing says


@dataclass(frozen=True, slots=True)
class LinePlan:
    """One PLAY. `start_us` is what playing time 0 shows; `stop_us`: backwards, the group that holds it is the last;
    `wall_us` recorder UTC of playing time 0, None: no sender reports (no rate control). `compress`: holes take no
    playing time."""

    start_us: int
    scale: float
    stop_us: int | None
    wall_us: int | None
    compress: bool
    frames: str
    frames_every_us: int
    replay: bool
    cseq: int
    continues: bool = False  # the viewer decodes on: what leads to the first picture is not sent again
    follows: bool = False  # at the durable end more may come


class Line:
    """What goes out for one PLAY. `over`: nothing more; `foreign`: a frame came that the viewer's description does not
    cover, it must ask for a new one."""

    def __init__(
        self, plan: LinePlan, senders: Mapping[uuid.UUID, TrackSender], bases: Mapping[uuid.UUID, int]
    ) -> None:
        self.over = self.foreign = False
        self.position_us = plan.start_us  # of the picture sent last
        self._cursor: Cursor | None = None
        self._plan = plan
        self._senders = senders
        self._passage = Passage(plan.start_us, plan.scale)
        self._clocks = {track: RecordedClock(one.config.timebase_hz, bases[track]) for track, one in senders.items()}
        self._configs: dict[uuid.UUID, tuple[TrackConfig, CodecConfig | None]] = {}
        self._wall_us = plan.wall_us
        self._held: tuple[Frame, ReplayFlag] | None = None
        self._after_hole = False
        self._fresh = set(senders)  # tracks whose next unit does not continue what was sent
        self._played_us = 0
        self._lowest_us: int | None = None  # where the group begins that is being sent
        self._kept_us: int | None = None  # footage time of the picture kept last by `frames`

    @property
    def standing(self) -> tuple[int, Cursor] | None:
        """Time and place of the picture sent last; None before the first."""
        return None if self._cursor is None else (self.position_us, self._cursor)

    def next_rtp(self, hz: int, base: int) -> int:
        """The RTP time that what follows begins with."""
        return base + self._played_us * hz // 1_000_000

    def resume(self, wall_us: int) -> None:
        """Play goes on after a pause: the same RTP time is another wall time now."""
        if self._plan.wall_us is not None:
            self._wall_us = wall_us - self._played_us
        for sender in self._senders.values():
            sender.report_anew()

    def feed(self, item: Item) -> bytes:
        """The packets for the next item of the player."""
        if self.over:
            return b""
        if isinstance(item, Hole):
            return self._hole(item)
        if isinstance(item, End):
            return self._end(item)
        return self._frame(item)

    def goodbye(self) -> bytes:
        """RTCP BYE on every track."""
        return b"".join(sender.bye() for sender in self._senders.values())

    # -- items -------------------------------------------------------------------------------------------------------

    def _hole(self, hole: Hole) -> bytes:
        out = self._release(ReplayFlag.END)
        stop_us = self._plan.stop_us
        if stop_us is not None and hole.start_us <= stop_us:
            self.over = True
        self._after_hole = True
        self._fresh = set(self._senders)
        return out

    def _end(self, end: End) -> bytes:
        if end.reason == "live" and self._plan.follows:
            return self._release(ReplayFlag(0))
        self.over = True
        return self._release(ReplayFlag.END | ReplayFlag.TERMINAL)

    def _frame(self, frame: Frame) -> bytes:
        if frame.track not in self._senders or (frame.preroll and self._plan.continues):
            return b""
        leads = frame.kind is TrackKind.VIDEO
        if leads and self._is_beyond(frame):
            self.over = True
            return self._release(ReplayFlag.END | ReplayFlag.TERMINAL)
        if leads and not self._is_wanted(frame):
            return b""
        if not leads and self._plan.frames != "all":
            return b""
        flags = ReplayFlag.CLEAN_POINT if frame.is_key or not leads else ReplayFlag(0)
        if frame.track in self._fresh:
            flags |= ReplayFlag.DISCONTINUITY
            self._fresh.discard(frame.track)
        if self._after_hole and self._plan.compress:
            self._passage.jump(frame.time_us, self._played_us)
        self._after_hole = False
        self._note(frame)
        if not self._plan.replay or not leads:
            return self._packets(frame, flags)
        out = self._release(ReplayFlag(0))
        self._held = (frame, flags)
        return out

    def _is_beyond(self, frame: Frame) -> bool:
        """Backwards: does the group begin here that lies wholly before the end?"""
        stop_us, lowest_us = self._plan.stop_us, self._lowest_us
        return stop_us is not None and frame.is_key and lowest_us is not None and lowest_us <= stop_us

    def _note(self, frame: Frame) -> None:
        if frame.is_key and frame.kind is TrackKind.VIDEO:
            self._lowest_us = frame.time_us
        ticks = frame.config.frame_ticks
        lasts_us = ticks * 1_000_000 // frame.config.timebase_hz if ticks else _NOMINAL_US
        played_us = self._passage.play(frame.time_us) + int(lasts_us / abs(self._plan.scale))
        self._played_us = max(self._played_us, played_us)

    def _is_wanted(self, frame: Frame) -> bool:
        plan = self._plan
        if plan.frames == "all":
            return True
        if plan.frames == "predicted":
            config = self._config(frame)
            return frame.is_key or config is None or not is_disposable(config.codec, frame.sample.data)
        far = self._kept_us is None or abs(frame.time_us - self._kept_us) >= plan.frames_every_us
        if frame.is_key and far:
            self._kept_us = frame.time_us
            return True
        return False

    # -- packets -----------------------------------------------------------------------------------------------------

    def _release(self, more: ReplayFlag) -> bytes:
        held, self._held = self._held, None
        return self._packets(held[0], held[1] | more) if held is not None else b""

    def _packets(self, frame: Frame, flags: ReplayFlag) -> bytes:
        sender, config = self._senders[frame.track], self._config(frame)
        if frame.kind is TrackKind.VIDEO:
            self.position_us, self._cursor = frame.time_us, frame.cursor
        if config is None or not sender.fits(config):
            self.foreign = self.over = True
            return b""
        rtp = self._clocks[frame.track].stamp(frame.sample.pts, frame.time_us, self._passage)
        report = b""
        if self._wall_us is not None:
            report = sender.report(self._wall_us + self._passage.play(frame.time_us), rtp, REPORT_US)
        extension = replay_extension(frame.time_us, flags, self._plan.cseq) if self._plan.replay else b""
        return report + sender.unit(config, frame.sample.data, rtp, key=frame.is_key, extension=extension)

    def _config(self, frame: Frame) -> CodecConfig | None:
        known = self._configs.get(frame.track)
        if known is None or known[0] is not frame.config:
            known = (frame.config, coded_as(frame.config, frame.kind))
            self._configs[frame.track] = known
        return known[1]
