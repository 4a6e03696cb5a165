"""The farm as the process that users, the demo and the tests start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest
from small_farm import SMALL


def start(cache: Path, *argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recorderd.simulate", *SMALL, "--clip-cache", str(cache), *argv]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["listening"]["host"] == "127.0.0.1"
    port: int = first["listening"]["port"]
    return port


@pytest.mark.e2e
@pytest.mark.parametrize("ending", ["stdin", "SIGTERM", "SIGINT"])
def test_clean_ends(clip_cache: Path, tmp_path: Path, ending: str) -> None:
    log = tmp_path / "log"
    process = start(clip_cache, "--cameras", "2", "--stdin-eof", "--log", str(log))
    url = f"rtsp://127.0.0.1:{port_of(process)}/cam/1"
    with av.open(url, options={"rtsp_transport": "tcp"}) as container:
        decoded = [frame for _, frame in zip(range(20), container.decode(video=0), strict=False)]
        assert (decoded[0].width, decoded[0].height) == (160, 96)
        if ending == "stdin":
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(getattr(signal, ending))
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    totals = json.loads(out.splitlines()[-1])
    (record,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert totals["dropped"] == 0
    assert totals["cameras"][1]["sent"] == record["sent"] >= 20
    assert record["end"] in ("stopped", "teardown", "closed")


@pytest.mark.ffmpeg
@pytest.mark.e2e
@pytest.mark.parametrize(("codec", "audio"), [("h264", "aac"), ("h265", "pcmu")])
def test_ffmpeg_decodes_without_an_error_line(clip_cache: Path, codec: str, audio: str) -> None:
    process = start(
        clip_cache, "--codec", codec, "--audio", audio, "--stdin-eof", "--user", "u", "--password", "p:@/ss"
    )
    url = f"rtsp://u:p%3A%40%2Fss@127.0.0.1:{port_of(process)}/cam/0"
    command = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-frames:v", "60", "-f", "null", "-"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    finally:
        process.communicate(timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("argv", [["--cameras", "0"], ["--fault", "cam/9=auth"], ["--no-such-option"]])
def test_wrong_usage_is_status_2_with_one_reason(clip_cache: Path, argv: list[str]) -> None:
    process = start(clip_cache, *argv)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert "recorderd simulate: " in errors
    assert "Traceback" not in errors


def test_a_busy_port_is_status_1_with_the_reason(clip_cache: Path) -> None:
    first = start(clip_cache, "--stdin-eof")
    port = port_of(first)
    second = start(clip_cache, "--port", str(port))
    _, errors = second.communicate(timeout=60)
    first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 1)
    assert "in use" in errors
    assert "Traceback" not in errors
