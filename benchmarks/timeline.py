"""B=timeline: 30 days of one camera, asked of the reader and through the HTTP route.

Promise 7: p95 <= 50 ms. The catalog is that of B=seek (thousands of segments of many cameras, a few of them real); the
first question of a camera, whose days have to be merged, is shown apart. Options: --segments 10000, --tracks 200,
--rounds 100, --dir.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.http_server import PATH, server
from benchmarks.report import publish, verdict
from benchmarks.seek_volume import END_US, LANE_US, STORAGE, Real, S, Size, generate, prepare, slot_us
from mediadb.read.reader import Reader
from recorderd.core.timerange import format_time

DAYS_US = 30 * 86_400 * S


def later() -> int:
    """A clock at which folders made just now have come to rest."""
    return int(time.time() * S) + 3600 * S


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each call, sorted."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        found.append((time.perf_counter() - begin) * 1000)
    return sorted(found)


def p95(values: list[float]) -> float:
    return values[min(len(values) - 1, int(len(values) * 0.95))]


def from_reader(volume: Path, real: Real, rounds: int) -> dict[str, list[float]]:
    reader = Reader(volume, STORAGE, later)
    reader.refresh()
    track, start = real.tracks[0].track, END_US - DAYS_US
    first = timed(lambda: reader.spans(track, start, END_US), 1)
    found = {
        "reader, first question": first,
        "reader, timeline": timed(lambda: reader.spans(track, start, END_US), rounds),
        "reader, coverage": timed(lambda: reader.coverage([track], start, END_US), rounds // 4),
    }
    reader.close()
    return found


def from_http(volume: Path, real: Real, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    span = f"start={format_time(END_US - DAYS_US)}&end={format_time(END_US)}"
    with server(volume, STORAGE, real.tracks[0].track) as (port, _):
        line = http.client.HTTPConnection("127.0.0.1", port)

        def ask(path: str) -> bytes:
            line.request("GET", f"{PATH}/{path}&{span}")
            answer = line.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            assert body.count(b'Z"') > 3, body[:500]  # beside the range itself
            return body

        for name, path in {
            "HTTP, timeline": "timeline?resolution=0",
            "HTTP, timeline by the minute": "timeline?resolution=60s",
            "HTTP, coverage": "coverage?",
        }.items():
            ask(path)
            found[name] = timed(lambda path=path: ask(path), rounds)  # type: ignore[misc]
        line.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as folder:
        size = Size(args.segments, 1_000, args.tracks)
        slots = [0, *random.Random(1).sample(range(1, args.segments), 3)]
        lane_end_us = slot_us(args.segments) // LANE_US * LANE_US
        real, _ = prepare(Path(folder) / "real", 2, slots, lane_end_us)
        volume = Path(folder) / "volume"
        parts = generate(Path(folder) / "real", volume, real, size)
        found = from_reader(volume, real, args.rounds) | from_http(volume, real, args.rounds)
    rows = [(f"-- {args.segments:,} segments x {args.tracks:,} cameras", f"{parts:,} rows", "", "")]
    for name, values in found.items():
        promised = "question" not in name
        rows.append((f"7 {name}, p95", f"{p95(values):.1f} ms", "<= 50 ms" if promised else "",
                     verdict(p95(values) <= 50) if promised else ""))  # fmt: skip
        rows.append(("    median, most", f"{values[len(values) // 2]:.1f}, {values[-1]:.1f} ms", "", ""))
    publish("timeline", rows, {"segments": args.segments, "tracks": args.tracks, "parts": parts, "ms": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
