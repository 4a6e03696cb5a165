"""The `mediadb` program: every command as a child process, with its exit codes and JSON."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import T0, Recorder, S, spec

from mediadb.format.segment_header import SEGMENT_HEADER_BYTES
from mediadb.fs import RealFs
from mediadb.times import TimeTextError, parse_time, show_time
from mediadb.tools.main import main

CAM = spec(1)
START, END = show_time(T0), show_time(T0 + 30 * S)


def mediadb(*arguments: object) -> tuple[int, str, str]:
    """Run as a user does."""
    command = [sys.executable, "-m", "mediadb.tools.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ})
    return done.returncode, done.stdout, done.stderr


def in_process(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """The same without a process: (exit code, JSON)."""
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 4
    path.write_bytes(raw)


def test_as_a_program(finished: Path, tmp_path: Path) -> None:
    code, out, err = mediadb("verify", finished)
    assert (code, err) == (0, "")
    assert "sound" in out
    assert "not signed" in out
    assert mediadb("ls", tmp_path / "nowhere")[0] == 3
    assert mediadb("frobnicate", finished)[0] == 2
    assert mediadb("why", finished, "cam 1", "yesterday-ish")[0] == 2
    code, out, _ = mediadb("why", finished, "cam 1", START)
    assert code == 0
    assert "recorded" in out
    path = sorted(finished.rglob("*.rseg"))[0]
    flip(path, 20_000)
    code, out, _ = mediadb("verify", finished)
    assert code == 1
    assert path.name in out
    assert "not zero" in out or "does not verify" in out


@pytest.mark.fast
def test_init_makes_a_volume_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made = in_process(capsys, "init", tmp_path / "new")
    assert code == 0
    assert (tmp_path / "new" / "VOLUME").stat().st_size == 64
    assert main(["init", str(tmp_path / "new")]) == 2
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    assert main(["init", str(tmp_path / "used")]) == 2
    capsys.readouterr()
    code, listed = in_process(capsys, "ls", tmp_path / "new")
    assert (code, listed) == (0, {"volume": made["volume"], "storages": []})


@pytest.mark.fast
def test_ls_and_dump(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = in_process(capsys, "ls", finished)
    (storage,) = out["storages"]
    assert (code, storage["name"], len(storage["segments"]), len(storage["tracks"])) == (0, "main", 3, 2)
    path = finished / storage["segments"][0]["file"]
    code, dumped = in_process(capsys, "dump", path)
    assert code == 0
    assert len(dumped["blocks"]) == 10
    assert {c["kind"] for b in dumped["blocks"] for c in b["chunks"]} == {"CONFIG", "KEY", "DELTA"}
    ledger = next(p for p in (finished / "ledger").rglob("*") if p.is_file())
    code, dumped = in_process(capsys, "dump", ledger)
    kinds = {r["record"] for page in dumped["pages"] for r in page["records"]}
    assert {"RUN_START", "RUN_STOP", "SEGMENT_SEAL", "COVER", "TRACK"} <= kinds
    flip(path, 5_000)
    assert in_process(capsys, "dump", path)[0] == 1


@pytest.mark.fast
def test_why_and_coverage(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = in_process(capsys, "why", finished, "cam 2", show_time(T0 + 26 * S))
    assert (code, out["state"], out["reason"], out["before"]["state"]) == (0, "server-down", "stop", "recorded")
    code, by_id = in_process(capsys, "why", finished, spec(2).camera, show_time(T0 + 26 * S))
    assert by_id["track"] == out["track"]
    code, out = in_process(capsys, "coverage", finished, "cam 1", "--start", START, "--end", END)
    (track,) = out["tracks"]
    assert code == 0
    assert [(c["state"], c["end_us"]) for c in track["coverage"]] == [
        ("recorded", T0 + 25 * S),
        ("server-down", T0 + 30 * S),
    ]
    assert in_process(capsys, "why", finished, "cam 1", "now")[1]["state"] == "server-down"
    assert in_process(capsys, "why", finished, "cam 1", "+1s")[1]["reason"] == "future"
    assert in_process(capsys, "coverage", finished, "nobody")[0] == 2
    assert in_process(capsys, "coverage", finished, "--start", END, "--end", START)[0] == 2
    assert in_process(capsys, "coverage", finished, "--storage", "other")[0] == 2


@pytest.mark.fast
def test_verify_a_segment_and_an_export(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    code, out = in_process(capsys, "verify", path)
    assert (code, out["sound"], out["signed"]) == (0, True, False)
    code, out = in_process(capsys, "export", finished, "cam 1", "--start", START, "--end", END, "-o", tmp_path / "out")
    assert code == 0
    (export,) = out["exports"]
    assert export["samples"] == 625
    assert in_process(capsys, "verify", export["manifest"])[0] == 0
    assert in_process(capsys, "verify", export["file"])[0] == 0
    flip(Path(export["file"]), 9_000)
    code, out = in_process(capsys, "verify", export["file"])
    assert (code, out["findings"][0]["file"]) == (1, export["file"])
    code, _ = in_process(capsys, "export", finished, "cam 1", "--start", "-2m", "--end", "-1m", "-o", tmp_path / "out")
    assert code == 1


@pytest.mark.fast
def test_a_later_format_is_not_fully_checked(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sorted(finished.rglob("*.rseg"))[0]
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, 8, 7)
    head = SEGMENT_HEADER_BYTES - 4
    struct.pack_into("<I", raw, head, zlib.crc32(bytes(raw[:head])))
    path.write_bytes(raw)
    assert in_process(capsys, "verify", path)[0] == 4


@pytest.mark.fast
def test_fsck_repairs_only_when_told(
    recorder: Callable[..., Recorder], volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recorder()
    made.film(12, CAM)
    made.crash()
    sealed = next(volume.rglob("*.rseg"))
    flip(sealed, sealed.stat().st_size - 9)
    before = {p: p.read_bytes() for p in volume.rglob("*") if p.is_file()}
    code, out = in_process(capsys, "fsck", volume)
    assert (code, len(out["problems"]), len(out["left"])) == (1, 2, 2)
    assert {p: p.read_bytes() for p in volume.rglob("*") if p.is_file()} == before
    code, out = in_process(capsys, "fsck", volume, "--repair")
    assert (code, len(out["repaired"]), out["left"]) == (0, 2, [])
    assert not list(volume.rglob("*.open"))
    assert in_process(capsys, "fsck", volume)[0] == 0
    code, out = in_process(capsys, "verify", volume)
    assert (code, out["samples"]) == (0, 300)
    code, out = in_process(capsys, "why", volume, "cam 1", show_time(T0 + 20 * S))
    assert (out["state"], out["reason"]) == ("server-down", "crash")
    again = recorder(run=2, start_us=T0 + 60 * S)
    again.film(2, CAM)
    assert again.stop() == []
    assert in_process(capsys, "verify", volume)[0] == 0


@pytest.mark.fast
def test_fsck_leaves_a_log_in_use_alone(
    recorder: Callable[..., Recorder], volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = recorder()
    live.film(2, CAM)
    code, out = in_process(capsys, "fsck", volume, "--repair")
    assert (code, out["left"]) == (0, [])
    assert "in use" in out["notes"][0]
    assert len(list(volume.rglob("*.open"))) == 1
    live.stop()


@pytest.mark.fast
def test_rebuild_and_reclaim_dry_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = in_process(capsys, "rebuild", finished)
    assert (code, out) == (0, [{"storage": "main", "segments": 3, "damaged": {}}])
    code, out = in_process(capsys, "reclaim", finished, "--dry-run", "--max-size", "500000")
    assert code == 0
    assert [row["rule"] for row in out] == ["size", "size"]
    assert len(list(finished.rglob("*.rseg"))) == 3


@pytest.mark.fast
@pytest.mark.parametrize("command", ["salvage", "export"])
def test_a_full_target_is_named_with_the_next_move(
    command: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RealFs, "pwritev", full)
    target = tmp_path / "rescued"
    more = [target] if command == "salvage" else ["cam 1", "--start", show_time(T0), "--end", "now", "-o", target]
    assert main([command, str(finished), *map(str, more)]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"mediadb: {target}")
    assert "No space left on device; make room there or write elsewhere, then begin again" in said


def test_times() -> None:
    now = T0
    assert parse_time("now", now) == now
    assert parse_time("-10m", now) == parse_time("now-10m", now) == now - 600 * S
    assert parse_time("+1.5h", now) == now + 5400 * S
    assert parse_time("2026-09-21T14:13:20Z", now) == T0
    assert parse_time("2026-09-21T16:13:20.5+02:00", now) == T0 + S // 2
    assert show_time(T0) == "2026-09-21T14:13:20.000000Z"
    for text in ("", "yesterday", "2026-09-21", "2026-13-01T00:00:00Z", "2026-09-21T14:13:20", "-10", "-10y"):
        with pytest.raises(TimeTextError):
            parse_time(text, now)
