"""`recorderctl doctor`: every kind of trouble is found and comes with a fix; what cannot be looked at is said."""

from __future__ import annotations

import argparse
import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from mediadb.format.identity import VolumeIdentity, encode_volume
from recorderd.cli import doctor, doctor_probe
from recorderd.cli.arguments import HELD, UNCHECKED, UNREACHABLE, WRONG
from recorderd.cli.client import Unreachable
from recorderd.cli.doctor_checks import (
    ClockFacts,
    DiskFacts,
    Finding,
    Level,
    MountFacts,
    check_clock,
    check_disk,
    check_loop,
    check_mount,
    check_space,
)

pytestmark = pytest.mark.fast

DAY = 86_400
STATS = {"free_bytes": 10**12, "used_bytes": 10**11, "total_bytes": 2 * 10**12, "committed_bytes": 10**9}
GOOD = MountFacts("ext4", False, False, "aaaa")


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (check_clock(None), Level.UNCHECKED, ""),
        (check_clock(ClockFacts(False, 0.0)), Level.WRONG, "not synchronised"),
        (check_clock(ClockFacts(True, 3.0)), Level.WARNING, "3.0 s"),
        (check_clock(ClockFacts(True, 0.01)), Level.OK, "10 ms"),
        (check_disk("main", None, 0.0, "/srv: Permission denied"), Level.UNCHECKED, "Permission denied"),
        (check_disk("main", DiskFacts(5e6, 0.01, 0.02), 4e6), Level.WRONG, "recording needs 4.0 MB/s"),
        (check_disk("main", DiskFacts(5e8, 0.01, 1.2), 4e6), Level.WRONG, "1200 ms"),
        (check_disk("main", DiskFacts(5e8, 0.01, 0.3), 4e6), Level.WARNING, "300 ms"),
        (check_disk("main", DiskFacts(5e8, 0.01, 0.02), 4e6), Level.OK, "500 MB/s"),
        (check_space("main", {}, 1000.0), Level.UNCHECKED, "long enough"),
        (check_space("main", STATS, 5.0), Level.UNCHECKED, "long enough"),
        (check_space("main", STATS | {"committed_bytes": 0}, 1000.0), Level.OK, "nothing is recorded"),
        (check_space("main", STATS, 1000.0), Level.WARNING, "set"),  # 1 MB/s into 1.1 TB without a limit
        (check_space("main", STATS | {"retention_us": 30 * DAY * 10**6}, 1000.0), Level.WRONG, "asks for 30.0"),
        (check_space("main", STATS | {"retention_us": 10 * DAY * 10**6}, 1000.0), Level.OK, "12.7 days"),
        (check_space("main", STATS | {"quota_bytes": 10**11}, 1000.0), Level.OK, "1.2 days"),
        (check_loop({}), Level.UNCHECKED, "no figures"),
        (check_loop({"recorderd_loop_lag_p99_seconds": 0.05, "recorderd_loop_load": 0.2}), Level.WARNING, "50 ms"),
        (check_loop({"recorderd_loop_lag_p99_seconds": 0.01, "recorderd_loop_load": 0.9}), Level.WRONG, "90%"),
        (check_loop({"recorderd_loop_lag_p99_seconds": 0.01, "recorderd_loop_load": 0.2}), Level.OK, "20%"),
    ],
)
def test_facts_become_findings(found: Finding, level: Level, words: str) -> None:
    assert found.level is level, found
    assert words in found.text + found.fix
    assert (found.fix == "") == (level is Level.OK)


@pytest.mark.parametrize(
    ("facts", "state", "wanted"),
    [
        (GOOD, "ok", [(Level.OK, "volume aaaa")]),
        (None, "ok", [(Level.UNCHECKED, "looked at")]),
        (MountFacts("ext4", False, True, ""), "missing", [(Level.WRONG, "volume there"), (Level.WARNING, "own disk")]),
        (MountFacts("xfs", True, False, "a"), "error", [(Level.WRONG, "read-only")]),
        (MountFacts("tmpfs", False, False, "a"), "ok", [(Level.WRONG, "may be lost")]),
        (MountFacts("btrfs", False, False, "a"), "ok", [(Level.WARNING, "not tried")]),
        (MountFacts("ext4", False, False, ""), "ok", [(Level.WRONG, "no VOLUME")]),
    ],
)
def test_mounts(facts: MountFacts | None, state: str, wanted: list[tuple[Level, str]]) -> None:
    found = list(check_mount("main", "/srv/video", facts, state))
    assert [one.level for one in found] == [level for level, _ in wanted], found
    for one, (_, words) in zip(found, wanted, strict=True):
        assert words in one.text


def test_the_machine_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    identity = VolumeIdentity(uuid.UUID(int=0x0B0B), 1)
    (tmp_path / "VOLUME").write_bytes(encode_volume(identity))
    mounted = doctor_probe.mount_facts(tmp_path)
    assert mounted is not None
    assert (mounted.volume, mounted.read_only) == (str(identity.volume), False)
    assert mounted.file_system not in ("", "unknown")
    assert doctor_probe.mount_facts(tmp_path / "nothing") is None
    before = os.listdir(tmp_path)
    measured = doctor_probe.disk_facts(tmp_path, pieces=2)
    assert measured.bytes_per_s > 0
    assert measured.sync_max_s >= measured.sync_median_s > 0
    assert os.listdir(tmp_path) == before
    clock = doctor_probe.clock_facts()
    assert clock is not None
    assert 0 <= clock.max_error_s < 1e5


def test_the_longest_mount_point_holds_the_path(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    real = os.path.realpath(tmp_path)
    mounts.write_text(
        f"1 0 8:1 / / rw - ext3 /dev/a rw\n2 1 8:2 / {real} rw shared:1 - xfs /dev/b rw\n"
        f"3 1 8:3 / {real}x rw - vfat /dev/c rw\njunk\n"
    )
    found = doctor_probe.mount_facts(tmp_path, mounts)
    assert found is not None
    assert found.file_system == "xfs"


class FakeClient:
    """A server that answers what a test wants."""

    def __init__(self, path: Path, ready: bool = True, away: bool = False) -> None:
        self.path, self.ready, self.away = path, ready, away

    async def get(self, path: str) -> Any:
        if self.away:
            raise Unreachable("http://127.0.0.1:1 does not answer")
        return {
            "time": "2026-03-01T12:10:00Z", "started": "2026-03-01T12:00:00Z",
            "cameras": {"total": 2, "recording": 1, "offline": 0, "not_recording": int(not self.ready)},
            "storages": [{"name": "main", "path": str(self.path), "state": "ok", "stats": dict(STATS)}],
        }  # fmt: skip

    async def readiness(self) -> Any:
        part = {"name": "storage main", "ready": self.ready, "reason": "storage-full", "needed": True}
        return {"ready": self.ready, "subsystems": [part]}

    async def text(self, path: str) -> str:
        return '# HELP x y\nrecorderd_loop_lag_p99_seconds 0.001\nrecorderd_loop_load 0.1\na{b="c"} 1\n'


async def run(client: FakeClient, config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, str]]]:
    args = argparse.Namespace(config=str(config), json=True, no_write_test=True)
    code = await doctor.doctor(client, args)  # type: ignore[arg-type]
    return code, json.loads(capsys.readouterr().out)["findings"]


async def test_a_sick_server_is_wrong_and_the_worst_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = await run(FakeClient(tmp_path, ready=False), tmp_path / "none.toml", capsys)
    assert code == WRONG
    assert found[0]["level"] == "wrong"
    assert {"cameras", "part"} <= {one["check"] for one in found if one["level"] == "wrong"}
    assert all(one["fix"] for one in found if one["level"] != "ok")
    code, found = await run(FakeClient(tmp_path), tmp_path / "none.toml", capsys)
    assert code in (HELD, WRONG, UNCHECKED)
    assert "cameras" not in {one["check"] for one in found if one["level"] == "wrong"}


async def test_without_a_server_the_machine_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "video"
    video.mkdir()
    config = tmp_path / "recorderd.toml"
    config.write_text(f'[server]\ndata_dir = "{tmp_path}"\n[[storage]]\nname = "main"\npath = "{video}"\n')
    code, found = await run(FakeClient(video, away=True), config, capsys)
    assert code == UNREACHABLE
    assert {"clock", "server", "mount", "disk"} <= {one["check"] for one in found}
    assert any(one["subject"] == "main" for one in found)
