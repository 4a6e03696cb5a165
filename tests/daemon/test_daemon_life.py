"""A daemon as a process: it starts, records, answers signals, reloads, and shows no secret anywhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import uuid
from pathlib import Path

import pytest
from daemon_process import CANARY, DaemonProcess

from mediadb.format.identity import VolumeIdentity, encode_volume

pytestmark = pytest.mark.e2e


def test_it_records_and_stops_clean_and_never_loads_a_decoder(daemon: DaemonProcess) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert daemon.process is not None
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "/av/" not in maps
    assert "numpy" not in maps
    assert daemon.stop() == 0
    assert daemon.said("server-stopped")[0]["p_not_durable"] == []
    assert not daemon.said("task-failed")
    assert not daemon.said("task-ignores-cancellation")
    assert not daemon.said("text"), "everything in the log is JSON"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_identities_and_footage_outlive_a_restart(daemon: DaemonProcess, number: int) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    before = daemon.camera()
    server = daemon.get("status")["id"]
    assert daemon.stop(number) == 0
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert daemon.camera()["id"] == before["id"]
    assert daemon.get("status")["id"] == server
    when = before["recording"]["last_committed"]
    assert daemon.get(f"cameras/gate/coverage?start={before['recording']['since']}&end={when}")["tracks"][0][
        "intervals"
    ]
    assert daemon.stop() == 0


def test_after_a_lost_state_database_the_given_id_brings_server_and_cameras_back(daemon: DaemonProcess) -> None:
    """Even when the server was started once in between, as a stranger to its own footage."""
    daemon.start()
    daemon.wait_for(daemon.recording)
    before, server = daemon.camera(), daemon.get("status")["id"]
    assert daemon.stop() == 0
    for path in (daemon.folder / "data").glob("state.db*"):
        path.unlink()
    daemon.start()
    assert daemon.get("storages")["items"][0]["code"] == "storage-foreign"
    assert daemon.camera()["id"] != before["id"]
    assert daemon.stop() == 0
    daemon.server = f'id = "{server}"\n'
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert (daemon.get("status")["id"], daemon.camera()["id"]) == (server, before["id"])
    assert daemon.stop() == 0


def test_the_service_manager_is_told(daemon: DaemonProcess, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(60)
        daemon.start({"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "200000"})
        heard: list[str] = []

        def hear(word: str) -> None:
            while not any(word in text for text in heard):
                heard.append(manager.recv(4096).decode())

        hear("READY=1")
        hear("WATCHDOG=1")
        hear("STATUS=1 of 1 cameras recording")
        heard.clear()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        hear("RELOADING=1")
        heard.clear()
        hear("READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
        assert daemon.process.wait(60) == 0


def test_a_reload_touches_only_what_changed(daemon: DaemonProcess) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    since = daemon.camera()["recording"]["since"]
    daemon.hardware.append(daemon.synthetic("yard"))
    daemon.write()
    status, report = daemon.post("reload")
    assert (status, report["added"], report["changed"], report["restart_needed"]) == (200, ["yard"], [], [])
    daemon.wait_for(lambda: daemon.recording("yard"))
    assert daemon.camera()["recording"]["since"] == since
    assert daemon.stop() == 0


def test_a_bad_file_leaves_the_old_one_in_force_and_says_so(daemon: DaemonProcess) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert daemon.process is not None
    daemon.hardware.append('[[hardware]]\nname = "yard"\ndriver = "rtps"\naddress = "rtsp://x/"\n')
    daemon.write()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.said("config-error"))
    status, problem = daemon.post("reload")
    assert (status, problem["code"]) == (422, "config-rejected")
    assert "hardware[1].driver" in problem["detail"]
    events = daemon.get("events?code=config-rejected")["items"]
    assert len(events) == 2
    assert "did you mean 'rtsp'?" in events[0]["params"]["errors"][0]
    assert [view["name"] for view in daemon.get("cameras")["items"]] == ["gate"]
    assert daemon.stop() == 0


def test_no_secret_is_ever_shown(daemon: DaemonProcess) -> None:
    """The canary is the right password of one camera and the wrong one of another."""
    daemon.hardware.append(daemon.synthetic("locked").replace(f'demands = "{CANARY}"', 'demands = "another"'))
    daemon.start()
    daemon.wait_for(daemon.recording)
    daemon.wait_for(lambda: daemon.camera("locked")["reason"] == "auth-failed")
    assert daemon.process is not None
    shown = [json.dumps(daemon.get(path)) for path in ("status", "cameras", "hardware", "storages", "events")]
    shown.append(Path(f"/proc/{daemon.process.pid}/cmdline").read_text())
    shown.append(Path(f"/proc/{daemon.process.pid}/environ").read_text())
    daemon.hardware.append('[[hardware]]\nname = "x"\n')
    daemon.write()
    shown.append(json.dumps(daemon.post("reload")[1]))
    assert daemon.stop() == 0
    shown.append(daemon.log.read_text())
    assert not [text for text in shown if CANARY in text]
    for path in [*(daemon.folder / "data").rglob("*"), *daemon.storage_path.rglob("*")]:
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def test_an_unusable_configuration_is_exit_code_2(daemon: DaemonProcess) -> None:
    daemon.hardware.append("nonsense = 1\n")
    with pytest.raises(AssertionError, match="config-error"):
        daemon.start()
    assert daemon.process is not None
    assert daemon.process.wait(60) == 2
    assert not (daemon.folder / "data").exists()


def test_a_second_daemon_on_the_same_data_is_refused(daemon: DaemonProcess, tmp_path: Path) -> None:
    daemon.start()
    (tmp_path / "second").mkdir()
    other = DaemonProcess(tmp_path / "second")
    other.folder = daemon.folder  # its data_dir
    with pytest.raises(AssertionError, match="already-running"):
        other.start()
    assert other.process is not None
    assert other.process.wait(60) == 1
    assert daemon.stop() == 0


def test_a_missing_storage_is_a_state_and_recording_begins_when_it_comes(daemon: DaemonProcess, tmp_path: Path) -> None:
    """Known from an earlier run, then away: nothing is written to the empty folder; back: its cameras record."""
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert daemon.stop() == 0
    away = tmp_path / "away"
    daemon.storage_path.rename(away)
    daemon.storage_path.mkdir()
    daemon.start()
    daemon.wait_for(lambda: daemon.camera()["streams"][0]["connected"])
    assert daemon.get("storages")["items"][0]["code"] == "storage-missing"
    assert daemon.get("status")["ready"] is False
    assert daemon.get("events?code=storage-error")["items"]
    assert list(daemon.storage_path.iterdir()) == []
    other = encode_volume(VolumeIdentity(uuid.uuid4(), 1))
    (daemon.storage_path / "VOLUME").write_bytes(other)
    daemon.wait_for(lambda: daemon.get("storages")["items"][0]["code"] == "storage-foreign")
    assert [path.name for path in daemon.storage_path.iterdir()] == ["VOLUME"]
    (daemon.storage_path / "VOLUME").unlink()
    daemon.storage_path.rmdir()
    away.rename(daemon.storage_path)
    daemon.wait_for(daemon.recording)
    assert daemon.get("events?code=storage-recovered")["items"]
    assert daemon.get("status")["ready"] is True
    assert daemon.stop() == 0


@pytest.mark.parametrize("damage", ["header", "gone"])
def test_a_lost_state_database_does_not_lose_who_is_who(daemon: DaemonProcess, damage: str) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    camera, server = daemon.camera()["id"], daemon.get("status")["id"]
    assert daemon.stop() == 0
    state = daemon.folder / "data" / "state.db"
    if damage == "header":
        state.write_bytes(os.urandom(8192))
    else:
        state.unlink()
        daemon.server = f'id = "{server}"\n'
    daemon.start()
    daemon.wait_for(daemon.recording)
    assert (daemon.camera()["id"], daemon.get("status")["id"]) == (camera, server)
    if damage == "header":
        (event,) = daemon.get("events?code=state-damaged")["items"]
        assert Path(event["params"]["moved_to"]).exists()
    assert daemon.stop() == 0


def test_a_disk_that_went_away_is_named_and_the_exit_code_is_1(daemon: DaemonProcess, tmp_path: Path) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    daemon.storage_path.rename(tmp_path / "away")
    daemon.wait_for(lambda: daemon.get("storages")["items"][0]["state"] == "missing")
    assert daemon.stop() == 1
    assert "storage main" in daemon.said("not-durable")[0]["what"]
