"""The whole way of a frame: cameras, server, disk, export; with and without a kill in the middle."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.e2e.harness import Farm, Server, marker, mp4_samples, run_mediadb, running, wait_until
from tests.e2e.oracle import committed_frames, committed_sounds, storage_tracks

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

SMALL = ["--size", "320x240", "--bitrate", "200k", "--gop", "25"]


def play(farm: Farm, server: Server, cameras: int, seconds: float) -> None:
    """Wait until every camera records, then for a while."""
    wait_until(lambda: server.alive() and server.recording() == cameras, 30, server.log)
    time.sleep(seconds)


def finish(farm: Farm, server: Server) -> None:
    """The farm ends first, so that all it sent reaches the server, which then stops cleanly."""
    farm.stop()
    time.sleep(1)
    assert server.stop() == 0, server.log()


def test_twenty_cameras_sent_is_committed_is_exported(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 20, SMALL).start()
    server = Server(tmp_path)
    for number in range(20):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start()
        play(farm, server, 20, 25)
        finish(farm, server)
    tracks = storage_tracks(server.volume)
    out = tmp_path / "out"
    done = run_mediadb("export", str(server.volume), *sorted(tracks), "--start", "-10m", "--end", "now", "-o", str(out))
    assert done.returncode == 0, done.stderr
    for number in range(20):
        (line,) = farm.connections(number)
        assert line["dropped"] == 0
        sent = set(range(line["first"], line["last"] + 1))
        assert len(sent) == line["sent"] > 500
        assert committed_frames(server.volume, f"cam{number}") == {(number, n) for n in sent}
        (file,) = out.glob(f"cam{number}_*.mp4")
        exported = [marker(sample) for sample in mp4_samples(file)]
        assert exported == [(number, n) for n in sorted(sent)], f"cam{number}"
    assert run_mediadb("verify", str(server.volume)).returncode == 0


def test_sound_is_counted_too(tmp_path: Path) -> None:
    """Every audio frame the farm sent (it counts them by RTP sequence) is in the database, in order."""
    farm = Farm(tmp_path, 2, [*SMALL, "--audio", "aac"]).start()
    server = Server(tmp_path)
    for number in range(2):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start()
        play(farm, server, 2, 6)
        finish(farm, server)
    for number in range(2):
        (line,) = farm.connections(number)
        assert line["audio_sent"] == line["audio_last_seq"] - line["audio_first_seq"] + 1 > 200
        assert committed_sounds(server.volume, f"cam{number}") == line["audio_sent"]
        assert {n for _, n in committed_frames(server.volume, f"cam{number}")} == set(
            range(line["first"], line["last"] + 1)
        )


def test_kill_9_loses_little_and_says_so(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 20, SMALL).start()
    server = Server(tmp_path)
    for number in range(20):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start()
        play(farm, server, 20, 6)
        server.kill()
        time.sleep(0.5)
        server.start()
        down_s = server.started_s
        play(farm, server, 20, 6)
        why = server.ctl("why", "cam3", "--json", rfc3339(down_s))
        assert why.returncode == 0, why.stderr
        assert json.loads(why.stdout)["state"] == "server-down", why.stdout
        finish(farm, server)
    for number in range(20):
        before, after = farm.connections(number)
        frames = {n for _, n in committed_frames(server.volume, f"cam{number}")}
        kept = [n for n in frames if n <= before["last"]]
        assert before["last"] - max(kept) <= 30, "more than 1.2 s of 25 fps lost at the kill"
        assert set(kept) == set(range(before["first"], max(kept) + 1)), "a hole before the kill"
        assert set(range(after["first"], after["last"] + 1)) <= frames, "a hole after the restart"
    done = run_mediadb("verify", str(server.volume))
    assert done.returncode == 0, done.stdout + done.stderr


def test_recording_again_within_five_seconds_of_a_kill(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 4, SMALL).start()
    server = Server(tmp_path)
    for number in range(4):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start()
        play(farm, server, 4, 2)
        server.kill()
        server.start()
        play(farm, server, 4, 2)
        first = min(item["recording"]["since"] for item in server.cameras().values())
        restarted = server.started_s
        finish(farm, server)
    assert first <= rfc3339(restarted + 5), f"started {rfc3339(restarted)}, recording since {first}"


def test_killing_every_child_process_loses_nothing(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 3, SMALL).start()
    server = Server(tmp_path)
    for number in range(3):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start()
        play(farm, server, 3, 3)
        killed = 0
        for _ in range(4):
            picture = server.get("/api/v1/cameras/cam0/frames/now.jpg", raw=True)
            assert picture[:2] == b"\xff\xd8"
            for child in children(server.process.pid):
                os.kill(child, 9)
                killed += 1
            time.sleep(0.5)
        assert killed >= 2, "the daemon had no child process to kill"
        finish(farm, server)
    for number in range(3):
        (line,) = farm.connections(number)
        assert committed_frames(server.volume, f"cam{number}") == {
            (number, n) for n in range(line["first"], line["last"] + 1)
        }


def test_a_wrong_password_never_becomes_a_storm_and_a_dead_address_is_named(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 2, [*SMALL, "--fault", "cam/0=auth"]).start()
    server = Server(tmp_path)
    server.add("locked", farm.url(0))
    server.add("open", farm.url(1))
    server.add("dead", "rtsp://127.0.0.1:1/x")
    with running(farm, server):
        server.start()
        wait_until(lambda: server.recording() == 1, 30, server.log)
        time.sleep(4)
        cameras = server.cameras()
        finish(farm, server)
    assert (cameras["locked"]["state"], cameras["locked"]["reason"]) == ("camera-offline", "auth-failed")
    assert (cameras["dead"]["state"], cameras["dead"]["reason"]) == ("camera-offline", "refused")
    assert cameras["open"]["state"] == "recorded"
    assert sum(line["auth_failures"] for line in farm.connections(0)) == 2
    from tests.e2e.harness import PASSWORD

    assert PASSWORD not in (tmp_path / "server.log").read_text()
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rfc3339(seconds: float) -> str:
    from recorderd.core.timerange import format_time

    return format_time(int(seconds * 1e6))
