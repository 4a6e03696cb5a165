"""Viewers of a server under a benchmark, in processes of their own so that only the server's CPU is counted.

Law: raw sockets; bytes are thrown away inside the kernel (MSG_TRUNC) unless they are measured. Prints one JSON line
when it is asked to stop (a line on stdin), after one line "ready". Started by `fanout` and `pull`.

    python -m benchmarks.viewers tcp PORT CAMERA COUNT | ws PORT CAMERA COUNT | latency PORT CAMERA COUNT
    python -m benchmarks.viewers pull PORT CAMERA START_US END_US | client PORT CAMERA START_US END_US
    python -m benchmarks.viewers sink PORT
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import selectors
import socket
import struct
import sys
import time

from recorderd.client import Chunk, PullOptions, connect
from recorderd.media.access_unit import Codec
from recorderd.media.marker import find_marker
from recorderd.wire.stream.codec import Decoder, encode
from recorderd.wire.stream.messages import FRAME, FRAME_BYTES, MAX_SERVER_BYTES, Type

_DISCARD = 1 << 20


def tcp_viewer(port: int, kind: Type, head: dict[str, object]) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(encode(Type.HELLO, 0, {"version": 1, "client": "bench"}) + encode(kind, 1, {**head, "id": 1}))
    return made


def ws_viewer(port: int, camera: str) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET /api/v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += made.recv(4096)
    assert b" 101 " in answer.split(b"\r\n")[0], answer
    text = json.dumps({"id": 1, "cmd": "live", "camera": camera}).encode()
    made.sendall(struct.pack(">BBI", 0x81, 0x80 | len(text), 0) + text)  # masked with zeros
    return made


def hold(viewers: list[socket.socket]) -> dict[str, object]:
    """Read and forget until a line comes on stdin."""
    selector = selectors.DefaultSelector()
    for viewer in viewers:
        viewer.setblocking(False)
        selector.register(viewer, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    count = ended = 0
    view = memoryview(bytearray(_DISCARD))
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return {"bytes": count, "ended": ended}
            assert isinstance(key.fileobj, socket.socket)
            try:
                size = key.fileobj.recv_into(view, _DISCARD, socket.MSG_TRUNC)
            except BlockingIOError:
                continue
            count += size
            if size == 0:
                ended += 1
                selector.unregister(key.fileobj)


def latencies(viewers: list[socket.socket]) -> dict[str, object]:
    """Milliseconds from the picture's own stamp to its last byte here, of every unit until a line on stdin."""
    selector = selectors.DefaultSelector()
    for viewer in viewers:
        viewer.setblocking(False)
        selector.register(viewer, selectors.EVENT_READ, Decoder(MAX_SERVER_BYTES))
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    found: list[float] = []
    first = time.time() + 1  # what was held from before is not live
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return {"ms": found}
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(1 << 18)
            now = time.time()
            for message in key.data.receive(data):
                marker = find_marker(bytes(message.payload), Codec.H264) if message.type == Type.UNIT else None
                if marker is not None and marker.utc_us / 1e6 > first:
                    found.append((now - marker.utc_us / 1e6) * 1000)


def pull(port: int, camera: str, start_us: int, end_us: int) -> dict[str, object]:
    """One pull without credit, every message read whole and thrown away."""
    link = tcp_viewer(port, Type.PULL, {"camera": camera, "start_us": start_us, "end_us": end_us})
    scratch = memoryview(bytearray(MAX_SERVER_BYTES))
    front = memoryview(bytearray(FRAME_BYTES))
    began, size, kind = time.perf_counter(), 0, 0
    while kind != Type.ENDED:
        read_whole(link, front)
        length, kind, _, head_bytes, _, _ = FRAME.unpack(front)
        read_whole(link, scratch[:length])
        if kind == Type.CHUNK:
            size += length - head_bytes
    return {"bytes": size, "s": time.perf_counter() - began}


def read_whole(link: socket.socket, view: memoryview) -> None:
    at = 0
    while at < len(view):
        size = link.recv_into(view[at:])
        assert size, "the server closed the connection"
        at += size


async def client(port: int, camera: str, start_us: int, end_us: int) -> dict[str, object]:
    """The same by recorderd.client, its own SHA-256 left out."""
    began, size = time.perf_counter(), 0
    async with (
        connect("127.0.0.1", port) as link,
        link.pull(camera, start_us, end_us, options=PullOptions(check=False)) as chunks,
    ):
        async for item in chunks:
            if isinstance(item, Chunk):
                size += len(item.data)
    return {"bytes": size, "s": time.perf_counter() - began}


def sink(port: int) -> dict[str, object]:
    """Everything a plain socket sends, until it closes."""
    link = socket.create_connection(("127.0.0.1", port))
    scratch = bytearray(1 << 20)
    began, size = time.perf_counter(), 0
    while got := link.recv_into(scratch):
        size += got
    return {"bytes": size, "s": time.perf_counter() - began}


def main() -> int:
    what, port, *rest = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
    live = {"camera": rest[0] if rest else ""}
    done: dict[str, object]
    if what == "tcp":
        done = hold([tcp_viewer(port, Type.LIVE, live) for _ in range(int(rest[1]))])
    elif what == "ws":
        done = hold([ws_viewer(port, rest[0]) for _ in range(int(rest[1]))])
    elif what == "latency":
        done = latencies([tcp_viewer(port, Type.LIVE, live) for _ in range(int(rest[1]))])
    elif what == "pull":
        done = pull(port, rest[0], int(rest[1]), int(rest[2]))
    elif what == "client":
        done = asyncio.run(client(port, rest[0], int(rest[1]), int(rest[2])))
    else:
        done = sink(port)
    print(json.dumps(done), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
