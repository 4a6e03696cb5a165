"""When a disk is called stalled or slow, when that ends, and how a call under way is seen."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fault_fs import FaultFs

from mediadb.fs import RealFs
from mediadb.watched_fs import NOTED, PASSED_ON, Calls, UnderWay, watch
from mediadb.write.health import CALM_US, STALL_US, Health, Word

pytestmark = pytest.mark.fast
SECOND = 1_000_000


def codes(words: list[Word]) -> list[tuple[str, object]]:
    return [(code, params.get("of")) for code, params in words]


def test_a_call_that_does_not_return_is_told_once_and_so_is_its_end() -> None:
    health, call = Health(SECOND), UnderWay("fdatasync", 10 * SECOND)
    assert health.look(10 * SECOND + STALL_US - 1, call) == []
    (word,) = health.look(10 * SECOND + STALL_US, call)
    assert word == ("storage-stalled", {"waiting_us": STALL_US, "step": "fdatasync"})
    assert health.stalled
    for second in range(16, 41):
        assert health.look(second * SECOND, call) == []
    assert codes(health.wrote(40 * SECOND, 30 * SECOND)) == []
    assert health.look(40 * SECOND, None) == [], "one call returned: the next may hang again"
    health.wrote(41 * SECOND, 20_000)
    ((code, params),) = health.look(41 * SECOND, None)
    assert (code, params) == ("storage-recovered", {"of": "storage-stalled", "lasted_us": 30 * SECOND})
    assert not health.stalled
    assert health.look(60 * SECOND, None) == []


def test_without_commits_it_ends_after_a_while_of_calm() -> None:
    health = Health(SECOND)
    health.look(STALL_US, UnderWay("pread", 0))
    assert health.look(STALL_US + CALM_US - 1, None) == []
    assert codes(health.look(STALL_US + CALM_US, None)) == [("storage-recovered", "storage-stalled")]


def test_call_after_call_that_hangs_is_one_stall() -> None:
    health, told = Health(SECOND), []
    for step in range(0, 60):
        now = step * SECOND
        told += health.look(now, UnderWay("fdatasync", now - step % 7 * SECOND))
        if step % 7 == 6:
            told += [word for word in health.wrote(now, 7 * SECOND) if word[0] == "storage-stalled"]
    assert codes(told) == [("storage-stalled", None)]


def test_three_slow_commits_in_a_row_are_slow_and_three_quick_ones_end_it() -> None:
    health = Health(SECOND)
    times = [1_200_000, 1_200_000, 900_000, 1_200_000, 1_300_000, 1_400_000, 2_000_000, 100_000, 1_100_000]
    times += [100_000] * 3
    told = [word for now, took in enumerate(times) for word in health.wrote(now * SECOND, took)]
    assert codes(told) == [("storage-slow", None), ("storage-recovered", "storage-slow")]
    assert told[0][1] == {"took_us": 1_400_000, "interval_us": SECOND}
    assert told[1][1]["lasted_us"] == 6 * SECOND


def test_the_oldest_call_under_way_is_seen_from_another_thread() -> None:
    now = [100]
    calls = Calls(lambda: now[0])
    inside, go = threading.Event(), threading.Event()

    class Hanging(FaultFs):
        def fdatasync(self, fd: int) -> None:
            inside.set()
            go.wait(60)
            raise OSError("gone")

    fs = watch(Hanging(), calls)
    assert calls.oldest() is None

    def sync() -> None:
        with pytest.raises(OSError, match="gone"):
            fs.fdatasync(3)

    thread = threading.Thread(target=sync)
    thread.start()
    assert inside.wait(60)
    now[0] = 200
    assert fs.stat(Path("/nothing")) is None
    assert calls.oldest() == UnderWay("fdatasync", 100)
    go.set()
    thread.join()
    assert calls.oldest() is None, "noted as ended although it failed"


def test_every_call_of_the_file_system_is_passed_on() -> None:
    methods = {name for name, value in vars(RealFs).items() if callable(value) and not name.startswith("_")}
    assert methods == {*NOTED, *PASSED_ON}
