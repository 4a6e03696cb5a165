"""B=beside: the recorder of this working copy and that of another one, at the same time, with the same cameras.

What a machine shared with others does to one of two runs in turn (a quarter, on the machine of the promises) it does
here to both: the figure is the ratio of their CPU in the same windows. Each round starts both anew, in turn as first.
Options: --other FOLDER (a clone of an older commit, after `make venv` there) --cameras 50 --seconds 20 --windows 3
--rounds 4 --bitrate 4M --pacing 4.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import cpu_s, publish, tree, verdict
from tests.e2e.harness import ROOT, Farm, Server, running, wait_until

MOST = 1.05  # what faults may cost the good path


def one_round(folder: Path, order: list[Path], args: argparse.Namespace) -> dict[Path, list[float]]:
    """CPU ms per stream and second of each working copy, one figure per window."""
    options = ["--bitrate", args.bitrate, "--pacing", str(args.pacing), "--size", "1920x1080", "--gop", "50"]
    farm = Farm(folder, args.cameras, options)
    with ExitStack() as stack:
        stack.enter_context(running(farm))
        farm.start()
        servers: dict[Path, Server] = {}
        for copy in order:
            server = servers[copy] = Server(folder / f"server{len(servers)}", tree=copy)
            for number in range(args.cameras):
                server.add(f"cam{number}", farm.url(number))
            stack.enter_context(running(server))
            server.start()
            wait_until(lambda one=server: one.alive() and one.recording() == args.cameras, 120, server.log)
        time.sleep(5)
        pids = {copy: tree(server.process.pid) for copy, server in servers.items() if server.process is not None}
        figures: dict[Path, list[float]] = {copy: [] for copy in order}
        for _ in range(args.windows):
            began, before = time.monotonic(), {copy: cpu_s(pids[copy]) for copy in order}
            time.sleep(args.seconds)
            streams_s = (time.monotonic() - began) * args.cameras
            for copy in order:
                figures[copy].append((cpu_s(pids[copy]) - before[copy]) * 1000 / streams_s)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--bitrate", default="4M")
    parser.add_argument("--pacing", type=int, default=4)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    other = args.other.resolve()
    if not (other / ".venv/bin/python").exists():
        parser.error(f"{other} has no .venv: run make venv there")
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
            found = one_round(Path(name), [ROOT, other] if number % 2 else [other, ROOT], args)
        ours += found[ROOT]
        theirs += found[other]
        ratios = [a / b for a, b in zip(found[ROOT], found[other], strict=True)]
        print(f"round {number + 1}: " + ", ".join(f"{ratio:.3f}" for ratio in ratios), flush=True)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    rows = [
        ("this working copy, CPU ms per stream and second", f"{statistics.median(ours):.2f}", "", ""),
        ("the other one", f"{statistics.median(theirs):.2f}", "", ""),
        ("ratio, median of all windows", f"{ratio:.3f}", f"<= {MOST}", verdict(ratio <= MOST)),
        ("  least and most", f"{min(ratios):.3f} {max(ratios):.3f}", "", ""),
    ]
    publish("beside", rows, {"other": str(other.name), "cameras": args.cameras, "ours": ours, "theirs": theirs})
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
