"""The `not-recording` alarm of one track, and the summing-up of loss events.

Law: pure; monotonic time comes with each call. The alarm is judged by samples that the store made durable, never
by "the process is alive" or "units arrive". On by default for every video and audio track that is to be
recorded; metadata is exempt. Owned by one track's recorder.
"""

from __future__ import annotations

from recorderd.engine.ports import Emit

SILENCE_US = 10_000_000  # nothing committed for so long, or for 3 frame intervals if that is longer
LOSS_EVENT_US = 60_000_000  # loss is an event at once, then at most once a minute with the sums


def silence_limit_us(interval_us: int) -> int:
    """How long a track may be silent before it is news."""
    return max(SILENCE_US, 3 * interval_us)


class RecordingAlarm:
    """Fires `not-recording` once per silence, and `recording-resumed` when samples are committed again."""

    def __init__(self, emit: Emit, now_mono_us: int) -> None:
        self._emit = emit
        self._progress_us = now_mono_us
        self.active = False

    def arm(self, now_mono_us: int) -> None:
        """Recording was asked for just now: the silence before it does not count."""
        self._progress_us = now_mono_us
        self.active = False

    def progress(self, now_mono_us: int, where: dict[str, object]) -> None:
        """Samples were committed."""
        if self.active:
            self.active = False
            self._emit("recording-resumed", {**where, "silent_us": now_mono_us - self._progress_us})
        self._progress_us = now_mono_us

    def check(self, now_mono_us: int, interval_us: int, where: dict[str, object]) -> None:
        """Once a second: `where` also carries the state and reason that hold now."""
        silent_us = now_mono_us - self._progress_us
        if not self.active and silent_us > silence_limit_us(interval_us):
            self.active = True
            self._emit("not-recording", {**where, "silent_us": silent_us})


class LossReport:
    """Turns growing loss counters into few events that carry what was added since the last one."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._said_us: int | None = None
        self._said = (0, 0, 0)

    def check(self, now_mono_us: int, counts: tuple[int, int, int], where: dict[str, object]) -> None:
        """Once a second: `counts` are packets, frames and damaged units since the start."""
        if counts == self._said:
            return
        if self._said_us is not None and now_mono_us - self._said_us < LOSS_EVENT_US:
            return
        packets, frames, damaged = (now - then for now, then in zip(counts, self._said, strict=True))
        self._said_us, self._said = now_mono_us, counts
        self._emit("network-loss", {**where, "packets": packets, "frames": frames, "damaged": damaged})
