"""B=playback: what recorded bytes cost on their way out, and how fast a file of a day begins.

Promise 19: <= 0.6 CPU-s/GB with every CRC checked, <= 2.5 x nginx sendfile (when nginx is installed; a loop of sendfile
in any case). "24 h virtual MP4": first byte <= 100 ms, memory flat. Footage is in the page cache; the CPU time is the
server process's, all threads, system calls included. Options: --hours 24, --megabytes 600, --rounds 5, --dir.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.http_server import OWNER, PATH, server, spec
from benchmarks.report import cpu_s, publish, rss_bytes, tree, verdict
from mediadb.types import TrackKind
from recorderd.core.timerange import format_time
from tests.long_footage import Film, S

START_US = 1_790_000_000 * S - 40 * 86_400 * S
FRAME_BYTES = 20_000  # 4 Mbit/s at 25 fps
FPS = 25


def film(volume: Path, seconds: int, padding: int) -> None:
    tracks = [spec(TrackKind.VIDEO), spec(TrackKind.AUDIO)]
    made = Film(volume, tracks, START_US, OWNER, fps=FPS, gop=2 * FPS, segment_s=300, padding=padding)
    made.seconds(seconds)
    made.stop()


def url(seconds: int, first: int = 0) -> str:
    start, end = START_US + first * S, START_US + (first + seconds) * S
    return f"{PATH}/media.mp4?start={format_time(start)}&end={format_time(end)}"


def fetch(port: int, path: str, most: int | None = None) -> tuple[int, float]:
    """(bytes received, seconds to the first one). Reads into one buffer; `most` bytes at most."""
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        begin = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        got = connection.recv_into(buffer)
        first = time.perf_counter() - begin
        assert buffer.startswith(b"HTTP/1.1 200"), bytes(buffer[:500])
        while most is None or got < most:
            count = connection.recv_into(buffer)
            if not count:
                break
            got += count
        return got, first


def cost(pid: int, port: int, path: str, clients: int) -> tuple[float, float]:
    """(CPU-s/GB of the server, MB/s of all clients together)."""
    got = [0] * clients

    def client(number: int) -> None:
        got[number] = fetch(port, path)[0]

    before, begin = cpu_s(tree(pid)), time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    return (cpu_s(tree(pid)) - before) / (sum(got) / 1e9), sum(got) / 1e6 / took


_SENDFILE = """
import os, socket, sys
ear = socket.create_server(("127.0.0.1", 0))
print(ear.getsockname()[1], flush=True)
file = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(file).st_size
while True:
    peer, _ = ear.accept()
    pid = os.fork()
    if pid == 0:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size)
        at = 0
        while at < size:
            at += os.sendfile(peer.fileno(), file, at, 1 << 20)
        peer.shutdown(socket.SHUT_WR)
        os.read(0, 1)
        os._exit(0)
    peer.close()
"""


@contextmanager
def sendfile_server(path: Path) -> Iterator[tuple[int, int]]:
    """The cheapest there is: a loop of sendfile. Its processes stay until their CPU time was read."""
    argv = [sys.executable, "-c", _SENDFILE, str(path)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def nginx_server(path: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """nginx with sendfile over the folder of `path`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log stderr; events {{}} http {{ access_log off;"
        f" sendfile on; sendfile_max_chunk 2m; server {{ listen 127.0.0.1:{port}; root {path.parent}; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.communicate()


def read_costs(folder: Path, megabytes: int) -> dict[str, tuple[float, float]]:
    """Ways out by name: (CPU-s/GB, MB/s)."""
    seconds = megabytes * 1_000_000 // (FRAME_BYTES * FPS)
    film(folder / "heavy", seconds, FRAME_BYTES)
    plain = folder / "plain.bin"
    with plain.open("wb") as file:
        for path in sorted((folder / "heavy").rglob("*.rseg")):
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
    found: dict[str, tuple[float, float]] = {}
    with server(folder / "heavy") as (port, pid):
        fetch(port, url(seconds))  # warm
        found["media.mp4, 1 client"] = cost(pid, port, url(seconds), 1)
        found["media.mp4, 4 clients"] = cost(pid, port, url(seconds), 4)
    with server_with_long_form(folder / "heavy") as (port, pid):
        fetch(port, url(seconds))
        found["media.mp4 long form, 1 client"] = cost(pid, port, url(seconds), 1)
        found["media.mp4 long form, 4 clients"] = cost(pid, port, url(seconds), 4)
    with sendfile_server(plain) as (port, pid):
        fetch(port, "/")
        found["sendfile loop, 1 client"] = cost(pid, port, "/", 1)
    if shutil.which("nginx"):
        with nginx_server(plain, folder) as (port, pid):
            fetch(port, f"/{plain.name}")
            found["nginx, 1 client"] = cost(pid, port, f"/{plain.name}", 1)
    return found


@contextmanager
def server_with_long_form(volume: Path) -> Iterator[tuple[int, int]]:
    """A server for which every file is a long one."""
    os.environ["BENCH_LONG_FORM"] = "1"
    try:
        with server(volume) as found:
            yield found
    finally:
        del os.environ["BENCH_LONG_FORM"]


def day(folder: Path, hours: int, rounds: int) -> dict[str, float]:
    """First byte of a long file, planned anew each time, and what the server's memory does."""
    seconds = hours * 3600
    begin = time.perf_counter()
    film(folder / "day", seconds, 0)
    made_s = time.perf_counter() - begin
    with server(folder / "day") as (port, pid):
        cold = fetch(port, url(seconds), 1)[1]
        before = rss_bytes([pid])
        firsts = [fetch(port, url(seconds - n, n), 1)[1] for n in range(1, rounds + 1)]
        planned = rss_bytes([pid])
        fetch(port, url(seconds - 1, 1))
        read = rss_bytes([pid])
        short = [fetch(port, url(2 * 3600, n), 1)[1] for n in range(rounds)]
    return {
        "made_s": made_s, "first_ms": sorted(firsts)[rounds // 2] * 1000, "worst_ms": max(firsts) * 1000,
        "cold_ms": cold * 1000, "two_hours_ms": sorted(short)[rounds // 2] * 1000,
        "plans_mib": (planned - before) / 2**20 / rounds, "reading_mib": (read - planned) / 2**20,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
        costs = read_costs(Path(name), args.megabytes)
        shutil.rmtree(Path(name) / "heavy")
        long = day(Path(name), args.hours, args.rounds)
    rows = []
    for what, (per_gb, rate) in costs.items():
        ours = what.startswith("media.mp4")
        rows.append((f"19 {what}: CPU-s/GB", f"{per_gb:.2f} ({rate:,.0f} MB/s)", "<= 0.6" if ours else "",
                     verdict(per_gb <= 0.6) if ours else ""))  # fmt: skip
    base = costs.get("nginx, 1 client", costs["sendfile loop, 1 client"])[0]
    name = "nginx" if "nginx, 1 client" in costs else "sendfile loop"
    ratio = costs["media.mp4, 1 client"][0] / base
    rows += [
        (f"19 media.mp4 against {name}", f"{ratio:.2f} x", "<= 2.5", verdict(ratio <= 2.5)),
        (f"{args.hours} h: first byte, median of {args.rounds} plans", f"{long['first_ms']:.0f} ms", "<= 100 ms",
         verdict(long["first_ms"] <= 100)),
        ("    worst; the first one ever", f"{long['worst_ms']:.0f}; {long['cold_ms']:.0f} ms", "", ""),
        ("    2 h, median", f"{long['two_hours_ms']:.0f} ms", "", ""),
        ("    memory a plan adds", f"{long['plans_mib']:.1f} MiB", "a few MB", verdict(long["plans_mib"] <= 8)),
        ("    memory reading all of it adds", f"{long['reading_mib']:.1f} MiB", "flat",
         verdict(long["reading_mib"] <= 64)),
        ("  (a day written in)", f"{long['made_s']:.0f} s", "", ""),
    ]  # fmt: skip
    publish("playback", rows, {"costs": costs, "day": long, "ratio": ratio, "against": name})
    return 0


if __name__ == "__main__":
    sys.exit(main())
