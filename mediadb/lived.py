"""Stretches of recorder UTC that runs lived through: one per run, more when the recorder's clock was set meanwhile.

Law: values in, values out; no I/O, no clock. A clock set back makes a run live an hour twice, one set forward makes it
skip one: what a run said is ordered by stretch first and by time inside a stretch, never by UTC alone. Used by
`mediadb.ledger_fold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mediadb.ledger_facts import FUTURE_US, FoldInput, RunLife, Transition
from mediadb.types import Cause, State

RECORDER_STEP = "recorder"  # reason of clock-step: the recorder's clock, not the camera's


@dataclass(frozen=True, slots=True)
class Stretch:
    """[start_us, end_us) of recorder UTC in which `run` lived, `end_us` None while it does. `clock` counts the steps of
    the clock before it. `ended` is why nothing of it follows, `after` what explains UTC behind it that nobody lived."""

    run: int
    clock: int
    start_us: int
    end_us: int | None
    ended: Cause
    after: Cause

    @property
    def end(self) -> int:
        """The end as a number: far in the future while it lives."""
        return FUTURE_US if self.end_us is None else self.end_us


def lives_of(given: FoldInput) -> list[RunLife]:
    """Runs by start. A run the ledger lost is known by its media; media also stretch a run's last sign of life."""
    seen: dict[int, tuple[int, int]] = {}
    for span in given.media:
        if not span.lane:
            low, high = seen.get(span.run, (span.start_us, span.sure_us))
            seen[span.run] = (min(low, span.start_us), max(high, span.sure_us))
    lives: dict[int, RunLife] = {}
    for life in sorted(given.runs, key=lambda r: (r.start_us, r.run)):
        low, high = seen.pop(life.run, (life.start_us, life.start_us))
        # After a step the latest time is not the newest: what was committed last tells the end well enough.
        longer = life.end_us is not None and not life.steps
        end = max(life.end_us or 0, min(high, given.now_us)) if longer else life.end_us
        lives[life.run] = replace(life, end_us=end)
    for run, (low, high) in seen.items():
        lives[run] = RunLife(run, low, high)
    return sorted(lives.values(), key=lambda r: (r.start_us, r.run))


def stretches_of(lives: Sequence[RunLife]) -> list[Stretch]:
    """All stretches by start."""
    found = [stretch for life in lives for stretch in _of_one(life)]
    return sorted(found, key=lambda s: (s.start_us, s.run, s.clock))


def _of_one(life: RunLife) -> list[Stretch]:
    out, start = [], life.start_us
    down = down_cause(life)
    for clock, (from_us, to_us) in enumerate(life.steps):
        step = Cause(State.CLOCK_STEP, RECORDER_STEP, {"delta_us": to_us - from_us})
        after = step if to_us > from_us else down
        out.append(Stretch(life.run, clock, start, max(start, from_us), step, after))
        start = to_us
    end = None if life.end_us is None else max(start, life.end_us)
    return [*out, Stretch(life.run, len(life.steps), start, end, down, down)]


def down_cause(life: RunLife) -> Cause:
    """Why there is nothing after `life`."""
    return Cause(State.SERVER_DOWN, "stop" if life.clean else "crash")


def words_of(life: RunLife, words: Sequence[Transition]) -> list[list[Transition]]:
    """What a run said, per stretch, each in order of time."""
    out: list[list[Transition]] = [[] for _ in range(len(life.steps) + 1)]
    for word in words:
        out[min(word.clock, len(life.steps))].append(word)
    for said in out:
        said.sort(key=lambda t: (t.time_us, t.order, t.cause.state, t.cause.reason))
    return out


def is_recorder_step(cause: Cause) -> bool:
    """True for time that no clock of the recorder showed, or that it showed twice."""
    return cause.state is State.CLOCK_STEP and cause.reason == RECORDER_STEP
