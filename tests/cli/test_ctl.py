"""recorderctl against a fake server: what is asked, what is shown, which exit code."""

from __future__ import annotations

import hashlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mediadb.movie.manifest import file_stem
from mediadb.tools.main import main as mediadb
from recorderd.cli.arguments import protect_relative_times
from recorderd.cli.client import Client, choose_server
from recorderd.cli.ctl import build_parser, main
from recorderd.cli.export import pieces
from recorderd.core.errors import UsageError
from recorderd.core.timerange import HOUR_US, SECOND_US

T0, T1, T2 = "2026-03-01T12:00:00.000000Z", "2026-03-01T12:00:10.000000Z", "2026-03-01T12:00:20.000000Z"
CAMERA_ID = "8a55b5f1-5f0c-4d43-a7a6-3a5c5bd41c8e"
GAP = {"start": T1, "end": T2, "state": "camera-offline", "reason": "stall", "params": {"after_s": 5}}
MEDIA = {
    "start": T0,
    "end": T1,
    "state": "recorded",
    "reason": "",
    "params": {},
    "damaged": {"packets": 3, "frames": 1},
}
CAMERA = {
    "id": CAMERA_ID, "name": "gate", "state": "recorded", "reason": "", "storage": "main",
    "streams": [{"role": "main", "codec": "h264", "width": 640, "height": 360}],
    "recording": {"last_committed": T1},
}  # fmt: skip
STORAGE = {
    "name": "main", "state": "ok", "code": "", "last_commit": T1, "commits": 3, "shed_samples": 0, "path": "/srv/video",
}  # fmt: skip


def run(argv: list[str]) -> int:
    """`main` on a thread of its own: the test's thread keeps its event loop policy untouched."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(main, argv).result()


def status_answer(ready: bool = True, not_recording: int = 0) -> dict[str, Any]:
    return {
        "id": CAMERA_ID, "name": "hq", "version": "0.1.0", "time": T2, "started": T0, "ready": ready,
        "not_ready": [] if ready else ["storage main: storage-missing"], "viewers": 0, "storages": [STORAGE],
        "cameras": {"total": 2, "recording": 1, "offline": 1, "not_recording": not_recording},
    }  # fmt: skip


def test_status_is_1_when_something_is_wrong(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("status", status_answer())
    assert run(["status"]) == 0
    assert "cameras: 2, recording 1, offline 1" in capsys.readouterr().out
    api.get("status", status_answer(ready=False))
    assert run(["status"]) == 1
    assert "NOT READY: storage main: storage-missing" in capsys.readouterr().out
    api.get("status", status_answer(not_recording=1))
    assert run(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["cameras"]["not_recording"] == 1


def test_cameras_and_storage_are_tables(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("cameras", {"items": [CAMERA | {"name": "ga\x1b[31mte"}], "next": None})
    assert run(["cameras"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "main h264 640x360" in out
    api.get("storages", {"items": [STORAGE], "next": None})
    assert run(["storage"]) == 0
    refused = {
        "state": "error",
        "code": "storage-foreign",
        "params": {"message": "/srv/video/log\x1b is another server's"},
    }
    api.get("storages", {"items": [STORAGE | refused], "next": None})
    assert run(["storage"]) == 1
    said = capsys.readouterr().out
    assert "main: another disk is mounted there, or its footage is another server's - " in said
    assert "\n  /srv/video/log? is another server's\n" in said, "what was met on this very disk"


def test_why_and_coverage_tell_the_cause_and_pass_times_on_as_written(
    api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("cameras/gate/why", {"id": CAMERA_ID, "name": "gate", "time": T1, **GAP, "before": MEDIA, "after": None})
    assert run(["why", "gate", "-10m"]) == 0
    out = capsys.readouterr().out
    assert "camera-offline (stall) after_s=5" in out
    assert "recorded [damaged: 3 packets, 1 frames]" in out
    assert run(["why", "gate", "--json", T1]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "camera-offline"
    assert [query["time"] for query in api.queries("cameras/gate/why")] == ["-10m", T1]
    api.get(
        "coverage", {"start": T0, "end": T2, "cameras": [{"id": CAMERA_ID, "name": "gate", "intervals": [MEDIA, GAP]}]}
    )
    assert run(["coverage", "gate", "yard", "--start", "-1h"]) == 0
    assert api.queries("coverage") == [{"cameras": "gate,yard", "start": "-1h", "end": "now"}]
    assert "camera-offline (stall)" in capsys.readouterr().out


def test_timeline(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("cameras/ga%20te/timeline", {"tracks": [{"stream": "main", "kind": "video", "spans": [[T0, T1]]}]})
    assert run(["timeline", "ga te", "--resolution", "1m"]) == 0
    assert capsys.readouterr().out == f"main/video  {T0} .. {T1}\n"


def test_events_follow_the_pages_and_show_the_newest(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def event(number: int) -> dict[str, Any]:
        return {"id": number, "time": T0, "code": "x", "camera": None, "hardware": None, "params": {"n": number}}

    def page(query: dict[str, str]) -> dict[str, Any]:
        second = query.get("cursor") == "c1"
        return {"items": [event(2 if second else 1)], "next": None if second else "c1"}

    api.get("events", page)
    assert run(["events", "--code", "x", "--limit", "1", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["items"]] == [2]
    assert run(["events"]) == 0
    assert "n=1" in capsys.readouterr().out
    assert "newest" in api.queries("events")[-1]


def test_jobs_and_reload(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    job = {"id": "j", "kind": "export", "state": "running", "progress": 0.25, "created": T0, "error": None}
    api.get("jobs", {"items": [job], "next": None})
    assert run(["jobs"]) == 0
    assert "25%" in capsys.readouterr().out
    api.answers["POST", "/api/v1/reload"] = {"added": ["yard"], "restart_needed": []}
    assert run(["reload"]) == 0
    assert "added: yard\nrestart needed: -\n" in capsys.readouterr().out
    api.answers["POST", "/api/v1/reload"] = (422, {"code": "config-rejected", "detail": "hardware[1].driver: unknown"})
    assert run(["reload", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "config-rejected"
    assert "hardware[1].driver" in captured.err


def test_snapshot(api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"Content-Type": "image/jpeg", "X-Frame-Time": T1}
    api.get("cameras/gate/frames/now.jpg", (headers, b"\xff\xd8picture"))
    target = tmp_path / "x.jpg"
    assert run(["snapshot", "gate", "-o", str(target)]) == 0
    assert target.read_bytes() == b"\xff\xd8picture"
    assert T1 in capsys.readouterr().out


def exporting(api: Any, media: Any, *damage: Any) -> None:
    api.get("status", status_answer())
    api.get("cameras", {"items": [CAMERA], "next": None})
    api.get(f"cameras/{CAMERA_ID}/media.mp4", media)
    facts = {"samples": 12, "gap_repeats": 2}
    api.get(
        f"cameras/{CAMERA_ID}/media.json",
        {"etag": '"e"', "file_start": T0, "tracks": [facts], "gaps": [GAP, *damage]},
    )
    tracks = [{"id": CAMERA_ID, "stream": "main", "kind": "video", "intervals": [MEDIA, GAP]}]
    api.get(f"cameras/{CAMERA_ID}/coverage", {"tracks": tracks})


def test_export_writes_files_and_a_manifest(api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = b"ftyp" * 100_000
    exporting(api, ({"Content-Type": "video/mp4", "X-Start-Time": T0, "ETag": '"e"'}, data))
    argv = ["export", "gate", "--start", "-90m", "--end", "now", "-o", str(tmp_path / "out")]
    assert run([*argv, "--json"]) == 0
    (manifest,) = json.loads(capsys.readouterr().out)["exports"]
    names = [entry["name"] for entry in manifest["files"]]
    assert names == ["gate_20260301T103020Z.mp4", "gate_20260301T103020Z-002.mp4"]
    for entry in manifest["files"]:
        assert (tmp_path / "out" / entry["name"]).read_bytes() == data
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert json.loads((tmp_path / "out" / "gate_20260301T103020Z.json").read_text()) == manifest
    covered = manifest["tracks"][0]["coverage"]
    assert [(c["state"], c["end_us"] - c["start_us"]) for c in covered] == [
        ("recorded", 10 * SECOND_US), ("camera-offline", 10 * SECOND_US),
    ]  # fmt: skip
    for entry in manifest["files"]:
        assert mediadb(["verify", str(tmp_path / "out" / entry["name"])]) == 0
    assert json.loads(json.dumps(manifest))["files"][0]["samples"] == 10
    capsys.readouterr()
    assert [query["end"] for query in api.queries(f"cameras/{CAMERA_ID}/media.mp4")] == [
        "2026-03-01T11:30:20.000000Z",
        T2,
    ]
    assert not list((tmp_path / "out").glob("*.part"))
    assert run(argv) == 2, "nothing is overwritten unasked"
    assert run([*argv, "--replace"]) == 0
    assert "camera-offline (stall)" in capsys.readouterr().out


def test_cameras_whose_names_make_one_file_name_have_files_of_their_own(api: Any, tmp_path: Path) -> None:
    exporting(api, ({"Content-Type": "video/mp4", "X-Start-Time": T0, "ETag": '"e"'}, b"first"))
    other = "8a55b5f1-5f0c-4d43-a7a6-3a5c5bd41c8f"
    named = [CAMERA | {"name": "\u0412\u0445\u043e\u0434"}, CAMERA | {"name": "\u0414\u0432\u043e\u0440", "id": other}]
    api.get("cameras", {"items": named, "next": None})
    for path in ("media.mp4", "media.json", "coverage"):
        api.get(f"cameras/{other}/{path}", api.answers["GET", f"/api/v1/cameras/{CAMERA_ID}/{path}"])
    api.get(f"cameras/{other}/media.mp4", ({"Content-Type": "video/mp4", "X-Start-Time": T0, "ETag": '"e"'}, b"second"))
    cameras = [named[0]["name"], named[1]["name"], CAMERA_ID]  # the first one twice
    argv = ["export", *cameras, "--start", "-10s", "--end", "now", "-o", str(tmp_path)]
    for more in ([], ["--replace"]):
        assert run([*argv, *more]) == 0
        assert sorted(path.read_bytes() for path in tmp_path.glob("*.mp4")) == [b"first", b"second"]
        manifests = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
        assert {one["camera"] for one in manifests} == {CAMERA_ID, other}
        assert all((tmp_path / one["files"][0]["name"]).exists() for one in manifests)


def test_export_of_nothing_and_of_damage_is_1(api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["export", CAMERA_ID, "--start", "-10s", "--end", "now", "-o", str(tmp_path)]
    exporting(api, (404, {"code": "no-footage", "detail": "nothing"}))
    assert run(argv) == 1
    assert "nothing is recorded" in capsys.readouterr().err
    exporting(api, (503, {"code": "footage-damaged", "detail": "chunk at 4096 fails its checksum"}))
    assert run([*argv, "--replace"]) == 1
    assert "chunk at 4096" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.mp4*"))


def test_export_goes_on_past_damage_and_names_it(api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = ({"Content-Type": "video/mp4", "ETag": '"e"'}, b"ftyp")
    answers = [(503, {"code": "footage-damaged", "detail": "chunk at 4096"}), good]
    damage = {
        "start": T0, "end": T1, "state": "storage-error", "reason": "chunk-damaged",
        "params": {"track": CAMERA_ID, "what": "x at 4096"},
    }  # fmt: skip
    exporting(api, lambda _: answers.pop(0), damage)
    argv = ["export", "gate", "--start", "-10s", "--end", "now", "-o", str(tmp_path), "--json"]
    assert run(argv) == 1
    (manifest,) = json.loads(capsys.readouterr().out)["exports"]
    assert [(left["start"], left["what"]) for left in manifest["skipped"]] == [(T0, "x at 4096")]
    assert len(manifest["files"]) == 1


def test_exit_codes_of_refusals(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for status, code in ((400, 2), (403, 1), (404, 1), (500, 1), (503, 3)):
        api.get("status", (status, {"code": "x", "detail": f"because {status}"}))
        assert run(["status"]) == code
        assert capsys.readouterr().err == f"recorderctl: because {status}\n"
    api.get("status", ({"Content-Type": "text/html"}, b"<html>"))
    assert run(["status"]) == 3


def test_nobody_there_is_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert run(["--server", f"http://127.0.0.1:{port}", "status"]) == 3
    assert "is recorderd running?" in capsys.readouterr().err
    assert run(["--server", f"unix:{tmp_path}/absent.sock", "status", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unreachable"


@pytest.mark.parametrize(
    "argv",
    [
        ["why", "gate", "yesterday"], ["export", "gate"], ["nope"], [], ["events", "--limit", "0"],
        ["timeline", "gate", "--resolution", "soon"],
    ],
)  # fmt: skip
def test_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(argv)
    assert stopped.value.code == 2
    assert capsys.readouterr().err


def test_an_inverted_export_and_a_strange_server_are_2(
    api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("status", status_answer())
    assert run(["export", "gate", "--start", "now", "--end", "-1h", "-o", str(tmp_path)]) == 2
    for server in ("ftp://x", "http://user:pw@127.0.0.1:1", "127.0.0.1:8080", "http://h/deep/path"):
        assert run(["--server", server, "status"]) == 2
    assert "write http://HOST:PORT or unix:PATH" in capsys.readouterr().err


def test_which_server_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert choose_server(None, {}, [tmp_path / "no", path]) == f"unix:{path}"
    assert choose_server(None, {"RECORDERD_SERVER": "http://a:1"}, [path]) == "http://a:1"
    assert choose_server("http://b:2", {"RECORDERD_SERVER": "http://a:1"}) == "http://b:2"
    assert choose_server(None, {}, []) == "http://127.0.0.1:8080"
    with pytest.raises(UsageError):
        Client("https://a:1")


@pytest.mark.fast
def test_pieces_and_names() -> None:
    assert list(pieces(0, 2 * HOUR_US + SECOND_US)) == [
        (0, HOUR_US), (HOUR_US, 2 * HOUR_US), (2 * HOUR_US, 2 * HOUR_US + SECOND_US),
    ]  # fmt: skip
    assert file_stem("../Tür 3", "sub", 0) == "T_r_3_sub_19700101T000000Z"
    assert file_stem("..", "main", 0).startswith("camera_")
    assert protect_relative_times(["-10m", "--end", "-5s", "-o", "-1"]) == [" -10m", "--end", " -5s", "-o", "-1"]


@pytest.mark.fast
def test_every_command_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
    for verb in next(action.choices for action in build_parser()._actions if action.dest == "verb"):  # type: ignore[union-attr]
        assert f"| `{verb}" in text, verb
