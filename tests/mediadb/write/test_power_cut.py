"""Power cuts at every step, on the fault model: what was acknowledged is there, byte for byte, and nothing wrong is.

The negative controls make the file system lie (sync or folder sync do nothing): the same check must go red.
"""

from __future__ import annotations

import errno
import random

import pytest
import rig
from fault_fs import Crash, FaultFs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import Rig

from mediadb.fs import FAILPOINTS
from mediadb.write.commits import StoreOptions

OPTIONS = StoreOptions(create=True, segment_us=3_000_000)
WRITING = [name for name in FAILPOINTS if not name.startswith("reclaim")]  # reclaim's have their own tests
TRACKS = (rig.track_id(0), rig.track_id(1))


class Lost(AssertionError):
    """The check is red."""


def record_until_cut(fs: FaultFs, name: str, nth: int) -> tuple[dict[object, int], bool]:
    """Record ten seconds of two cameras until the n-th pass of a failpoint; what was acknowledged, and cut or not."""
    left = nth

    def cut(point: str) -> None:
        nonlocal left
        left -= point == name
        if left == 0:
            raise Crash

    run = None
    try:
        fs.hook = cut
        run = Rig(fs, OPTIONS)
        for second in range(10):
            for number in range(2):
                run.frames(second * 25, 25, number=number)
            run.commit()
        run.close()
    except Crash:
        return dict(run.acked) if run else {}, True
    return dict(run.acked), False


def check(fs: FaultFs, acked: dict[object, int]) -> None:
    """Reopen, recover, compare; then once more, to see that recovery may be repeated and recording goes on."""
    for opening in range(1, 3):
        again = Rig(fs, OPTIONS, start_us=rig.T0 + opening * 100_000_000)
        again.recover()
        for track in TRACKS:
            found = rig.numbers(fs, track)
            if found != list(range(len(found))):
                raise Lost(f"order or holes: {found}")
            if len(found) < acked.get(track, 0):
                raise Lost(f"{track}: {acked[track]} acknowledged, {len(found)} found")
        codes = {code for code, _ in again.troubles}
        if codes & {"acknowledged-commits-lost", "segment-damaged", "recovery-failed", "segment-unreadable"}:
            raise Lost(f"false alarm: {again.troubles}")
        again.log.close()


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("nth", [1, 2, 5])
@pytest.mark.fast
def test_cut_at_every_step(name: str, nth: int) -> None:
    for seed in range(4):
        fs = FaultFs()
        acked, cut = record_until_cut(fs, name, nth)
        assert cut or nth > 1, f"{name} is never passed"
        check(fs.crash(random.Random(seed) if seed else None), acked)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(WRITING),
    st.integers(1, 12),
    st.integers(0, 1 << 30),
    st.lists(
        st.tuples(st.sampled_from(["pwritev", "fdatasync", "create", "fsync_dir"]), st.integers(1, 60)), max_size=4
    ),
)
def test_cut_with_failing_calls_before(name: str, nth: int, seed: int, faults: list[tuple[str, int]]) -> None:
    fs = FaultFs()
    warm = Rig(fs, OPTIONS, start_us=rig.T0 - 50_000_000)  # the volume exists; its making is another test
    warm.close()
    for call, after in faults:
        fs.arm(call, after + 3, errno.EIO)
    acked: dict[object, int] = {}
    try:
        acked, _ = record_until_cut(fs, name, nth)
    except OSError:
        pass  # not even the start record could be written: nothing was acknowledged
    after_cut = fs.crash(random.Random(seed))
    check(after_cut, acked)


@pytest.mark.fast
@pytest.mark.parametrize("lie", ["sync_lies", "dir_sync_lies"])
def test_the_check_goes_red_when_the_disk_lies(lie: str) -> None:
    fs = FaultFs()
    red = 0
    warm = Rig(fs, OPTIONS, start_us=rig.T0 - 50_000_000)
    warm.close()
    setattr(fs, lie, True)
    acked, _ = record_until_cut(fs, "seal_ledger", 1)
    assert min(acked.values()) > 50
    try:
        check(fs.crash(), acked)
    except Lost:
        red += 1
    assert red == 1


@pytest.mark.fast
def test_a_crash_gap_and_a_link_go_into_the_new_run() -> None:
    fs = FaultFs()
    run = Rig(fs, OPTIONS)
    run.frames(0, 25)
    run.commit()
    after = fs.crash()
    again = Rig(after, OPTIONS, start_us=rig.T0 + 30_000_000)
    again.recover()
    again.frames(0, 25, base_us=rig.T0 + 30_000_000)
    again.commit()
    raw = b"".join(rig.read_all(after, path) for path in after.names if "ledger" in path.parts)
    assert b'"reason":"crash"' in raw
    assert b'"from_run"' in raw
    end = rig.T0 + 25 * rig.FRAME_US
    assert f'"end_us":{rig.T0 + 30_000_000},"params"'.encode() in raw
    assert f'"start_us":{end}'.encode() in raw


@pytest.mark.fast
def test_no_crash_gap_after_a_clean_stop() -> None:
    fs = FaultFs()
    run = Rig(fs, OPTIONS)
    run.frames(0, 25)
    assert run.close() == []
    again = Rig(fs, OPTIONS, start_us=rig.T0 + 30_000_000)
    again.recover()
    again.frames(0, 25, base_us=rig.T0 + 30_000_000)
    again.close()
    raw = b"".join(rig.read_all(fs, path) for path in fs.names if "ledger" in path.parts)
    assert b'"reason":"crash"' not in raw
