"""Retention of an open log: the limit of size holds before it is met, what is protected stops recording, not the
other way round; shorter limits and a jumped clock delete at a pace."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from mixed import Mixed, S, camera_id, left_in
from rig import T0, segment_paths

from mediadb.fs import RealFs
from mediadb.reclaim.keeper import KeeperCalls, ReclaimKeeper
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.memory import read_memory
from mediadb.reclaim.plan import Removal
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.write.retention import CameraLimits

pytestmark = pytest.mark.fast
MIB = 1 << 20
HOUR = 3600 * S


class Clock:
    def __init__(self) -> None:
        self.utc, self.mono = T0, 0

    def utc_us(self) -> int:
        return self.utc

    def monotonic_us(self) -> int:
        return self.mono

    def run(self, us: int) -> None:
        self.utc += us
        self.mono += us


class Kept:
    """A storage with 30 s of three cameras in ten-second segments, and its keeper."""

    def __init__(self, root: Path, cameras: Mapping[uuid.UUID, CameraLimits], options: ReclaimOptions) -> None:
        self.root, self.fs, self.clock = root, RealFs(), Clock()
        self.rig = Mixed(self.fs, root, cameras)
        self.rig.film(30, 3)
        self.clock.run(31 * S)
        self.told: list[tuple[str, dict[str, object]]] = []
        calls = KeeperCalls(lambda code, params: self.told.append((code, params)), lambda _: None, lambda _: None)
        self.keeper = ReclaimKeeper(options, self.clock, calls)
        self.keeper.open(self.rig.log, self.rig.writer.ledger, T0 + 30 * S)
        self.keeper.step()

    def sealed(self) -> list[Path]:
        return [path for path in segment_paths(self.fs, self.root) if path.suffix == ".rseg"]

    def close(self) -> None:
        self.rig.close()


def test_room_is_made_before_a_segment_is_begun(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions())
    used = made.keeper.room[0]
    assert len(made.sealed()) == 2
    made.keeper.limits(ReclaimOptions(quota_bytes=used + MIB))
    made.keeper.step()
    made.keeper.make_room(MIB)
    assert len(made.sealed()) == 2, "a 64th of the limit is there"
    made.keeper.limits(ReclaimOptions(quota_bytes=used + 4096))
    made.keeper.step()
    made.keeper.make_room(MIB)
    assert len(made.sealed()) == 1
    made.close()


def test_what_is_protected_stays_and_the_storage_is_full(tmp_path: Path) -> None:
    protected = {camera_id(n): CameraLimits(None, min_us=HOUR) for n in range(3)}
    made = Kept(tmp_path, protected, ReclaimOptions())
    used = made.keeper.room[0]
    made.keeper.limits(ReclaimOptions(quota_bytes=used, cameras=protected))
    made.keeper.step()
    with pytest.raises(OSError, match="nothing may go") as full:
        made.keeper.make_room(MIB)
    assert full.value.errno == errno.EDQUOT
    assert len(made.sealed()) == 2
    assert made.told[-1][0] == "reclaim-short"
    made.clock.run(2 * HOUR)  # now it may go
    made.keeper.make_room(MIB)
    assert len(made.sealed()) < 2
    made.close()


def test_a_disk_without_room_is_told_once_a_minute_with_all_that_came_up_since(tmp_path: Path) -> None:
    protected = {camera_id(n): CameraLimits(None, min_us=HOUR) for n in range(3)}
    made = Kept(tmp_path, protected, ReclaimOptions())
    made.keeper.limits(ReclaimOptions(quota_bytes=made.keeper.room[0], cameras=protected))
    made.keeper.step()

    def told() -> list[object]:
        return [params["times"] for code, params in made.told if code == "reclaim-short"]

    for _ in range(5):
        with pytest.raises(OSError, match="nothing may go"):
            made.keeper.make_room(MIB)
    assert told() == [1]
    made.clock.run(61 * S)
    made.keeper.step()
    assert told() == [1, 6], "the five that were not told, and this one"
    made.close()


def test_a_writer_without_room_says_so_and_goes_on_when_there_is_some(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions())

    def full(length: int) -> bool:
        raise OSError(errno.EDQUOT, "nothing may go")

    made.rig.writer.use_room(full)
    files = len(segment_paths(made.fs, tmp_path))
    made.rig.film(15, 3)
    assert made.rig.writer.failed
    assert "storage-error" in [code for code, _ in made.rig.troubles]
    assert len(segment_paths(made.fs, tmp_path)) == files, "no file beyond the limit"
    made.rig.writer.use_room(lambda _: True)
    made.rig.film(5, 3)
    assert not made.rig.writer.failed
    assert set(made.rig.acked.values()) == {50 * 25}
    made.close()


def test_limits_that_would_delete_more_than_half_go_at_a_pace_until_somebody_confirms(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    assert read_memory(made.fs, made.rig.log.folder).options.retention_us == 10 * HOUR
    made.clock.run(HOUR)
    made.keeper.limits(ReclaimOptions(HOUR // 2))
    made.keeper.step()
    assert len(made.sealed()) == 2
    assert made.told[-1] == ("reclaim-held", {"state": "paced", "reason": "limits-shortened"})
    assert len(made.keeper.plan()) == 2
    made.clock.run(6 * HOUR)
    made.keeper.step()
    assert len(made.sealed()) == 1, "a twentieth an hour"
    made.keeper.confirm()
    made.keeper.step()
    assert made.sealed() == []
    made.keeper.step()
    assert made.told[-1] == ("storage-recovered", {"of": "reclaim-held"})
    made.close()


def test_a_smaller_size_comes_down_at_the_pace_too(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions(quota_bytes=64 * MIB))
    used = made.keeper.room[0]
    made.keeper.limits(ReclaimOptions(quota_bytes=used // 4))
    made.keeper.step()
    made.keeper.make_room(MIB)  # not refused: the limit comes down slowly
    assert len(made.sealed()) >= 1
    made.clock.run(30 * HOUR)
    made.keeper.step()
    assert made.sealed() == []
    made.close()


def test_limits_not_told_yet_are_those_remembered(tmp_path: Path) -> None:
    longer = {camera_id(0): CameraLimits(100 * HOUR)}
    made = Kept(tmp_path, longer, ReclaimOptions(50 * HOUR, cameras=longer))
    calls = KeeperCalls(lambda code, params: None, lambda _: None, lambda _: None)
    again = ReclaimKeeper(ReclaimOptions(HOUR), made.clock, calls, told=False)
    again.open(made.rig.log, made.rig.writer.ledger, made.clock.utc)
    made.clock.run(2 * HOUR)
    again.step()
    assert len(made.sealed()) == 2, "an hour is what the file says, but not whose"
    made.close()


def test_a_class_ends_and_a_later_limit_needs_no_restart(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions())
    made.keeper.limits(ReclaimOptions(cameras={camera_id(1): CameraLimits(5 * S)}))
    made.keeper.step()
    assert [left_in(made.fs, path) for path in made.sealed()] == [{0, 2}, {0, 2}]
    made.close()


def restarted(made: Kept, options: ReclaimOptions) -> ReclaimKeeper:
    """The keeper of the next start; the monotonic clock begins anew."""
    made.clock.mono = 0
    calls = KeeperCalls(lambda code, params: made.told.append((code, params)), lambda _: None, lambda _: None)
    again = ReclaimKeeper(options, made.clock, calls)
    again.open(made.rig.log, made.rig.writer.ledger, made.clock.utc)
    return again


def test_a_restart_does_not_end_the_pace(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    made.clock.run(HOUR)
    made.keeper.limits(ReclaimOptions(HOUR // 2))
    made.keeper.step()
    again = restarted(made, ReclaimOptions(HOUR // 2))
    again.step()
    assert len(made.sealed()) == 2
    assert again.brake.state == "paced"
    again.confirm()
    again.step()
    assert made.sealed() == []
    assert restarted(made, ReclaimOptions(HOUR // 2)).brake.state == "free"
    made.close()


def test_a_restart_does_not_end_the_doubt_about_a_clock_that_jumped(tmp_path: Path) -> None:
    """What is recorded behind the jump is as new as the clock says."""
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    made.clock.utc += 100 * 24 * HOUR
    made.keeper.step()
    assert made.keeper.brake.state == "held"
    again = restarted(made, ReclaimOptions(10 * HOUR))
    made.clock.run(HOUR)
    again.step()
    assert again.brake.state == "held"
    assert again.brake.now_us < T0 + 10 * 24 * HOUR
    assert len(made.sealed()) == 2
    made.clock.run(25 * HOUR)
    again.step()
    assert again.brake.state == "paced"
    made.close()


def test_a_clock_that_was_set_right_while_nothing_ran_is_not_doubted(tmp_path: Path) -> None:
    """Else a camera's minimum would be counted from a time long ago, and nothing might go for lack of room."""
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    made.clock.utc += 100 * 24 * HOUR
    made.keeper.step()
    made.clock.utc -= 100 * 24 * HOUR - HOUR
    again = restarted(made, ReclaimOptions(10 * HOUR))
    again.step()
    assert again.brake.state == "free"
    made.close()


def test_footage_from_a_clock_that_was_ahead_does_not_hide_a_jump_at_the_start(tmp_path: Path) -> None:
    """What was recorded last tells what time it was, not what has the latest time."""
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    made.close()
    later = Mixed(RealFs(), tmp_path, {}, T0 + 3600 * S, run=7)
    made.clock.utc = T0 + 1000 * 24 * HOUR
    calls = KeeperCalls(lambda code, params: None, lambda _: None, lambda _: None)
    again = ReclaimKeeper(ReclaimOptions(10 * HOUR), made.clock, calls)
    again.open(later.log, later.writer.ledger, T0 + 2000 * 24 * HOUR)
    again.step()
    assert again.brake.state == "held"
    assert len(made.sealed()) == 3
    later.close()


def test_the_writer_does_not_wait_while_other_limits_are_weighed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large slow disk that reads for minutes; until it is known the limits are the old ones."""
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    made.clock.run(HOUR)
    made.keeper.limits(ReclaimOptions(HOUR // 2, quota_bytes=1 << 30))
    made.keeper.make_room(MIB)
    assert len(made.sealed()) == 2
    assert read_memory(made.fs, made.rig.log.folder).options.retention_us == 10 * HOUR
    weigh, asked = Reclaimer.would_go, []

    def slow(reclaimer: Reclaimer, options: ReclaimOptions, now_us: int) -> list[Removal]:
        asked.append(made.keeper._lock.locked())
        return weigh(reclaimer, options, now_us)

    monkeypatch.setattr(Reclaimer, "would_go", slow)
    made.keeper.step()
    assert asked == [False, False]
    assert made.keeper.brake.state == "paced"
    made.close()


def test_a_question_looks_no_further_than_what_goes(tmp_path: Path) -> None:
    made = Kept(tmp_path, {}, ReclaimOptions(10 * HOUR))
    opened: list[Path] = []
    real = made.fs.open_read

    def open_read(path: Path) -> int:
        opened.append(path)
        return real(path)

    made.fs.open_read = open_read  # type: ignore[method-assign]
    assert made.keeper.plan(ReclaimOptions(HOUR)) == []
    assert [path for path in opened if path.suffix == ".rseg"] == []
    made.close()


def test_nothing_goes_while_nobody_knows_what_is_to_be_kept(tmp_path: Path) -> None:
    """What the log remembers was lost and the cameras' limits come in a moment: the storage's own are too short."""
    longer = {camera_id(n): CameraLimits(100 * HOUR, HOUR) for n in range(3)}
    made = Kept(tmp_path, longer, ReclaimOptions(10 * HOUR, cameras=longer))
    (made.rig.log.folder / "RECLAIM").unlink()
    calls = KeeperCalls(lambda code, params: None, lambda _: None, lambda _: None)
    again = ReclaimKeeper(ReclaimOptions(HOUR, quota_bytes=MIB), made.clock, calls, told=False)
    made.clock.run(2 * HOUR)
    again.open(made.rig.log, made.rig.writer.ledger, made.clock.utc)
    again.make_room(MIB)
    again.step()
    assert len(made.sealed()) == 2
    again.limits(ReclaimOptions(HOUR, cameras=longer))
    again.step()
    assert len(made.sealed()) == 2
    again.limits(ReclaimOptions(HOUR))
    again.confirm()
    again.step()
    again.confirm()
    again.step()
    assert made.sealed() == []
    made.close()
