"""The default of `[server] memory`: a quarter of what there is, within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorderd.daemon.memory import LEAST_BYTES, MOST_BYTES, available_bytes, default_budget

pytestmark = pytest.mark.fast
GIB = 1 << 30


def machine(root: Path, total_bytes: int, groups: str = "", **limits: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal:       {total_bytes // 1024} kB\nMemFree: 1 kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    for path, text in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("total", "expected"), [(16 * GIB, 4 * GIB), (512 << 20, LEAST_BYTES), (256 * GIB, MOST_BYTES)]
)
def test_a_quarter_of_the_machine(tmp_path: Path, total: int, expected: int) -> None:
    assert default_budget(machine(tmp_path, total)) == expected


def test_a_group_around_ours_limits_us_too(tmp_path: Path) -> None:
    limits = {"system.slice/recorderd.service/memory.max": "max\n", "system.slice/memory.max": f"{2 * GIB}\n"}
    root = machine(tmp_path, 16 * GIB, "0::/system.slice/recorderd.service\n", **limits)
    assert available_bytes(root) == 2 * GIB


def test_the_first_version_of_groups(tmp_path: Path) -> None:
    limits = {"memory/docker/x/memory.limit_in_bytes": f"{4 * GIB}\n"}
    root = machine(tmp_path, 16 * GIB, "5:cpu,cpuacct:/\n4:memory:/docker/x\n", **limits)
    assert default_budget(root) == GIB


def test_where_nothing_is_told_the_least_is_taken(tmp_path: Path) -> None:
    assert default_budget(tmp_path) == LEAST_BYTES


def test_this_machine_says_something() -> None:
    assert available_bytes() > 64 << 20
