"""Why is this second missing? A pure fold of media and statements into one state per instant.

Law: no I/O, no clock, no bytes: values in, intervals out, whatever the order in which the statements arrive.
`mediadb.coverage` gathers the inputs from segments and ledger; nobody else states a cause for a missing second.

Every instant is decided by the first layer that covers it:
damaged chunks > media (live, then lanes) > future > removed > media whose key is gone (what took the key) > before the
track's first record > between two runs > closed gaps > last transition of the run > skipped by a set clock > segments
lost or removed > gaps stated after a crash.
What only claims "recorded" without media is settled by `_Settler`: joined when it is shorter than the join
tolerance, network loss when the next sample counts lost packets, the end of the run when the process stopped there,
part of what is gone when it touches that, the storage's trouble when it reaches into that, and `unexplained` in every
other case: a claim is never shown as footage. In time that the recorder's clock showed twice (`mediadb.lived`) footage
of either pass wins, then what either said.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mediadb.ledger_facts import (
    BESIDE_US,
    FUTURE_US,
    LATEST_US,
    PAST_US,
    FoldInput,
    MediaSpan,
    RunLife,
    Statement,
    Transition,
    follows,
    is_damaged,
    is_gone,
    join_spans,
    pair_tolerance_us,
)
from mediadb.lived import Stretch, down_cause, is_recorder_step, lives_of, stretches_of, words_of
from mediadb.types import Cause, Interval, State

HANDOVER_US = 2_000_000  # a cause noticed this long after the last sample explains the time since that sample
RUN_TAIL_US = 15_000_000  # what a process may hold in memory when it ends: commit, sync, low-rate flush
STARTING_US = 60_000_000  # a run that has not spoken of a track for longer did not know it

RECORDED = Cause(State.RECORDED)
PENDING = Cause(State.RECORDED, "not-yet-durable")
NOT_CONFIGURED = Cause(State.NOT_SCHEDULED, "not-configured")
IN_FUTURE = Cause(State.NOT_SCHEDULED, "future")
STARTING = Cause(State.SERVER_DOWN, "starting")
NO_STATEMENT = Cause(State.UNEXPLAINED)
KEY_MISSING = Cause(State.STORAGE_ERROR, "key-missing")  # unless it is known what took the key
_TAKEN = frozenset({State.DELETED, State.GROOMED})


@dataclass(frozen=True, slots=True)
class _Piece:
    start_us: int
    end_us: int
    cause: Cause
    span: MediaSpan | None = None


@dataclass(slots=True)
class _Canvas:
    """Time still undecided, and what has been decided; each layer paints only on undecided time."""

    holes: list[tuple[int, int]]
    pieces: list[_Piece] = field(default_factory=list)

    def paint(self, layer: Iterable[_Piece]) -> None:
        """Give every hole to the first piece of `layer` that covers it (layer order = precedence)."""
        flat = _flatten(layer)
        holes: list[tuple[int, int]] = []
        index = 0
        for start, end in self.holes:
            while index < len(flat) and flat[index].end_us <= start:
                index += 1
            at, look = start, index
            while look < len(flat) and flat[look].start_us < end:
                piece = flat[look]
                low, high = max(piece.start_us, at), min(piece.end_us, end)
                if low > at:
                    holes.append((at, low))
                self.pieces.append(_cut(piece, low, high))
                at = high
                look += 1
            if at < end:
                holes.append((at, end))
        self.holes = holes


def _cut(piece: _Piece, start_us: int, end_us: int) -> _Piece:
    if piece.start_us == start_us and piece.end_us == end_us:
        return piece
    return _Piece(start_us, end_us, piece.cause, piece.span)


def _flatten(layer: Iterable[_Piece]) -> list[_Piece]:
    """Sorted pieces without overlap: where two overlap, the one that starts earlier keeps its time."""
    flat: list[_Piece] = []
    for piece in sorted(layer, key=lambda p: (p.start_us, -p.end_us)):
        start = max(piece.start_us, flat[-1].end_us) if flat else piece.start_us
        if start < piece.end_us:
            flat.append(_cut(piece, start, piece.end_us))
    return flat


def fold(given: FoldInput, start_us: int, end_us: int) -> list[Interval]:
    """States of [start_us, end_us): sorted, touching, every instant exactly one. Empty when start >= end."""
    if start_us >= end_us:
        return []
    runs = lives_of(given)
    stretches = stretches_of(runs)
    canvas = _Canvas([(PAST_US, FUTURE_US)])
    canvas.paint(_statement_pieces(given.damaged))
    live = _media_pieces(given, _Ends(given, stretches))
    canvas.paint([piece for piece in live if not _is_headless(piece)])
    canvas.paint(_media_pieces(given, None))
    canvas.paint(_future_pieces(given.now_us, stretches))
    canvas.paint(_statement_pieces(given.removed))
    canvas.paint([piece for piece in live if _is_headless(piece)])
    canvas.paint([_Piece(PAST_US, _first_record_us(given, stretches), NOT_CONFIGURED)])
    canvas.paint(_down_pieces(stretches, given.now_us))
    words = _transition_pieces(given, runs, stretches)
    finer = [g for g in given.gaps if g.cause.state is not State.SERVER_DOWN and not is_recorder_step(g.cause)]
    canvas.paint(_statement_pieces(finer))
    canvas.paint([word for word in words if word.cause.state is not State.RECORDED])
    # A clock set forward by years skips time in which other runs may have lived: what they said is finer.
    canvas.paint(_statement_pieces([g for g in given.gaps if is_recorder_step(g.cause)]))
    canvas.paint(_statement_pieces(given.lost))
    # Gaps stated after a crash reach to the first new sample: what the new run said of that time is finer.
    canvas.paint(_statement_pieces(_down_gaps(given.gaps, runs)))
    canvas.paint([word for word in words if word.cause.state is State.RECORDED])
    canvas.paint([_Piece(PAST_US, FUTURE_US, RECORDED)])  # in a run, but nobody said anything: settled below
    settled = _Settler(given, stretches, canvas.pieces).settle()
    return _intervals(settled, start_us, end_us)


class _Ends:
    """Where live media end: a picture stands until the next one is due, or until the camera or the run is gone."""

    def __init__(self, given: FoldInput, stretches: Sequence[Stretch]) -> None:
        self._now_us = given.now_us
        self._gone: dict[int, list[int]] = {}
        if any(span.sure_us < span.end_us for span in given.media):
            for word in given.transitions:
                if word.cause.state is not State.RECORDED:
                    self._gone.setdefault(word.run, []).append(word.time_us)
            for stretch in stretches:
                self._gone.setdefault(stretch.run, []).append(stretch.end)

    def of(self, span: MediaSpan) -> int:
        sure = span.sure_us
        if sure >= span.end_us:
            return span.end_us
        ends = (time for time in (self._now_us, *self._gone.get(span.run, ())) if sure <= time)
        return min(span.end_us, min(ends, default=sure))


def _media_pieces(given: FoldInput, live: _Ends | None) -> list[_Piece]:
    """Live media as pieces, or those of lanes. A gap that a span strictly contains is cut out of it: the statement is
    the finer one. What refers to a chunk that is gone is told apart; of a lane it fills nothing."""
    # That no recorder ran is no finer word than footage: in time that the clock showed twice it is of the other pass.
    coarse = (State.RECORDED, State.SERVER_DOWN)
    stated = sorted((g.start_us, g.end_us, g.run, g.clock) for g in given.gaps if g.cause.state not in coarse)
    starts = [g[0] for g in stated]
    pieces: list[_Piece] = []
    for span in join_spans(given.media, given.tolerance_us):
        if bool(span.lane) == (live is not None) or span.start_us >= span.end_us:
            continue
        end_us = span.end_us if live is None else live.of(span)
        cause = Cause(State.RETRIEVED, span.lane) if span.lane else RECORDED
        at = span.shown_us if span.lane else span.start_us
        first = len(pieces)
        if not span.lane:
            for low, high, *source in stated[bisect_right(starts, span.start_us) :]:
                if low >= end_us:
                    break
                if source[0] and source != [span.run, span.clock]:
                    continue  # said of another pass of the same time
                if high < end_us and high > low:
                    if low > at:
                        pieces.append(_Piece(at, low, cause, span))
                    at = max(at, high)
        pieces.append(_Piece(at, end_us, cause, span))
        if not span.lane and span.shown_us > span.start_us:
            pieces[first:] = _beheaded(pieces[first:], span.shown_us)
    return pieces


def _beheaded(pieces: Sequence[_Piece], shown_us: int) -> list[_Piece]:
    """Media with what is before `shown_us` marked: nobody can show it."""
    ends = [_Piece(p.start_us, min(p.end_us, shown_us), KEY_MISSING, p.span) for p in pieces]
    rest = [_Piece(max(p.start_us, shown_us), p.end_us, p.cause, p.span) for p in pieces]
    return [piece for piece in (*ends, *rest) if piece.start_us < piece.end_us]


def _is_headless(piece: _Piece) -> bool:
    return piece.span is not None and piece.cause is KEY_MISSING


def _statement_pieces(statements: Sequence[Statement]) -> list[_Piece]:
    """Closed statements; where two overlap the one that starts later is the finer and wins its own time."""
    ordered = sorted(statements, key=lambda s: (-s.start_us, s.end_us, -s.order, s.cause.state, s.cause.reason))
    canvas = _Canvas([(PAST_US, FUTURE_US)])
    for statement in ordered:
        if statement.start_us < statement.end_us:
            canvas.paint([_Piece(statement.start_us, statement.end_us, statement.cause)])
    return canvas.pieces


def _down_gaps(gaps: Sequence[Statement], runs: Sequence[RunLife]) -> list[Statement]:
    """Gaps stated after a crash. One of a clock that ran ahead ends where that was set back to: from there on the
    recorder lived through it."""
    steps = {life.run: life.steps for life in runs}
    found = [gap for gap in gaps if gap.cause.state is State.SERVER_DOWN]
    back = [[to for ahead, to in steps.get(gap.run, ())[gap.clock :] if to < ahead] for gap in found]
    return [replace(gap, end_us=min([gap.end_us, *ends])) for gap, ends in zip(found, back, strict=True)]


def _first_record_us(given: FoldInput, stretches: Sequence[Stretch]) -> int:
    times = [given.known_since_us, *(s.start_us for s in given.media)]
    times += [t.time_us for t in given.transitions]
    times += [g.start_us for g in given.gaps]
    times += [r.start_us for r in given.removed]
    known = {t.run for t in given.transitions}
    times += [s.start_us for s in stretches if s.clock and s.run in known]  # a clock set back takes its state along
    return min(times, default=FUTURE_US)


def _future_pieces(now_us: int, stretches: Sequence[Stretch]) -> list[_Piece]:
    """What no clock showed yet. One that was set back leaves time behind `now` that it showed once already."""
    shown = [stretch for stretch in stretches if stretch.end_us is not None and stretch.end > now_us]
    first_us = min((stretch.start_us for stretch in shown), default=now_us)
    last_us = max((stretch.end for stretch in shown), default=now_us)
    return [
        p for p in (_Piece(now_us, first_us, IN_FUTURE), _Piece(last_us, FUTURE_US, IN_FUTURE)) if p.start_us < p.end_us
    ]


def _down_pieces(stretches: Sequence[Stretch], now_us: int) -> list[_Piece]:
    """Between the stretches that runs lived, whatever ended the one before."""
    pieces: list[_Piece] = []
    last: Stretch | None = None
    reached_us = PAST_US
    for stretch in stretches:
        end_us = max(now_us, stretch.start_us) if stretch.end_us is None else stretch.end_us
        if last is not None and reached_us < stretch.start_us:
            # Set back and home again by one process: the time in between was never shown. Behind its end it was.
            stepped = stretch.run == last.run and is_recorder_step(last.ended)
            pieces.append(_Piece(reached_us, stretch.start_us, last.ended if stepped else last.after))
        if end_us >= reached_us:
            last, reached_us = stretch, end_us
    if last is not None and last.end_us is not None:
        pieces.append(_Piece(reached_us, FUTURE_US, last.after))
    return pieces


def _transition_pieces(given: FoldInput, runs: Sequence[RunLife], stretches: Sequence[Stretch]) -> list[_Piece]:
    """The last word of each run on this track; a run that never spoke of it did not know it."""
    spoken: dict[int, list[Transition]] = {life.run: [] for life in runs}
    strays: list[Transition] = []
    for transition in given.transitions:
        spoken.get(transition.run, strays).append(transition)
    if strays:
        spoken.setdefault(0, []).extend(strays)
    filmed = given.filmed | {span.run for span in given.media if not span.lane}
    heard = [life for life in runs if spoken[life.run] or life.run in filmed]
    lived: dict[int, list[Stretch]] = {}
    for stretch in sorted(stretches, key=lambda s: s.clock):
        lived.setdefault(stretch.run, []).append(stretch)
    pieces: list[_Piece] = []
    starting = STARTING
    for life in runs:
        if spoken[life.run]:
            pieces.extend(_spoken_pieces(lived[life.run], words_of(life, spoken[life.run]), given.now_us, starting))
        elif life.run not in filmed:
            cause = _silent_cause(life, heard, given.now_us, starting)
            pieces.extend(_Piece(stretch.start_us, stretch.end, cause) for stretch in lived[life.run])
        starting = down_cause(life)  # a new run is down, for the reason the last one ended, until it speaks
    pieces.extend(_stray_pieces(spoken.get(0, []), runs))
    return [p for p in pieces if p.start_us < p.end_us]


def _spoken_pieces(
    lived: Sequence[Stretch], words: Sequence[Sequence[Transition]], now_us: int, starting: Cause
) -> Iterator[_Piece]:
    """What held in each stretch of a run: a state goes on when the clock is set."""
    held: Cause | None = None
    for stretch, said in zip(lived, words, strict=True):
        # What is said now says nothing of times that the clock shows again later.
        end = stretch.end if stretch.end_us is not None or len(lived) == 1 else max(now_us, stretch.start_us)
        first_us = said[0].time_us if said else end
        if held is None:
            yield from _until_first_word(stretch, first_us, starting)
        else:
            yield _Piece(stretch.start_us, min(first_us, end), held)
        for i, word in enumerate(said):
            until = said[i + 1].time_us if i + 1 < len(said) else end
            yield _Piece(max(word.time_us, stretch.start_us), min(until, end), word.cause)
            held = word.cause


def _until_first_word(lived: Stretch, first_us: int, starting: Cause) -> list[_Piece]:
    starting_until = min(first_us, lived.start_us + STARTING_US)
    return [_Piece(lived.start_us, starting_until, starting), _Piece(starting_until, first_us, NOT_CONFIGURED)]


def _silent_cause(life: RunLife, heard: Sequence[RunLife], now_us: int, starting: Cause) -> Cause:
    """A run without a word or a frame of this track: still starting when short, else not configured there."""
    later = any(other.start_us >= life.start_us for other in heard)
    short = life.end_us is not None and life.end_us - life.start_us <= STARTING_US
    fresh = life.end_us is None and now_us < life.start_us + STARTING_US
    return starting if (short and later) or fresh else NOT_CONFIGURED


def _stray_pieces(strays: Sequence[Transition], runs: Sequence[RunLife]) -> list[_Piece]:
    """Transitions whose run is not known (lost ledger head): they hold until the next one, inside no run."""
    if any(life.run == 0 for life in runs):
        return []
    words = sorted(strays, key=lambda t: (t.time_us, t.order, t.cause.state, t.cause.reason))
    pieces = []
    for i, word in enumerate(words):
        until = words[i + 1].time_us if i + 1 < len(words) else FUTURE_US
        pieces.append(_Piece(word.time_us, until, word.cause))
    return pieces


class _Settler:
    """Decides time that is only claimed to be recorded. See the module's law for the order of the rules."""

    def __init__(self, given: FoldInput, stretches: Sequence[Stretch], pieces: list[_Piece]) -> None:
        self._given = given
        self._stretches = stretches
        self._starts = [stretch.start_us for stretch in stretches]
        self._pieces = _claims_joined(sorted(pieces, key=lambda p: p.start_us))

    def settle(self) -> list[_Piece]:
        out: list[_Piece] = []
        for i, piece in enumerate(self._pieces):
            before = self._pieces[i - 1] if i else None
            after = self._pieces[i + 1] if i + 1 < len(self._pieces) else None
            if piece.span is not None or piece.cause.state is not State.RECORDED:
                out.append(self._seam(piece, before, after))
                continue
            out.append(_Piece(piece.start_us, piece.end_us, self._cause(piece, before, after)))
        for at, piece in enumerate(out):
            if _is_headless(piece):
                _explain_headless(out, at)
        return out

    def _seam(self, piece: _Piece, before: _Piece | None, after: _Piece | None) -> _Piece:
        """Where footage went from one storage to another nothing is missing between two pictures; nor is it when a rule
        took one of them, or both."""
        short = piece.end_us - piece.start_us <= self._given.tolerance_us
        if piece.span is not None or piece.cause.state is not State.STORAGE_ERROR or not short:
            return piece
        beside = [p for p in (before, after) if p is not None and (p.span is not None or p.cause.state in _TAKEN)]
        taken = [p.cause for p in beside if p.span is None]
        return _Piece(piece.start_us, piece.end_us, taken[0]) if taken and len(beside) == 2 else piece

    def _cause(self, hole: _Piece, before: _Piece | None, after: _Piece | None) -> Cause:
        length = hole.end_us - hole.start_us
        last = before.span if before is not None else None
        coming = after.span if after is not None else None
        if last is not None and coming is not None and follows(last, coming, self._given.tolerance_us):
            return RECORDED
        tolerance_us = pair_tolerance_us(last, coming, self._given.tolerance_us)
        if (last or coming) and length <= min(tolerance_us, BESIDE_US) and not _jumps(last, coming):
            return RECORDED
        if coming is not None and coming.lost_before and length > tolerance_us:
            return Cause(State.NETWORK_LOSS, "packets-lost", {"packets": coming.lost_before})
        ended = self._run_end(hole)
        if ended is not None and length <= max(RUN_TAIL_US, tolerance_us):
            return self._lasting(hole) or ended
        explained = [p.cause for p in (before, after) if p is not None and p.span is None]
        gone = [cause for cause in explained if is_gone(cause)]
        if gone and length <= LATEST_US:
            return gone[0]  # whatever told of this hole was in the footage beside it
        if explained and length <= tolerance_us:
            return explained[0]
        if length <= HANDOVER_US:
            if last is not None and after is not None and after.span is None:
                down = after.cause.state is State.SERVER_DOWN
                return (self._lasting(hole) if down else None) or after.cause
            if coming is not None and before is not None and before.span is None:
                return before.cause
        return self._trouble(hole) or NO_STATEMENT

    def _trouble(self, hole: _Piece) -> Cause | None:
        """The storage's trouble, when the hole reaches into it: what was in memory then may never have been written."""
        for one in self._given.troubles:
            if one.start_us - RUN_TAIL_US < hole.end_us and hole.start_us < one.end_us:
                return one.cause
        return None

    def _lasting(self, hole: _Piece) -> Cause | None:
        """The storage's trouble that was not over when the hole ended: nothing became durable before the run did."""
        for one in self._given.troubles:
            if one.start_us <= hole.end_us <= one.end_us:
                return one.cause
        return None

    def _run_end(self, hole: _Piece) -> Cause | None:
        """The end of the run or of its clock (or now, while it lives) when the hole reaches it."""
        at = bisect_right(self._starts, hole.start_us)
        for stretch in reversed(self._stretches[:at]):
            if stretch.end_us is None:
                return PENDING if hole.end_us >= self._given.now_us else None
            if hole.start_us <= stretch.end_us <= hole.end_us:
                return stretch.ended
        return None


def _explain_headless(pieces: list[_Piece], at: int) -> None:
    """Pictures whose key is gone went with what took it: the removal or the trouble before them. What stands between
    and is stated (the camera stood still inside its group) stays; a short hole goes along."""
    took = KEY_MISSING
    for piece in reversed(pieces[:at]):
        if piece.span is not None and not piece.span.lane:
            break
        if piece.span is None and (piece.cause.state in _TAKEN or piece.cause.state is State.STORAGE_ERROR):
            took = piece.cause
            break
    first = at
    while took is not KEY_MISSING and first and pieces[first - 1].span is None:
        if pieces[first - 1].cause.state is not State.RECORDED:
            break
        first -= 1
    pieces[first : at + 1] = [_Piece(p.start_us, p.end_us, took) for p in pieces[first : at + 1]]


def _jumps(last: MediaSpan | None, coming: MediaSpan | None) -> bool:
    """True when chunks are missing between the two: then even a short hole is one."""
    return (
        last is not None
        and coming is not None
        and last.run == coming.run
        and last.lane == coming.lane
        and coming.first_seq > last.end_seq
    )


def _claims_joined(pieces: list[_Piece]) -> list[_Piece]:
    """Touching claims (several 'recorded' transitions in one hole) are one claim."""
    out: list[_Piece] = []
    for piece in pieces:
        claim = piece.span is None and piece.cause.state is State.RECORDED
        if claim and out and out[-1].span is None and out[-1].cause.state is State.RECORDED:
            out[-1] = _Piece(out[-1].start_us, piece.end_us, RECORDED)
        else:
            out.append(piece)
    return out


def _intervals(pieces: Sequence[_Piece], start_us: int, end_us: int) -> list[Interval]:
    out: list[Interval] = []
    for piece, (packets, samples) in zip(pieces, _damage(pieces), strict=True):
        low, high = max(piece.start_us, start_us), min(piece.end_us, end_us)
        if low >= high:
            continue
        last = out[-1] if out else None
        damaged = bool(packets or samples)
        # Damaged and sound footage stay apart; a joined short hole goes with whatever is before it.
        if (
            last is not None
            and last.cause == piece.cause
            and (piece.span is None or damaged == bool(last.damaged_packets or last.damaged_samples))
        ):
            packets, samples = last.damaged_packets + packets, last.damaged_samples + samples
            out[-1] = Interval(last.start_us, high, last.cause, packets, samples)
        else:
            out.append(Interval(low, high, piece.cause, packets, samples))
    return out


def _damage(pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """Lost packets and damaged samples of each piece. A stretch that gaps cut into several pieces is counted once:
    each has its share by time."""
    whole: Counter[int] = Counter()
    for piece in pieces:
        if piece.span is not None:
            whole[id(piece.span)] += piece.end_us - piece.start_us
    done: Counter[int] = Counter()
    for piece in pieces:
        span = piece.span
        if span is None or not is_damaged(span):
            yield 0, 0
            continue
        before, total = done[id(span)], whole[id(span)]
        after = done[id(span)] = before + piece.end_us - piece.start_us
        packets = span.lost_packets * after // total - span.lost_packets * before // total
        samples = span.damaged_samples * after // total - span.damaged_samples * before // total
        yield packets, samples
