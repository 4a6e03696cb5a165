"""Recording one track: units become samples, irregularities become statements, silence becomes an alarm.

Law: `unit` is the hot path, one call per frame: it makes one Sample, never awaits, never raises. What is rare
(another config, loss, jumps) leaves the hot path at once. Owned by one stream's recorder; knows no other track.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from mediadb.types import Cause, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from recorderd.core.clock import Clock
from recorderd.engine.alarm import LossReport, RecordingAlarm, silence_limit_us
from recorderd.engine.coverage import CONNECTING, NEVER, RECORDED, TrackCoverage, offline
from recorderd.engine.pace import believable, coded_ticks, is_pace
from recorderd.engine.ports import Emit, MediaStore, TrackCommit
from recorderd.engine.sample_entry import UnusableConfig, track_config
from recorderd.media.access_unit import AccessUnit, CodecConfig, MediaKind, UnitType

CLOCK_STEP_US = 500_000  # the recorder's UTC moved against its monotonic clock by more: a step
PAUSE_US = 1_000_000  # the camera itself sent nothing for so long (and 2.5 intervals): said in the ledger
CAMERA_STEP_US = 10_000_000  # a discontinuity this soon after the driver said "clock-step" is that step
NO_MEDIA = "no-media"
_UNKNOWN = -1  # hole threshold before two units told the interval: every unit looks closer

_log = structlog.get_logger("track")


@dataclass(slots=True)
class TrackCounters:
    """Since the start of the process."""

    units: int = 0
    bytes: int = 0
    committed_samples: int = 0
    lost_packets: int = 0
    dropped_packets: int = 0  # of the lost ones: reached this machine and were not read in time
    lost_frames: int = 0
    damaged_units: int = 0
    units_before_key: int = 0
    unusable_units: int = 0
    shed_samples: int = 0
    shed_bytes: int = 0


class TrackRecorder:
    """One track of one stream, from the driver's units to the store's samples."""

    def __init__(self, spec: TrackSpec, names: Names, store: MediaStore, clock: Clock, emit: Emit) -> None:
        self.spec = spec
        self.counters = TrackCounters()
        self.stored: TrackConfig | None = None
        self.expected = spec.kind is TrackKind.VIDEO  # audio: once announced, seen, or known from before
        self.last_committed_us: int | None = None
        self.alarm = RecordingAlarm(emit, clock.monotonic_us())
        self._loss_report = LossReport(emit)
        self._store = store
        self._writer = store.track(spec, names)
        self._append: Callable[[Sample], None] = self._writer.append
        self._coverage = TrackCoverage(self._writer)
        self._clock = clock
        self._recording = False
        self._live = False  # units are appended: recording, past the first key, usable config
        self._need_key = True
        self._config: CodecConfig | None = None
        self._last: AccessUnit | None = None
        self._interval_ticks = 0
        self._hole_ticks = _UNKNOWN
        self._offset_us = clock.utc_us() - clock.monotonic_us()
        self._pending_packets = 0
        self._dropped_here = 0
        self._seam_next = False
        self._camera_step: tuple[int, object] | None = None  # monotonic time of the driver's word, delta
        self._storage_cause: Cause | None = None
        self._odd: tuple[AccessUnit, int] | None = None  # a unit that came after a stated pause of so many ticks
        self._silent = False  # nothing comes although the stream is open, and that was said
        self._off = offline(CONNECTING)  # what holds without media, as far as the storage works
        self._unit_mono_us = clock.monotonic_us()

    # -- what the engine says --------------------------------------------------------------------------------

    @property
    def cause(self) -> Cause:
        return self._coverage.cause or offline(CONNECTING)

    @property
    def since_us(self) -> int:
        return self._coverage.since_us

    @property
    def interval_us(self) -> int:
        """The observed frame interval, 0 when unknown."""
        config = self._config
        return self._interval_ticks * 1_000_000 // config.timebase_hz if config is not None else 0

    def rename(self, names: Names) -> None:
        self._store.track(self.spec, names)

    def record(self, on: bool, reason: str = CONNECTING, time_us: int | None = None) -> None:
        """Recording is wanted or not, from `time_us` on (None: now). Media follow from the next key on."""
        self._recording = on
        self._seam_next = self._seam_next or self._live  # what comes meanwhile is not stored
        self._live = self._silent = False
        self._need_key = True
        self.alarm.arm(self._clock.monotonic_us())
        since_us = self._clock.utc_us() if time_us is None else time_us
        self._off = offline(reason)
        self._coverage.holds(since_us, (self._storage_cause or self._off) if on else NEVER)

    def replay(self, units: Iterable[AccessUnit]) -> None:
        """Record what the prebuffer held before recording was switched on; the units were counted already, and
        those of an earlier recording are not written twice."""
        counted = self.counters.units, self.counters.bytes
        done_us = self._last.recv_mono_us if self._last is not None else -1
        for unit in units:
            if unit.recv_mono_us > done_us:
                self.unit(unit)
        self.counters.units, self.counters.bytes = counted

    def offline(self, reason: str, params: dict[str, object]) -> None:
        """The stream broke off or could not be opened."""
        self._gone(reason, params)
        self._need_key = self._seam_next = True  # another connection counts its media time anew
        self._silent = False
        self._last = None

    def _gone(self, reason: str, params: dict[str, object]) -> None:
        """Nothing comes: since the newest unit ended, or since now when the next one was not due yet."""
        now_us = self._clock.utc_us()
        start_us = min(self.end_us(), now_us) if self._coverage.recorded else now_us
        self._live = False
        self._off = offline(reason, **params)
        if self._recording:
            self._coverage.holds(start_us, self._storage_cause or self._off)

    def online(self) -> None:
        """The stream was opened: media may come from now on."""
        self._unit_mono_us = self._clock.monotonic_us()

    def stop(self, cause: Cause) -> None:
        """Nothing more comes from this recorder: `cause` explains what follows."""
        self._live = self._recording = False
        self._coverage.holds(self._clock.utc_us(), cause)

    # -- what the driver says --------------------------------------------------------------------------------

    def unit(self, unit: AccessUnit) -> None:
        """Take one unit: the hot path."""
        counters = self.counters
        counters.units += 1
        counters.bytes += len(unit.data)
        if unit.config is not self._config:
            self._configure(unit.config)
        mono_us = unit.recv_mono_us
        offset_us = unit.recv_us - mono_us
        if not -CLOCK_STEP_US < offset_us - self._offset_us < CLOCK_STEP_US:
            self._clock_stepped(unit, offset_us - self._offset_us)
        self._offset_us = offset_us
        self._unit_mono_us = mono_us
        if not self._live and not self._enter(unit):
            return
        lost = unit.lost_packets
        last = self._last
        ticks = unit.dts - last.dts if last is not None else self._interval_ticks
        if lost or unit.damaged or unit.discontinuity or ticks > self._hole_ticks or self._pending_packets:
            lost = self._irregular(unit, ticks)
        else:
            self._interval_ticks += (ticks - self._interval_ticks) >> 3
        self._last = unit
        self._append(
            Sample(
                unit.data, unit.pts, unit.dts, unit.type, unit.recv_us, unit.cam_us, unit.cam_quality,
                lost, unit.damaged, unit.discontinuity or (self._seam_next and self._take_seam()),
            )
        )  # fmt: skip

    def loss(self, packets: int) -> None:
        """Lost packets that no unit counts: the next sample carries them."""
        self._pending_packets += packets

    def dropped_here(self, params: dict[str, object]) -> None:
        """So many packets of the next loss reached this machine and were not read in time."""
        packets = params.get("packets")
        if params.get("kind") == self.spec.kind.name.lower() and isinstance(packets, int):
            self._dropped_here += packets

    def camera_clock_step(self, delta_us: object) -> None:
        """The camera's clock jumped: the unit that does not continue is its place, the next or the newest."""
        self._camera_step = (self._clock.monotonic_us(), delta_us)
        if self._last is not None and self._last.discontinuity and self._live:
            self._say_camera_step(self._last, self._last.recv_us - 1_000)

    # -- what the store says ---------------------------------------------------------------------------------

    def committed(self, commit: TrackCommit) -> None:
        """Samples became durable: this is what "recording" means."""
        if commit.samples:
            self.counters.committed_samples += commit.samples
            self.last_committed_us = commit.last_recv_us or self.last_committed_us
            self.alarm.progress(self._clock.monotonic_us(), self._where())

    def shed(self, samples: int, size: int) -> None:
        """The store had to drop whole GOPs; it states the gap and its cause itself."""
        self.counters.shed_samples += samples
        self.counters.shed_bytes += size

    def storage(self, cause: Cause | None) -> None:
        """The store's trouble begins (nothing becomes durable) or ends. Appending goes on: what the store can
        hold in memory and write later is media after all, and media win over this statement. A camera that gives
        nothing is no excuse: it could not be recorded."""
        self._storage_cause = cause
        if not self._recording:
            return
        now_us = self._clock.utc_us()
        since_us = self._writer.durable_us if cause is not None and self._live else None
        self._coverage.holds(min(since_us or now_us, now_us), cause or (RECORDED if self._live else self._off))

    # -- once a second ---------------------------------------------------------------------------------------

    def tick(self, now_mono_us: int, online: bool) -> None:
        """Watch for silence: of the device (said in the ledger) and of committed samples (an alarm)."""
        counters = self.counters
        counts = (counters.lost_packets, counters.lost_frames, counters.damaged_units)
        self._loss_report.check(now_mono_us, counts, self._where())
        told = self.spec.kind is TrackKind.METADATA
        if not (self._recording and (self.expected or told)):
            return
        self._keeps(self._interval_ticks)  # what the hot path learned since
        if online and now_mono_us - self._unit_mono_us > silence_limit_us(self.interval_us):
            self._gone(NO_MEDIA, {})
            self._need_key = self._seam_next = False  # the stream was never closed: what comes next continues it
            self._silent = True
        if told:
            return  # no alarm: a camera may have nothing to tell
        cause = self.cause
        where = {**self._where(), "state": str(cause.state), "reason": cause.reason}
        self.alarm.check(now_mono_us, self.interval_us, where)

    # -- inside ----------------------------------------------------------------------------------------------

    def end_us(self) -> int:
        """Where the newest unit ends, in recorder UTC; now when there is none."""
        return self._last.recv_us + self.interval_us if self._last is not None else self._clock.utc_us()

    def _where(self) -> dict[str, object]:
        return {"stream": self.spec.stream, "track": self.spec.kind.name.lower()}

    def _configure(self, config: CodecConfig) -> None:
        """Another CodecConfig object: tell the store, learn the frame interval anew."""
        old, self._config = self._config, config
        if old is not None and old.timebase_hz != config.timebase_hz:
            self._last = None
        announced = config.timebase_hz, config.frame_ticks
        self.stored = None
        if old is None or (old.timebase_hz, old.frame_ticks) != announced:  # else what was learned still holds
            self._keeps(config.frame_ticks)
        try:
            self.stored = track_config(config)
            self.stored = replace(self.stored, frame_ticks=self._coded_ticks(self.stored))
        except UnusableConfig as error:
            self.stored = None
            self.offline("unusable-config", {})
            _log.warning("unusable-config", track=str(self.spec.track), problem=error.message)
            return
        self._writer.config(self.stored)

    def _enter(self, unit: AccessUnit) -> bool:
        """May recording begin (again) with this unit? A GOP is entered at its key only."""
        if not self._recording:
            return False
        if self.stored is None:
            self.counters.unusable_units += 1
            return False
        if self._need_key and unit.type is UnitType.DELTA:
            self.counters.units_before_key += 1
            return False
        if not self._silent:
            self._last = None  # units in between were not taken: the distance to the last one says nothing
        self._live = True
        self.expected = True
        self._coverage.holds(unit.recv_us, self._storage_cause or RECORDED)
        return True

    def _irregular(self, unit: AccessUnit, ticks: int) -> int:
        """Loss, damage, a jump or a pause before `unit`: state the hole; returns the packets to store."""
        counters = self.counters
        packets = unit.lost_packets + self._pending_packets
        self._pending_packets = 0
        dropped_here, self._dropped_here = min(packets, self._dropped_here), 0
        counters.lost_packets += packets
        counters.dropped_packets += dropped_here
        counters.damaged_units += unit.damaged
        last, off = self._last, NO_MEDIA if self._silent else "no-frames"
        self._silent = False
        if last is None:
            return packets
        if unit.discontinuity:
            self._seam(unit, packets)
            return packets
        if unit.config.kind is MediaKind.METADATA:
            self._pause(last, unit, packets)
            return packets
        if self._hole_ticks == _UNKNOWN:
            if not packets and ticks > 0 and believable(ticks, unit.config.timebase_hz):
                self._keeps(ticks)
                if off == NO_MEDIA:  # said already: the one picture before it is no proof of a slow camera
                    self._coverage.hole(last.recv_us + 1, unit.recv_us, offline(off))
            return packets
        nominal = self._interval_ticks
        if 2 * ticks > 3 * nominal > 0:
            hole_us = (ticks - nominal) * 1_000_000 // unit.config.timebase_hz
            start_us = max(last.recv_us + 1, unit.recv_us - hole_us)
            if packets:
                frames = max(1, round(ticks / nominal) - 1)
                counters.lost_frames += frames
                params: dict[str, object] = {"packets": packets, "frames": frames}
                if dropped_here:
                    params["dropped_here"] = dropped_here
                cause = Cause(State.NETWORK_LOSS, "packets-lost", params)
                if 2 * dropped_here > packets:
                    cause = Cause(State.OVERLOAD_SHED, "receive-buffer", params)
                self._coverage.hole(start_us, unit.recv_us, cause)
                return packets
            if hole_us > PAUSE_US and ticks > 5 * nominal // 2:
                before = self._odd[1] if self._odd is not None and self._odd[0] is last else 0
                if is_pace(before, ticks, unit.config.timebase_hz):
                    self._keeps(max(before, ticks))
                    return packets
                self._coverage.hole(start_us, unit.recv_us, offline(off))
                self._odd = unit, ticks
                return packets
        self._keeps(nominal + ((ticks - nominal) >> 3))
        return packets

    def _keeps(self, ticks: int) -> None:
        """The stream has a unit every so many ticks, 0: unknown. Documents come when there is something to tell: each
        is looked at, none teaches an interval."""
        self._interval_ticks = ticks
        config = self._config
        regular = config is None or config.kind is not MediaKind.METADATA
        self._hole_ticks = (ticks * 3 // 2 or _UNKNOWN) if regular else _UNKNOWN
        self._say_pace()

    def _coded_ticks(self, stored: TrackConfig) -> int:
        return coded_ticks(self._config, self._interval_ticks, stored.frame_ticks) if self._config is not None else 0

    def _say_pace(self) -> None:
        """The coding tells readers how far apart the pictures of a slow camera are."""
        stored = self.stored
        if stored is not None:
            ticks = self._coded_ticks(stored)
            if ticks != stored.frame_ticks:
                self.stored = replace(stored, frame_ticks=ticks)
                self._writer.config(self.stored)

    def _pause(self, last: AccessUnit, unit: AccessUnit, packets: int) -> None:
        """More than a second without a document beyond the second that the last one stands for."""
        start_us = last.recv_us + self.interval_us
        if unit.recv_us - start_us > PAUSE_US:
            cause = offline("no-documents")
            if packets:
                cause = Cause(State.NETWORK_LOSS, "packets-lost", {"packets": packets})
            self._coverage.hole(start_us, unit.recv_us, cause)

    def _seam(self, unit: AccessUnit, packets: int) -> None:
        """Media time jumps at `unit`: say why, when it is known or when time is missing."""
        step, start_us = self._camera_step, self.end_us()
        if step is not None and unit.recv_mono_us - step[0] < CAMERA_STEP_US:
            self._say_camera_step(unit, min(start_us, unit.recv_us - 1_000))
        elif unit.recv_us - start_us > PAUSE_US:
            cause = offline("discontinuity")
            if packets:
                cause = Cause(State.NETWORK_LOSS, "packets-lost", {"packets": packets})
            self._coverage.hole(start_us, unit.recv_us, cause)

    def _say_camera_step(self, unit: AccessUnit, start_us: int) -> None:
        if self._camera_step is not None:
            params = {"delta_us": self._camera_step[1]}
            self._camera_step = None
            self._coverage.hole(start_us, unit.recv_us, Cause(State.CLOCK_STEP, "camera", params))

    def _clock_stepped(self, unit: AccessUnit, delta_us: int) -> None:
        """The recorder's wall clock was set: times of this track jump by `delta_us` at this unit."""
        if self._live and self._last is not None:
            self._seam_next = True
            start_us = self.end_us() if delta_us > 0 else unit.recv_us - 1_000
            cause = Cause(State.CLOCK_STEP, "recorder", {"delta_us": delta_us})
            self._coverage.hole(start_us, unit.recv_us, cause)
            self._writer.mark(unit.recv_us, "clock-step", {"source": "recorder", "delta_us": delta_us})

    def _take_seam(self) -> bool:
        stepped, self._seam_next = self._seam_next, False
        return stepped
