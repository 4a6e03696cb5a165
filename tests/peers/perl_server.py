"""A camera made of Debian's rtsp-server-perl, which serves UDP only, fed by FFmpeg with ANNOUNCE and RECORD."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE_S = 30


def available() -> bool:
    return shutil.which("rtsp-server-perl") is not None and shutil.which("ffmpeg") is not None


@contextmanager
def start(clip: Path) -> Iterator[int]:
    """Serves `clip` again and again at /cam, untouched; gives the port for players."""
    players, source, rtp = _ports(3)
    server = subprocess.Popen(
        [
            "rtsp-server-perl", "--clientport", str(players), "--serverport", str(source), "--rtp_start_port", str(rtp),
            "--client_listen_address", "127.0.0.1", "--source_listen_address", "127.0.0.1",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(source, server)
        push = subprocess.Popen(
            [
                "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-an",
                "-f", "rtsp", "-rtsp_transport", "udp", f"rtsp://127.0.0.1:{source}/cam",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield players
        finally:
            push.kill()
            push.wait()
    finally:
        server.kill()
        server.wait()


def _ports(count: int) -> list[int]:
    """Even ports that are free now; the program takes none from the system."""
    found: list[int] = []
    with_sockets: list[socket.socket] = []
    while len(found) < count:
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        with_sockets.append(one)
        if one.getsockname()[1] % 2 == 0:
            found.append(one.getsockname()[1])
    for one in with_sockets:
        one.close()
    return found


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        assert process.poll() is None, "rtsp-server-perl did not start"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "rtsp-server-perl does not listen"
            time.sleep(0.05)
