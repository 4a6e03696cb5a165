"""Somebody removes every file the daemon holds open, one after the other: it says so in seconds, goes on, and after a
crash everything is explained."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from daemon_process import DaemonProcess

pytestmark = [pytest.mark.e2e, pytest.mark.crash]


def held(daemon: DaemonProcess) -> list[Path]:
    """What it holds open, by kind."""
    volume, data = daemon.storage_path, daemon.folder / "data"
    (month,) = volume.glob("ledger/main/*/20*")
    (log,) = volume.glob("log/main/*/LOG")
    (segment,) = volume.glob("log/main/*/*/*.open")
    return [month, segment, log, data / "state.db", data / "recorderd.lock"]


def test_whatever_is_removed_is_there_again(daemon: DaemonProcess) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    server = daemon.get("status")["id"]
    since = daemon.camera()["recording"]["since"]
    taken = held(daemon)
    for path in taken:
        path.unlink()
    daemon.wait_for(lambda: len(daemon.said("file-restored")) == len(taken))
    assert {line["p_path"] for line in daemon.said("file-restored")} == {str(path) for path in taken}
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(30)
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert daemon.get("status")["id"] == server
    until = daemon.camera()["recording"]["last_committed"]
    (track, *_) = daemon.get(f"cameras/gate/coverage?start={since}&end={until}")["tracks"]
    said = {(one["state"], one.get("reason", "")) for one in track["intervals"]}
    known = {("server-down", "crash"), ("server-down", "starting"), ("camera-offline", "connecting")}
    assert said <= {("recorded", ""), *known}
    recorded = [one for one in track["intervals"] if one["state"] == "recorded"]
    assert recorded[0]["start"] == track["intervals"][0]["start"]
    assert daemon.stop() == 0
