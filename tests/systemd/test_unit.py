"""The unit is hardened, restarts sensibly, and its drop-ins are understood by check-config."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from recorderd.daemon.unit_paths import missing_from_unit, unit_texts, writable_paths

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "systemd" / "recorderd.service"


def keys() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser["Service"]


@pytest.mark.systemd
def test_exposure_is_at_most_one_and_a_half(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    shutil.copy(UNIT, unit)
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(unit)]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    unit.write_text(UNIT.read_text().replace("CapabilityBoundingSet=\n", "").replace("PrivateUsers=yes\n", ""))
    assert subprocess.run(command, capture_output=True, text=True).returncode == 1, (
        "the check itself must be able to fail"
    )


@pytest.mark.fast
def test_the_unit_says_what_the_daemon_relies_on() -> None:
    unit = keys()
    assert unit["Type"] == "notify"
    assert unit["RestartPreventExitStatus"] == "2"
    assert unit["Restart"] == "on-failure"
    assert int(unit["WatchdogSec"].removesuffix("s")) >= 10
    assert int(unit["TimeoutStopSec"].removesuffix("s")) > 5
    assert "recorderd run --config" in unit["ExecStart"]
    assert unit["User"] == "recorderd"


@pytest.mark.systemd
def test_sysusers_and_tmpfiles_are_valid(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for command in (
        ["systemd-sysusers", f"--root={tmp_path}", str(ROOT / "systemd" / "recorderd.sysusers")],
        [
            "systemd-tmpfiles",
            "--create",
            "--dry-run",
            f"--root={tmp_path}",
            str(ROOT / "systemd" / "recorderd.tmpfiles"),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if "unrecognized option '--dry-run'" in done.stderr:
            continue  # an older systemd-tmpfiles: nothing to check without changing the machine
        assert done.returncode == 0, done.stderr
    assert "recorderd" in (tmp_path / "etc" / "passwd").read_text()


@pytest.mark.fast
def test_a_storage_that_the_unit_closes_is_explained_with_the_drop_in(tmp_path: Path) -> None:
    assert unit_texts(tmp_path) == []
    assert missing_from_unit(Path("/srv/video"), []) is None
    folder = tmp_path / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    shutil.copy(UNIT, folder)
    texts = unit_texts(tmp_path)
    assert missing_from_unit(Path("/var/lib/recorderd/video"), texts) is None
    told = missing_from_unit(Path("/srv/video"), texts)
    assert told is not None
    assert "ReadWritePaths=/srv/video" in told
    (folder / "recorderd.service.d").mkdir()
    (folder / "recorderd.service.d" / "storage.conf").write_text("[Service]\nReadWritePaths=/srv\n")
    assert missing_from_unit(Path("/srv/video"), unit_texts(tmp_path)) is None


@pytest.mark.fast
def test_an_empty_assignment_takes_earlier_paths_back() -> None:
    assert writable_paths(["ReadWritePaths=/a -/b\n#ReadWritePaths=/c\n", "ReadWritePaths=\nReadWritePaths=+/d\n"]) == [
        Path("/d")
    ]
