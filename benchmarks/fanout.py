"""B=fanout: one live camera to many viewers: latency from the picture's own stamp, server CPU per viewer-second.

Promise 8: capture to subscriber p99 <= 50 ms on loopback; 1,000 TCP viewers of one camera <= 0.2 ms of server CPU per
viewer-second, WebSocket <= 0.35. The server records the camera meanwhile; what that costs without viewers is taken off.
Viewers are other processes. Options: --tcp 1000 --ws 200 --seconds 15 --bitrate 4M --dir.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import cpu_s, publish, tree, verdict
from tests.e2e.harness import ROOT, Farm, Server, running, wait_until

PROBES = 4  # viewers whose pictures are timed


class Viewers:
    """A process of viewers; `done` is what it printed at its end."""

    def __init__(self, *words: object) -> None:
        self.done: dict[str, Any] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.viewers", *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def end(self) -> None:
        out, _ = self._process.communicate("stop\n", timeout=60)
        self.done = json.loads(out)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def viewing(*groups: tuple[object, ...]) -> Iterator[list[Viewers]]:
    """All connected inside the block, their results there behind it."""
    made = [Viewers(*words) for words in groups]
    try:
        for one in made:
            one.ready()
        time.sleep(2)  # what they were sent to begin with is not live
        yield made
        for one in made:
            one.end()
    finally:
        for one in made:
            one.kill()


def window(server: Server, seconds: float) -> float:
    """CPU milliseconds of the server per second."""
    assert server.process is not None
    pid = server.process.pid
    began, used = time.monotonic(), cpu_s(tree(pid))
    time.sleep(seconds)
    return (cpu_s(tree(pid)) - used) * 1000 / (time.monotonic() - began)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    farm = Farm(folder, 1, ["--bitrate", args.bitrate, "--pacing", "4", "--size", "1920x1080", "--gop", "50"])
    server = Server(folder, further=("stream",))
    with running(server, farm):
        farm.start()
        server.add("gate", farm.url(0))
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 1, 60, server.log)
        time.sleep(3)
        stream, found = server.ports["stream"], {}
        found["recording_ms_s"] = window(server, args.seconds)
        with viewing(("latency", stream, "gate", PROBES)) as alone:
            found["few_ms_s"] = window(server, args.seconds)
        found["alone_ms"] = alone[0].done["ms"]
        with viewing(("tcp", stream, "gate", args.tcp), ("latency", stream, "gate", PROBES)) as many:
            found["tcp_ms_s"] = window(server, args.seconds)
        found["tcp_ended"], found["tcp_bytes"] = many[0].done["ended"], many[0].done["bytes"]
        found["many_ms"] = many[1].done["ms"]
        with viewing(("ws", server.port, "gate", args.ws)) as socks:
            found["ws_ms_s"] = window(server, args.seconds)
        assert socks[0].done["bytes"] > found["tcp_bytes"] / args.tcp * args.ws / 4, "the WebSockets were sent nothing"
        found["ws_ended"], found["ws_bytes"] = socks[0].done["ended"], socks[0].done["bytes"]
        assert server.stop() == 0, server.log()
        farm.stop()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tcp", type=int, default=1000)
    parser.add_argument("--ws", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--bitrate", default="4M")
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
        found = measure(Path(name), args)
    tcp = (found["tcp_ms_s"] - found["recording_ms_s"]) / (args.tcp + PROBES)
    ws = (found["ws_ms_s"] - found["recording_ms_s"]) / args.ws
    alone, many = found.pop("alone_ms"), found.pop("many_ms")
    ended = found["tcp_ended"] + found["ws_ended"]
    p99 = quantile(alone, 0.99)
    rows = [
        (f"8 capture to subscriber, p99, {PROBES} viewers", f"{p99:.1f} ms", "<= 50 ms", verdict(p99 <= 50)),
        ("  the same, median", f"{quantile(alone, 0.5):.1f} ms", "", ""),
        (f"  with {args.tcp} viewers, median", f"{quantile(many, 0.5):.1f} ms", "", ""),
        (f"  with {args.tcp} viewers, p99", f"{quantile(many, 0.99):.1f} ms", "", ""),
        (f"8 {args.tcp} TCP viewers, CPU ms per viewer-second", f"{tcp:.3f}", "<= 0.2", verdict(tcp <= 0.2)),
        (f"8 {args.ws} WebSocket viewers, the same", f"{ws:.3f}", "<= 0.35", verdict(ws <= 0.35)),
        ("  recording alone, CPU ms per second", f"{found['recording_ms_s']:.1f}", "", ""),
        ("  viewers that the server dropped", str(ended), "0", verdict(ended == 0)),
    ]  # fmt: skip
    publish("fanout", rows, {
        "tcp": args.tcp, "ws": args.ws, "seconds": args.seconds, "bitrate": args.bitrate, "tcp_ms_per_viewer_s": tcp,
        "ws_ms_per_viewer_s": ws, "latency_p50_ms": quantile(alone, 0.5), "latency_p99_ms": p99,
        "latency_many_p50_ms": quantile(many, 0.5), "latency_many_p99_ms": quantile(many, 0.99), **found,
    })  # fmt: skip
    return 0 if ended == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
