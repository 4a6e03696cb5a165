"""A copy of the disk from an hour ago is mounted in its place: refused in words, taken when somebody says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_process import DaemonProcess

pytestmark = pytest.mark.e2e


def older(daemon: DaemonProcess) -> bool:
    storage = daemon.get("storages")["items"][0]
    return bool(storage["code"] == "storage-older")


def put(daemon: DaemonProcess, disk: Path, aside: Path) -> None:
    daemon.storage_path.rename(aside)
    disk.rename(daemon.storage_path)


def test_an_older_copy_is_refused_accepted_and_the_right_disk_comes_back(daemon: DaemonProcess, tmp_path: Path) -> None:
    copy, right = tmp_path / "copy", tmp_path / "right"
    daemon.start()
    daemon.wait_for(daemon.recording)
    camera = daemon.camera()["id"]
    commits = daemon.get("storages")["items"][0]["commits"]
    shutil.copytree(daemon.storage_path, copy)
    daemon.wait_for(lambda: daemon.get("storages")["items"][0]["commits"] > commits + 1)
    assert daemon.post("storages/main/accept")[0] == 409, "nothing is refused"
    assert daemon.stop() == 0
    put(daemon, copy, right)

    daemon.start()
    daemon.wait_for(lambda: older(daemon))
    assert "recorderctl storage --accept main" in daemon.get("storages")["items"][0]["params"]["message"]
    assert daemon.post("storages/nobody/accept")[0] == 404
    status, answer = daemon.post("storages/main/accept")
    assert (status, answer["reason"]) == (200, "storage-older")
    daemon.wait_for(daemon.recording)
    assert daemon.camera()["id"] == camera
    assert daemon.get("events?code=storage-accepted")["items"][0]["params"]["storage"] == "main"
    assert daemon.stop() == 0

    put(daemon, right, copy)
    daemon.start()
    daemon.wait_for(lambda: older(daemon))
    command = [sys.executable, "-m", "recorderd.cli.ctl", "--server", daemon.base, "storage", "--accept", "main"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "main: storage-older" in done.stdout) == (0, True), done.stderr
    daemon.wait_for(daemon.recording)
    assert daemon.stop() == 0
