"""A small history for tests of the coverage fold: two runs of a recorder and the spans of one camera, in seconds."""

from __future__ import annotations

from mediadb.ledger_facts import FoldInput, MediaSpan, RunLife, Transition
from mediadb.ledger_fold import fold
from mediadb.types import Cause, State

S = 1_000_000
NOW = 1_000 * S
TOL = 100_000
REC = Cause(State.RECORDED)
OFFLINE = Cause(State.CAMERA_OFFLINE, "stall")


def media(start: float, end: float, run: int = 1, seq: int = 0, **more: object) -> MediaSpan:
    return MediaSpan(round(start * S), round(end * S), run, seq, seq + 1, **more)  # type: ignore[arg-type]


def states(given: FoldInput, start: float, end: float) -> list[tuple[float, float, str, str]]:
    out = fold(given, round(start * S), round(end * S))
    return [(i.start_us / S, i.end_us / S, str(i.cause.state), i.cause.reason) for i in out]


def scene(**more: object) -> FoldInput:
    base: dict[str, object] = {
        "now_us": NOW,
        "runs": [RunLife(1, 10 * S, 100 * S, clean=True), RunLife(2, 110 * S, None)],
        "transitions": [Transition(10 * S, REC, 1), Transition(110 * S, REC, 2)],
        "media": [media(10, 100, 1), media(110, 1000, 2)],
        "tolerance_us": TOL,
    }
    return FoldInput(**(base | more))  # type: ignore[arg-type]
