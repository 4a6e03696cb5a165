"""Retention: what goes, why, in which order, and what a crash between the steps leaves."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import T0, Recorder, S, offline, spec

from mediadb.fs import RECLAIM_STEPS, RealFs
from mediadb.ledger import LedgerWriter
from mediadb.reclaim.brake import ClockBrake, ForwardJump
from mediadb.reclaim.facts import NIL, SegmentFact, thin_out
from mediadb.reclaim.limits import DAY_US, Need, ReclaimOptions, Room, need_of
from mediadb.reclaim.plan import plan
from mediadb.reclaim.reclaimer import ASIDE_US, Reclaimer
from mediadb.tools.verify import verify_volume
from mediadb.types import State

pytestmark = pytest.mark.fast
CAM = spec(1)
PLENTY = (1 << 40, 1 << 41)
END = T0 + 25 * S


class Killed(Exception):
    pass


def _no_spans(tracks: object) -> dict[uuid.UUID, list[tuple[int, int]]]:
    return {}


def facts(*ends: int, size: int = 100) -> list[SegmentFact]:
    return [SegmentFact(Path(f"{i}"), NIL, end, size, _no_spans) for i, end in enumerate(ends)]


def reclaimer(volume: Path, hook: Callable[[str], None] | None = None, **limits: int) -> Reclaimer:
    fs = RealFs(hook)
    folder = next((volume / "log" / "main").iterdir())
    ledger = LedgerWriter(fs, volume / "ledger" / "main" / folder.name, 99, 2)
    return Reclaimer(fs, folder, ledger, ReclaimOptions(**limits), lambda: PLENTY, ClockBrake(END))


def states(volume: Path) -> list[tuple[float, float, str, str]]:
    reader = offline(volume)
    out = reader.coverage([CAM.track], T0, END)[CAM.track]
    return [((i.start_us - T0) / S, (i.end_us - T0) / S, str(i.cause.state), i.cause.reason) for i in out]


def test_plan_takes_the_oldest_first_and_names_the_rule() -> None:
    got = plan(facts(10, 20, 30, 40), Need(older_us=(15,), over_bytes=250))
    assert [(str(r.fact.path), r.rule) for r in got] == [("0", "age"), ("1", "size"), ("2", "size")]
    assert plan(facts(10, 20), Need()) == []
    assert [r.rule for r in plan(facts(10, 20), Need(low_bytes=1))] == ["space"]


def test_need_runs_ahead_of_quota_and_of_free_space() -> None:
    options = ReclaimOptions(retention_us=10, quota_bytes=6400, reserve_bytes=500)
    assert need_of(options, Room(6300, 1000, 9999), 100, age_held=False) == Need((90,), 0, 0, now_us=100)
    assert need_of(options, Room(6301, 400, 9999), 100, age_held=True) == Need((None,), 1, 100, now_us=100)
    assert need_of(options, Room(6301, 400, 9999), 100, age_held=True, ahead=300) == Need((None,), 201, 400, now_us=100)


def test_age_removes_whole_segments_and_explains_them(finished: Path) -> None:
    report = reclaimer(finished, retention_us=20 * S).step(END + 6 * S, 0)
    assert [r.rule for r in report.removed] == ["age"]
    assert report.errors == []
    assert len(list(finished.rglob("*.rseg"))) == 2
    assert not list(finished.rglob("*.gone"))
    assert states(finished) == [(0, 10, "deleted", "age"), (10, 25, "recorded", "")]
    assert verify_volume(RealFs(), finished).findings == []


def test_neighbours_and_damaged_segments_are_deleted_without_a_sliver(
    recorder: Callable[..., Recorder], volume: Path
) -> None:
    made = recorder()
    for _ in range(3):
        made.film(10, CAM)
        made.wait(0.015)
    assert made.stop() == []
    first, second = sorted(volume.rglob("*.rseg"))[:2]
    os.truncate(first, first.stat().st_size // 2)
    second.write_bytes(b"")
    assert "unexplained" not in [state for _, _, state, _ in states(volume)]
    report = reclaimer(volume, quota_bytes=1).step(END, 0)
    assert len(report.removed) == 3
    assert states(volume) == [(0, 25, "deleted", "size")]


def test_size_and_space_rules(finished: Path) -> None:
    sizes = sum(p.stat().st_blocks * 512 for p in finished.rglob("*.rseg"))
    report = reclaimer(finished, quota_bytes=sizes - 1000).step(END, 0)
    assert [r.rule for r in report.removed] == ["size"]
    assert states(finished)[0] == (0, 10, "deleted", "size")
    low = reclaimer(finished)
    low.free_bytes = lambda: (1000, 1 << 30)
    report = low.step(END, 0)
    assert [r.rule for r in report.removed] == ["space", "space"]
    assert report.short_bytes > 0


def test_the_open_segment_is_never_touched(recorder: Callable[..., Recorder], volume: Path) -> None:
    live = recorder()
    live.film(13, CAM)
    report = reclaimer(volume, retention_us=1, quota_bytes=1).step(END + 100 * S, 0)
    assert len(report.removed) == 1
    assert len(list(volume.rglob("*.open"))) == 1
    live.stop()


@pytest.mark.parametrize("step", RECLAIM_STEPS)
def test_a_crash_at_any_step_leaves_the_bytes_or_an_explanation(finished: Path, step: str) -> None:
    def hook(name: str) -> None:
        if name == step:
            raise Killed

    before = verify_volume(RealFs(), finished).samples
    with pytest.raises(Killed):
        reclaimer(finished, hook, retention_us=20 * S).step(END + 6 * S, 0)
    whole = (0, 25, "recorded", "")
    split = [(0, 10, "deleted", "age"), (10, 25, "recorded", "")]
    there = len(list(finished.rglob("*.rseg"))) == 3
    assert states(finished) == ([whole] if there else split)
    if there:
        assert verify_volume(RealFs(), finished).samples == before
    assert verify_volume(RealFs(), finished).findings == []
    again = reclaimer(finished)
    again.repeat_unfinished(END + 6 * S)
    expected = [whole] if step == "reclaim_intent" else split
    assert states(finished) == expected
    assert not list(finished.rglob("*.gone"))
    assert verify_volume(RealFs(), finished).findings == []
    assert again.repeat_unfinished(END + 7 * S) == 0


def test_a_torn_intent_is_no_intent(finished: Path) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    path.with_suffix(".gone").write_bytes(b"RLPG torn")
    assert reclaimer(finished).repeat_unfinished(END) == 0
    assert path.exists()
    assert not path.with_suffix(".gone").exists()


def test_a_damaged_segment_ages_like_the_others(finished: Path) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    modified_us = int(path.stat().st_mtime * S)
    made = reclaimer(finished, retention_us=S)
    made.brake = ClockBrake(None)
    report = made.step(max(modified_us, END) + 10 * S, 0)
    assert path not in list(finished.rglob("*.rseg"))
    assert report.errors == []


def test_errors_are_told_and_the_next_step_goes_on(finished: Path) -> None:
    made = reclaimer(finished, retention_us=20 * S)
    real = made.fs.unlink

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    made.fs.unlink = refuse  # type: ignore[method-assign]
    report = made.step(END + 6 * S, 0)
    assert report.removed == []
    assert "Permission denied" in report.errors[0]
    made.fs.unlink = real  # type: ignore[method-assign]
    assert len(made.step(END + 6 * S, ASIDE_US).removed) == 1
    assert states(finished)[0] == (0, 10, "deleted", "age")


def test_the_clock_brake_holds_age_deletion_after_a_forward_jump(finished: Path) -> None:
    made = reclaimer(finished, retention_us=30 * DAY_US)
    assert made.step(END, 0).age_held is False
    report = made.step(END + 365 * DAY_US, S)
    assert report.age_held
    assert report.removed == []
    paced = made.step(END + 366 * DAY_US, S + DAY_US)
    assert (paced.removed, paced.brake.state) == ([], "paced")
    assert len(made.step(END + 366 * DAY_US, S + DAY_US + 8 * 3600 * S).removed) == 1, "a third of it in eight hours"
    made.brake.confirm(END + 366 * DAY_US, 2 * DAY_US)
    assert len(made.step(END + 366 * DAY_US, 2 * DAY_US).removed) == 2
    back = ForwardJump(END)
    assert [back.held(END, 0), back.held(END + 2 * DAY_US, S), back.held(END + 2 * S, 2 * S)] == [
        False,
        True,
        False,
    ]


def test_the_brake_holds_at_start_when_the_clock_is_far_ahead_of_the_footage() -> None:
    brake = ForwardJump(END)
    assert brake.held(END + 3 * DAY_US, 0)
    assert brake.held(END + 3 * DAY_US + DAY_US - 1, DAY_US - 1)
    assert not brake.held(END + 4 * DAY_US, DAY_US)
    assert not ForwardJump(None).held(END, 0)


def test_stretches_are_thinned_to_a_bounded_number() -> None:
    spans = [(i * 100, i * 100 + 50 - i // 4) for i in range(100)]
    out = thin_out(spans)
    assert len(out) == 64
    assert (out[0][0], out[-1][1]) == (0, spans[-1][1])


def test_deleted_is_a_state_of_its_own(finished: Path) -> None:
    reclaimer(finished, retention_us=20 * S).step(END + 6 * S, 0)
    before, at, after = offline(finished).why(CAM.track, T0 + 4 * S)
    assert at.cause.state is State.DELETED
    assert before is not None
    assert after is not None
