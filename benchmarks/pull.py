"""B=pull: one camera's footage at full speed from page cache, beside a plain sendfile of the same files.

One camera is to leave at 500 MB/s or more. The footage is made by the database's writer, read once to warm the page
cache, then pulled by a raw socket (the server's own speed) and by recorderd.client; a child process sends the same
segment files with os.sendfile, as nginx would. Reader processes throw everything away. The server's
CPU is its own alone. Options: --mb 800 --rounds 3 --dir.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from benchmarks.report import cpu_s, publish, tree, verdict
from mediadb.fs import RealFs
from mediadb.locks import read_log
from tests.client.footage_rig import Recipe, S, record
from tests.e2e.harness import ROOT, Server, running, wait_until

_FPS, _GOP, _DELTA_BYTES = 25, 50, 18_868  # 20,000 a picture on average, keys four times a delta: 4 Mbit/s
_SECOND_BYTES = 500_000
_START_US = 1_790_000_000 * S
_SENDER = """
import os, resource, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
link, _ = listening.accept()
for name in sys.argv[1:]:
    fd = os.open(name, os.O_RDONLY)
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        at += os.sendfile(link.fileno(), fd, at, size - at)
link.close()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, flush=True)
"""


def prepare(server: Server, seconds: int) -> Recipe:
    """A server that knows the camera `gate` and holds `seconds` of its footage; its camera itself is away."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        server.add("gate", f"rtsp://127.0.0.1:{nobody.getsockname()[1]}/none")
    server.start()
    camera = uuid.UUID(server.cameras()["gate"]["id"])
    assert server.stop() == 0, server.log()
    log = next(path for path in (server.volume / "log" / "main").iterdir() if path.is_dir())
    identity, _ = read_log(RealFs(), log)
    assert identity is not None
    recipe = Recipe(camera, _START_US, seconds, _FPS, _GOP, _DELTA_BYTES, commit_s=1)
    record(server.volume, [recipe], identity.owner)
    return recipe


def reader(*words: object) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.viewers", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_server(server: Server, recipe: Recipe, how: str) -> tuple[float, float]:
    """(MB/s, CPU seconds of the server per GB)."""
    assert server.process is not None
    before = cpu_s(tree(server.process.pid))
    end_us = recipe.time_us(recipe.frames)
    found = reader(how, server.ports["stream"], "gate", recipe.start_us, end_us)
    used = cpu_s(tree(server.process.pid)) - before
    assert found["bytes"] >= recipe.seconds * _SECOND_BYTES * 0.98, f"only {found['bytes']} bytes came"
    return found["bytes"] / found["s"] / 1e6, used / found["bytes"] * 1e9


def by_sendfile(files: list[Path]) -> tuple[float, float]:
    """The same for a process that does nothing else."""
    sender = subprocess.Popen(
        [sys.executable, "-c", _SENDER, *map(str, files)], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert sender.stdout is not None
    found = reader("sink", int(sender.stdout.readline()))
    used = float(sender.stdout.readline()) - 0.02  # what an empty interpreter takes
    sender.wait()
    return found["bytes"] / found["s"] / 1e6, used / found["bytes"] * 1e9


def warm(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file, open(os.devnull, "wb") as nowhere:
            shutil.copyfileobj(file, nowhere, 1 << 20)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    seconds = args.mb * 1_000_000 // _SECOND_BYTES
    raw, ours, plain = [], [], []
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
        server = Server(Path(name), further=("stream",))
        with running(server):
            recipe = prepare(server, seconds)
            files = sorted(server.volume.rglob("*.rseg"))
            warm(files)
            server.start()
            wait_until(lambda: server.alive() and bool(server.cameras()), 60, server.log)
            for _ in range(args.rounds):
                raw.append(by_server(server, recipe, "pull"))
                ours.append(by_server(server, recipe, "client"))
                plain.append(by_sendfile(files))
            assert server.stop() == 0, server.log()
    speed, cost = (statistics.median(values) for values in zip(*raw, strict=True))
    own_speed, own_cost = (statistics.median(values) for values in zip(*ours, strict=True))
    plain_speed, plain_cost = (statistics.median(values) for values in zip(*plain, strict=True))
    rows = [
        ("  one camera at full speed, every CRC checked", f"{speed:.0f} MB/s", ">= 500 MB/s", verdict(speed >= 500)),
        ("19 server CPU", f"{cost:.2f} s/GB", "<= 0.6 s/GB", verdict(cost <= 0.6)),
        ("  sendfile of the same files", f"{plain_speed:.0f} MB/s", "", ""),
        ("  its CPU", f"{plain_cost:.2f} s/GB", "", ""),
        ("19 ratio of CPU to sendfile", f"{cost / plain_cost:.1f}", "<= 2.5", verdict(cost <= 2.5 * plain_cost)),
        ("  by recorderd.client", f"{own_speed:.0f} MB/s", "", ""),
        ("  server CPU then", f"{own_cost:.2f} s/GB", "", ""),
    ]
    publish("pull", rows, {
        "mb": args.mb, "rounds": args.rounds, "mb_s": speed, "cpu_s_per_gb": cost, "sendfile_mb_s": plain_speed,
        "sendfile_cpu_s_per_gb": plain_cost, "client_mb_s": own_speed, "client_cpu_s_per_gb": own_cost,
    })  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
