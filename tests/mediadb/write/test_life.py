"""The life of a recorder on a file system that fails, as a state machine against a plain model (`world.World`).

Small by default. Deep: `HYPOTHESIS_PROFILE=deep pytest tests/mediadb/write/test_life.py` (LIFE_EXAMPLES, LIFE_SEEDS say
how much). The negative controls break one promise each: the same checks must go red.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import broken
import pytest
import rig
import wild
from fault_fs import FaultFs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from world import Red, World

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
EXAMPLES = int(os.environ.get("LIFE_EXAMPLES", "1500" if DEEP else "40"))
SEEDS = int(os.environ.get("LIFE_SEEDS", "400" if DEEP else "8"))
RANDOM = st.integers(0, 1 << 30)


class Life(RuleBasedStateMachine):
    """Every rule is one thing that can happen; disk and model are compared after each."""

    @initialize(seed=RANDOM)
    def begin(self, seed: int) -> None:
        self.world = World(seed=seed)

    @rule(seconds=st.integers(1, 3))
    def record(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.film()
            self.world.commit()

    @rule()
    def film(self) -> None:
        self.world.film()

    @rule()
    def commit(self) -> None:
        self.world.commit()

    @rule()
    def seal(self) -> None:
        self.world.work()

    @rule(seconds=st.integers(2, 30))
    def away(self, seconds: int) -> None:
        self.world.away(seconds)

    @rule(seed=st.none() | RANDOM)
    def power_cut(self, seed: int | None) -> None:
        self.world.cut(seed)

    @rule(calls=st.integers(1, 40))
    def power_cut_soon(self, calls: int) -> None:
        self.world.fs.cut_in = calls

    @rule()
    def stop(self) -> None:
        self.world.close()

    @rule()
    def reopen(self) -> None:
        wild.reopen(self.world)

    @rule()
    def open_without_recovery(self) -> None:
        if self.world.rig is None and not self.world.open():
            self.world.fs.heal()

    @rule(share=st.sampled_from((0.3, 0.6, 0.9)))
    def reclaim(self, share: float) -> None:
        self.world.reclaim(share)

    @rule(number=st.integers(0, 1), keep_s=st.integers(0, 60), rewriting=st.booleans())
    def forget_camera(self, number: int, keep_s: int, rewriting: bool) -> None:
        self.world.forget_camera(number, keep_s * 1_000_000, rewriting=rewriting)

    @rule(call=st.sampled_from(wild.CALLS), nth=st.integers(1, 12), number=st.sampled_from(wild.ERRORS))
    def fail_once(self, call: str, nth: int, number: int) -> None:
        self.world.fault(call, nth, number)

    @rule(call=st.sampled_from(wild.FOREVER), number=st.sampled_from(wild.ERRORS))
    def fail_for_ever(self, call: str, number: int) -> None:
        self.world.fail_always(call, number)

    @rule(room=st.integers(0, 1 << 17))
    def fill(self, room: int) -> None:
        self.world.fill(room)

    @rule()
    def read_only(self) -> None:
        self.world.read_only()

    @rule()
    def short_writes(self) -> None:
        self.world.fs.short_writes = True

    @rule()
    def heal(self) -> None:
        self.world.heal()

    @rule(us=st.sampled_from(wild.CLOCK_STEPS_US))
    def step_clock(self, us: int) -> None:
        self.world.step_clock(us)

    @rule()
    def look(self) -> None:
        self.world.check()

    @invariant()
    def disk_is_true(self) -> None:
        if hasattr(self, "world"):
            self.world.check_disk()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            wild.finish(self.world)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=60 if DEEP else 30,
    deadline=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_life_by_seed(seed: int) -> None:
    world = wild.live(seed, 40)
    assert sum(len(line.acked) for line in world.lines.values()) > 0


@pytest.mark.parametrize("promise", broken.PROMISES)
def test_a_broken_promise_goes_red(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil = broken.PROMISES[promise](monkeypatch)
    for seed in range(12):
        try:
            wild.live(seed, 40, clock=False, faults=False, spoil=spoil)
        except Red:
            return
    pytest.fail(f"{promise} is broken, and nothing went red")


def test_the_model_itself_is_red_when_samples_vanish() -> None:
    """The check looks at what it says: take one acknowledged segment away, and change one byte of another."""
    world = World()
    for _ in range(6):
        world.film()
        world.commit()
    world.work()
    world.check()
    segment = next(path for path in sorted(world.fs.names) if path.suffix == ".rseg")
    node = world.fs.names.pop(segment)
    with pytest.raises(Red, match="lost"):
        world.check_disk()
    world.fs.names[segment] = node
    node.data[bytes(node.data).index(rig.content(rig.track_id(0), 0, 200)[40:80])] ^= 1
    with pytest.raises(Red):
        world.check_disk()


def test_a_failed_sync_shows_true_bytes_even_when_the_cache_is_dropped() -> None:
    """The pages of a failed sync are marked clean and gone: what was acknowledged comes from elsewhere."""
    for seed in range(6):
        world = World(seed=seed)
        world.recover()
        world.film()
        world.commit()
        world.fault("fdatasync", 1, errno.EIO)
        for _ in range(4):
            world.film()
            world.commit()
            world.fs.drop_caches()
            world.check()
        world.cut(seed)
        wild.reopen(world)
        world.check()


def test_a_punch_without_sync_may_come_back_and_a_synced_one_does_not() -> None:
    """The fault model: a power cut resurrects punched bytes, unless the file was synced."""
    came_back = 0
    for seed in range(20):
        fs = FaultFs()
        fs.mkdirs(Path("/d"))
        fd = fs.create(Path("/d/f"))
        fs.pwritev(fd, [b"x" * 16384], 0)
        fs.fdatasync(fd)
        fs.fsync_dir(Path("/d"))
        fs.punch(fd, 4096, 8192)
        assert fs.pread(fd, 16384, 0) == b"x" * 4096 + bytes(8192) + b"x" * 4096
        after = fs.crash(random.Random(seed))
        came_back += b"x" * 4096 in bytes(after.names[Path("/d/f")].data[4096:12288])
        fs.fdatasync(fd)
        assert fs.crash(random.Random(seed)).names[Path("/d/f")].data[4096:12288] == bytes(8192)
    assert 5 < came_back < 20
