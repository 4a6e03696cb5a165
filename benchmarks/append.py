"""B=append: the media database alone at a steady rate, against SHA-256 alone over the same bytes in the same run.

Promise 5: framing, CRC, SHA-256, write and one sync a second cost at most 15 % of one core at 100 MB/s. Samples of
20 kB (4 Mbit/s at 25 fps) for as many tracks as the rate needs, a keyframe of 80 kB every 2 s.
Options: --rate 100 (MB/s) --seconds 20 --dir.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import resource
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.report import publish, verdict
from mediadb.aio import AsyncStore
from mediadb.types import KeyType, Names, Sample, TrackConfig, TrackKind, TrackSpec
from mediadb.write.store import StoreOptions
from recorderd.aio.system_clock import SystemClock

FPS = 25
GOP = 50
KEY_BYTES, DELTA_BYTES = 80_000, 18_775  # 20,000 on average


class Listener:
    """Keeps how long each commit took."""

    def __init__(self) -> None:
        self.commits_us: list[int] = []
        self.troubles: list[str] = []

    def committed(self, info: object) -> None:
        self.commits_us.append(info.duration_us)  # type: ignore[attr-defined]

    def shed(self, *what: object) -> None:
        self.troubles.append(f"shed {what}")

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.troubles.append(f"{code} {params}")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def append(folder: Path, rate: int, seconds: int) -> tuple[float, list[int]]:
    """CPU seconds per second of wall time at `rate` bytes per second, feeding included; commit durations."""
    clock, listener = SystemClock(), Listener()
    options = StoreOptions(create=True)
    store = await AsyncStore.open(folder, "bench", server=uuid.uuid4(), clock=clock, options=options, listener=listener)
    tracks = rate // (20_000 * FPS)
    writers = []
    for _ in range(tracks):
        spec = TrackSpec(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), TrackKind.VIDEO)
        writer = store.track(spec, Names("bench", "bench"))
        writer.config(TrackConfig("h264", 90_000, b"\x00\x00\x00\x08avc1", frame_ticks=3600))
        writers.append(writer)
    key, delta = os.urandom(KEY_BYTES), os.urandom(DELTA_BYTES)
    start, start_cpu = time.monotonic(), cpu_s()
    for n in range(seconds * FPS):
        now = clock.utc_us()
        for place, writer in enumerate(writers):
            is_key = (n + place) % GOP == 0 or n == 0
            # a bytes object of its own per sample, as the network would give
            data = (key if is_key else delta)[:-8] + n.to_bytes(8, "big")
            writer.append(Sample(data, n * 3600, n * 3600, KeyType.IDR if is_key else KeyType.DELTA, now))
        await asyncio.sleep(max(0.0, start + (n + 1) / FPS - time.monotonic()))
    used, elapsed = cpu_s() - start_cpu, time.monotonic() - start
    left = await store.close()
    assert not left, left
    assert not listener.troubles, listener.troubles
    return used / elapsed, listener.commits_us


def hash_alone(rate: int) -> float:
    """CPU seconds to SHA-256 one second's worth of the same samples."""
    data = os.urandom(20_000)
    start = time.process_time()
    for _ in range(rate // 20_000):
        hashlib.sha256(data).digest()
    return time.process_time() - start


def copy_alone(rate: int) -> float:
    """CPU seconds the feeding itself costs: making one `bytes` per sample."""
    data = os.urandom(20_000)
    start = time.process_time()
    kept = [data[:-8] + n.to_bytes(8, "big") for n in range(rate // 20_000)]
    return time.process_time() - start if kept else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=100, help="MB/s")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    rate = args.rate * 1_000_000
    shares, hashes, copies, commits = [], [], [], []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as folder:
            share, durations = asyncio.run(append(Path(folder), rate, args.seconds))
        shares.append(share)
        commits += durations
        hashes.append(hash_alone(rate))
        copies.append(copy_alone(rate))
    share, alone, copy = statistics.median(shares), statistics.median(hashes), statistics.median(copies)
    net = share - copy
    p99 = sorted(commits)[len(commits) * 99 // 100] / 1000
    rows = [
        (f"5 core share at {args.rate} MB/s, feeding left out", f"{net:.1%}", "<= 15 %", verdict(net <= 0.15)),
        ("  SHA-256 alone over the same bytes", f"{alone:.1%}", "", ""),
        ("  ratio database / SHA-256 alone", f"{net / alone:.2f}", "", ""),
        ("  making the test's samples (left out)", f"{copy:.1%}", "", ""),
        ("  commit p99", f"{p99:.0f} ms", "", ""),
    ]
    publish("append", rows, {
        "rate_mb_s": args.rate, "core_share": net, "sha256_share": alone, "feed_share": copy, "commit_p99_ms": p99,
        "rounds": shares,
    })  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
