"""How far apart a camera's pictures are, when that is far: what one distance proves, and what the coding says of it.

Law: pure. A camera may keep another interval than it announced, or announce none (JPEG, no timing in the parameter
sets). Readers of the database know the interval from the coding's `frame_ticks` alone, and everything about holes
follows from it; so a slow interval, once learned, is written there. Called by one track's recorder.
"""

from __future__ import annotations

from recorderd.media.access_unit import CodecConfig, MediaKind

SLOWEST_US = 75_000_000  # one picture a minute, and late: no longer distance is believed to be an interval
SLOW_US = 500_000  # nearer pictures need no word: what readers assume of an unknown interval joins them


def believable(ticks: int, timebase_hz: int) -> bool:
    """May this distance of two units be the interval of a camera?"""
    return ticks * 1_000_000 <= SLOWEST_US * timebase_hz


def is_pace(before: int, ticks: int, timebase_hz: int) -> bool:
    """Two pauses with one picture between them, `before` ticks and `ticks` long (0: there was none): is that how often
    the camera makes pictures now? Yes when each would be no hole beside the other: 2.5 intervals."""
    low, high = min(before, ticks), max(before, ticks)
    return 0 < high <= low * 5 // 2 and believable(high, timebase_hz)


def coded_ticks(config: CodecConfig, learned: int, coded: int) -> int:
    """`frame_ticks` to write for a stream that announced `config`, keeps an interval of `learned` ticks (0: unknown)
    and is written with `coded`. A coding is written anew when the interval moved by half: it is a rare record."""
    announced, hz = config.frame_ticks, config.timebase_hz
    if config.kind is not MediaKind.VIDEO or not learned:
        return announced
    if learned * 1_000_000 <= SLOW_US * hz:
        return announced if announced * 1_000_000 <= SLOW_US * hz else 0
    if 2 * max(learned, coded) <= 3 * min(learned, coded):
        return coded
    step = max(hz // 10, 1)  # few distinct codings
    return (learned + step // 2) // step * step
