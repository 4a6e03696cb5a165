"""B=beside: the recorder of this working copy, and with the same cameras at the same time that of another working copy
or one `ffmpeg -c copy` process per camera, or both.

What a machine shared with others does to one of two runs in turn (a quarter, on the machine of the promises) it does
here to all: the figure is the ratio of their CPU in the same windows. Each round starts all anew, in turn as first.
Options: --other FOLDER (a clone of an older commit, after `make venv` there) --ffmpeg --cameras 50 --seconds 20
--windows 3 --rounds 4 --bitrate 4M --pacing 4.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.ingest import ffmpegs
from benchmarks.report import cpu_s, publish, tree, verdict
from tests.e2e.harness import ROOT, Farm, Server, running, wait_until

OURS, OTHER, FFMPEG = "this working copy", "the other one", "ffmpeg -c copy"
MOST = {OTHER: 1.05, FFMPEG: 0.3}  # what faults may cost the good path; promise 2


def one_round(folder: Path, order: list[str], args: argparse.Namespace) -> tuple[dict[str, list[float]], int]:
    """CPU ms per stream and second of each, one figure per window; and the pictures that the farm did not send because
    somebody did not take them: who is starved is cheap."""
    options = ["--bitrate", args.bitrate, "--pacing", str(args.pacing), "--size", "1920x1080", "--gop", "50"]
    farm = Farm(folder, args.cameras, options)
    with ExitStack() as stack:
        stack.enter_context(running(farm))
        farm.start()
        pids = {who: started(who, folder, farm, args, stack) for who in order}
        time.sleep(5)
        figures: dict[str, list[float]] = {who: [] for who in order}
        for _ in range(args.windows):
            began, before = time.monotonic(), {who: cpu_s(pids[who]) for who in order}
            time.sleep(args.seconds)
            streams_s = (time.monotonic() - began) * args.cameras
            for who in order:
                figures[who].append((cpu_s(pids[who]) - before[who]) * 1000 / streams_s)
    return figures, sum(line["dropped"] for line in farm.connections())


def started(who: str, folder: Path, farm: Farm, args: argparse.Namespace, stack: ExitStack) -> list[int]:
    """The processes of one of them, all cameras being recorded; `stack` ends them."""
    if who == FFMPEG:
        return stack.enter_context(ffmpegs(folder / "ffmpeg", farm, args.cameras))
    place = folder / ("ours" if who == OURS else "other")
    server = Server(place, tree=ROOT if who == OURS else args.other)
    for number in range(args.cameras):
        server.add(f"cam{number}", farm.url(number))
    stack.enter_context(running(server))
    server.start()
    wait_until(lambda: server.alive() and server.recording() == args.cameras, 120, server.log)
    assert server.process is not None
    return tree(server.process.pid)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=lambda path: Path(path).resolve(), default=None)
    parser.add_argument("--ffmpeg", action="store_true")
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--bitrate", default="4M")
    parser.add_argument("--pacing", type=int, default=4)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    everybody = [OURS, *([OTHER] if args.other else []), *([FFMPEG] if args.ffmpeg else [])]
    if len(everybody) == 1:
        parser.error("give --other FOLDER, --ffmpeg or both")
    if args.other and not (args.other / ".venv/bin/python").exists():
        parser.error(f"{args.other} has no .venv: run make venv there")
    figures: dict[str, list[float]] = {who: [] for who in everybody}
    dropped = 0
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
            found, untaken = one_round(Path(name), everybody if number % 2 else everybody[::-1], args)
        dropped += untaken
        for who in everybody:
            figures[who] += found[who]
        told = [f"{who}: " + ", ".join(f"{ratio:.3f}" for ratio in ratios(found, who)) for who in everybody[1:]]
        print(f"round {number + 1}, against " + "; ".join(told), flush=True)
    rows = [(f"{who}, ms per stream and second", f"{statistics.median(figures[who]):.2f}", "", "")
            for who in everybody]  # fmt: skip
    rows.append(("the farm's own drops (not 0: run invalid)", str(dropped), "0", verdict(dropped == 0)))
    reached = dropped == 0
    for who in everybody[1:]:
        all_of_them = ratios(figures, who)
        ratio, most = statistics.median(all_of_them), MOST[who]
        reached = reached and ratio <= most
        rows.append((f"ratio to {who}, median", f"{ratio:.3f}", f"<= {most}", verdict(ratio <= most)))
        rows.append(("  least and most", f"{min(all_of_them):.3f} {max(all_of_them):.3f}", "", ""))
    other = args.other.name if args.other else ""
    publish("beside", rows, {"other": other, "cameras": args.cameras, "figures": figures, "farm_dropped": dropped})
    return 0 if reached else 1


def ratios(figures: dict[str, list[float]], who: str) -> list[float]:
    """Our CPU against that of `who`, window by window."""
    return [a / b for a, b in zip(figures[OURS], figures[who], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
