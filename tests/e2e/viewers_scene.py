"""Viewers that do not read, or read far too slowly, over every way out, while cameras are recorded.

By hand: python -m tests.e2e.viewers_scene --stalled 50 --slow 50 --seconds 40    (make scene S=viewers)
What must hold (promise 15): nothing recorded is lost, and no viewer costs the server more than 8 MiB. The oracle is the
farm's log, the frames' own numbers, and the memory of the process.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import selectors
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from tests.e2e.harness import Farm, Server, running, wait_until
from tests.e2e.oracle import committed_frames

CAMERAS = 4
VIEWER_BYTES = 8 * 2**20
SLACK_BYTES = 64 * 2**20  # what the server may need for serving at all: buffers, plans, code
SLOW_PIECE_BYTES, SLOW_EVERY_S = 4096, 0.25
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ports:
    http: int
    stream: int
    rtsp: int


def _connect(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # full at once
    made.settimeout(30)
    made.connect(("127.0.0.1", port))
    return made


def _until(peer: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = peer.recv(256)
        assert piece, data
        data += piece
    return data


def live_mp4(ports: Ports, camera: str) -> socket.socket:
    peer = _connect(ports.http)
    peer.sendall(f"GET /api/v1/cameras/{camera}/live.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert b" 200 " in _until(peer, b"\r\n\r\n")
    return peer


def web_socket(ports: Ports, camera: str) -> socket.socket:
    """RFC 6455 by hand: the handshake and one masked text frame."""
    peer = _connect(ports.http)
    key = base64.b64encode(os.urandom(16)).decode()
    peer.sendall(
        f"GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in _until(peer, b"\r\n\r\n")
    command = json.dumps({"id": 1, "cmd": "live", "camera": camera}).encode()
    mask = os.urandom(4)
    peer.sendall(bytes((0x81, 0x80 | len(command))) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(command)))
    return peer


def stream_api(ports: Ports, camera: str) -> socket.socket:
    peer = _connect(ports.stream)
    for kind, subscription, head in ((1, 0, {"version": 1, "client": "slow"}), (3, 1, {"id": 1, "camera": camera})):
        packed = msgpack.packb(head)
        peer.sendall(struct.pack(">IBBHII", len(packed), kind, 0, len(packed), subscription, 0) + packed)
    return peer


def stream_pull(ports: Ports, camera: str) -> socket.socket:
    peer = _connect(ports.stream)
    pull = {"id": 1, "camera": camera, "follow": True}
    for kind, subscription, head in ((1, 0, {"version": 1, "client": "slow"}), (8, 1, pull)):
        packed = msgpack.packb(head)
        peer.sendall(struct.pack(">IBBHII", len(packed), kind, 0, len(packed), subscription, 0) + packed)
    return peer


def rtsp(ports: Ports, camera: str) -> socket.socket:
    peer = _connect(ports.rtsp)
    url = f"rtsp://127.0.0.1:{ports.rtsp}/live/{camera}"
    peer.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
    answer = _until(peer, b"\r\n\r\n").decode(errors="replace")
    length = int(re.search(r"content-length: *(\d+)", answer, re.IGNORECASE)[1])  # type: ignore[index]
    body = answer.split("\r\n\r\n", 1)[1]
    while len(body) < length:
        body += peer.recv(4096).decode(errors="replace")
    control = re.findall(r"^a=control:(\S+)", body, re.MULTILINE)[-1]
    target = control if control.startswith("rtsp:") else f"{url}/{control}"
    peer.sendall(
        f"SETUP {target} RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n".encode()
    )
    session = re.search(r"session: *([^;\r]+)", _until(peer, b"\r\n\r\n").decode(), re.IGNORECASE)
    assert session is not None
    peer.sendall(f"PLAY {url} RTSP/1.0\r\nCSeq: 3\r\nSession: {session[1]}\r\n\r\n".encode())
    return peer


WAYS: tuple[Callable[[Ports, str], socket.socket], ...] = (live_mp4, web_socket, stream_api, stream_pull, rtsp)


@dataclass
class Viewers:
    """`stalled` never read again, `slow` read a little now and then."""

    ports: Ports
    stalled: list[socket.socket] = field(default_factory=list)
    slow: list[socket.socket] = field(default_factory=list)
    closed: int = 0

    def add(self, number: int, into: list[socket.socket]) -> None:
        into += [WAYS[index % len(WAYS)](self.ports, f"cam{index % CAMERAS}") for index in range(number)]

    def read_slowly(self, seconds: float, look: Callable[[], None]) -> None:
        """Let time pass; `look` is called a few times a second."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for peer in self.slow:
                peer.setblocking(False)
                selector.register(peer, selectors.EVENT_READ)
            while time.monotonic() < end:
                time.sleep(SLOW_EVERY_S)
                look()
                for key, _ in selector.select(0):
                    peer = key.fileobj
                    assert isinstance(peer, socket.socket)
                    try:
                        ended = not peer.recv(SLOW_PIECE_BYTES)
                    except ConnectionError:
                        ended = True
                    if ended:
                        self.closed += 1
                        selector.unregister(peer)

    def close(self) -> None:
        for peer in (*self.stalled, *self.slow):
            peer.close()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def play_scene(folder: Path, stalled: int, slow: int, seconds: float, bitrate: str = "2M") -> dict[str, float]:
    """Run it; raises AssertionError when a frame is missing or a viewer costs too much."""
    farm = Farm(folder, CAMERAS, ["--size", "640x360", "--bitrate", bitrate, "--gop", "25"]).start()
    server = Server(folder, further=("stream", "rtsp"))
    for number in range(CAMERAS):
        server.add(f"cam{number}", farm.url(number))
    with ExitStack() as stack:
        stack.enter_context(running(farm, server))
        server.start()
        wait_until(lambda: server.alive() and server.recording() == CAMERAS, 30, server.log)
        time.sleep(3)
        assert server.process is not None
        pid = server.process.pid
        before = peak = resident_bytes(pid)
        viewers = Viewers(Ports(server.port, server.ports["stream"], server.ports["rtsp"]))
        stack.callback(viewers.close)
        viewers.add(stalled, viewers.stalled)
        viewers.add(slow, viewers.slow)

        def look() -> None:
            nonlocal peak
            peak = max(peak, resident_bytes(pid))
            server.alive()

        viewers.read_slowly(seconds, look)
        assert all(item["state"] == "recorded" for item in server.cameras().values())
        farm.stop()
        time.sleep(1)
        assert server.stop() == 0, server.log()
    lost = 0
    for number in range(CAMERAS):
        (line,) = farm.connections(number)
        sent = {(number, n) for n in range(line["first"], line["last"] + 1)}
        assert line["dropped"] == 0
        lost += len(sent - committed_frames(server.volume, f"cam{number}"))
    each = (peak - before) / max(1, stalled + slow)
    found = {"viewers": stalled + slow, "lost": lost, "closed_slow": viewers.closed, "mib_each": each / 2**20}
    assert lost == 0, found
    assert peak - before <= (stalled + slow) * VIEWER_BYTES + SLACK_BYTES, found
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stalled", type=int, default=50)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=40)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(play_scene(Path(folder), args.stalled, args.slow, args.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
