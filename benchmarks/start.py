"""B=start: how long after kill -9 the daemon records again, with a large catalog on the volume.

Promise 9: recording within 5 s whatever the catalog holds. The catalog names very many segments (`seek_volume`; files
real where sampled); a simulated camera is recorded by the real daemon, which is killed and started again. Recording
means a commit that is durable, by the server's own API. A volume with nothing on it is started by turns: the difference
is what the catalog costs. Options: --full (10^4 log segments x 1,000 tracks and 10^6 archive segments; else 10^3 and
10^3), --kills 3, --dir.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.report import publish, rss_bytes, tree, verdict
from benchmarks.seek_volume import LANE_US, STORAGE, Size, generate, prepare, slot_us
from tests.e2e.harness import Farm, Server, running, wait_until

PROMISED_S = 5.0
OWNER = "00000000-0000-0000-0000-000000000007"  # whose log `seek_volume` makes


class BenchServer(Server):
    """The daemon that owns the generated log."""

    def write_config(self) -> Path:
        path = super().write_config()
        text = path.read_text().replace("[server]\n", f'[server]\nid = "{OWNER}"\n', 1)
        path.write_text(text.replace('storage = "main"', f'storage = "{STORAGE}"'))
        return path


@dataclass(slots=True)
class Seen:
    """Seconds from the start of the process. `answers`: the API; `records`: the first durable commit of this run."""

    answers: list[float] = field(default_factory=list)
    records: list[float] = field(default_factory=list)
    rss_bytes: int = 0
    errors: list[str] = field(default_factory=list)


def committed_since(server: Server, since_s: float) -> bool:
    """Is something durable that was recorded after `since_s`?"""
    if not server.alive() or server.get("/healthz", raw=True) is None:
        return False
    last = server.cameras()["cam0"]["recording"]["last_committed"]
    return bool(last) and datetime.fromisoformat(last.replace("Z", "+00:00")).timestamp() > since_s


def one_start(server: Server, seen: Seen) -> None:
    """Start, wait until it records."""
    server.start(wait=False)
    begun = time.monotonic()
    began_s = server.started_s
    wait_until(lambda: server.alive() and server.get("/healthz", raw=True) is not None, 120, server.log)
    seen.answers.append(time.monotonic() - begun)
    wait_until(lambda: committed_since(server, began_s), 120, server.log)
    seen.records.append(time.monotonic() - begun)
    assert server.process is not None
    seen.rss_bytes = max(seen.rss_bytes, rss_bytes(tree(server.process.pid)))


def measure(folder: Path, volumes: dict[str, Path], kills: int) -> dict[str, Seen]:
    """Each volume is started, killed and started again, by turns."""
    seen = {name: Seen() for name in volumes}
    farm = Farm(folder, 1, ["--bitrate", "500k", "--gop", "25"])
    with running(farm):
        farm.start()
        for turn in range(kills + 1):
            for name, volume in volumes.items():
                (folder / name).mkdir(exist_ok=True)
                server = BenchServer(folder / name, main_storage=STORAGE, video=volume)
                server.add("cam0", farm.url(0))
                with running(server):
                    one_start(server, seen[name])
                    time.sleep(2)
                    if turn < kills:
                        server.kill()
                        continue
                    states = {item["name"]: item["state"] for item in server.get("/api/v1/storages")["items"]}
                    seen[name].errors += [f"{key}: {state}" for key, state in states.items() if state != "ok"]
                    assert server.stop() == 0, server.log()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the largest catalog promised")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--dir", default=None, help="a folder on the disk to measure")
    args = parser.parse_args()
    size = Size(10_000, 1_000_000, 1_000) if args.full else Size(1_000, 1_000, 1_000)
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
        folder = Path(name)
        begun = time.perf_counter()
        lane_end_us = slot_us(size.segments) // LANE_US * LANE_US
        real, _ = prepare(folder / "real", 2, [0, 500], lane_end_us)
        rows_count = generate(folder / "real", folder / "volume", real, size)
        generated_s = time.perf_counter() - begun
        catalog_bytes = (folder / "volume" / "catalog.db").stat().st_size
        both = measure(folder, {"large": folder / "volume", "none": folder / "empty"}, args.kills)
    seen, none = both["large"], both["none"]
    after_kill, without = seen.records[1:], none.records[1:]
    held = max(after_kill) <= PROMISED_S and not seen.errors
    costs = statistics.median(after_kill) - statistics.median(without)
    rows = [
        (f"-- {size.segments:,} segments x {size.tracks:,}, {size.lanes:,} lanes", f"{rows_count:,} rows", "", ""),
        ("9 records after kill -9, slowest", f"{max(after_kill):.1f} s", f"<= {PROMISED_S:.0f} s", verdict(held)),
        ("    the same without any footage, slowest", f"{max(without):.1f} s", "", ""),
        ("    what the catalog costs, by medians", f"{costs:.1f} s", "", ""),
        ("    the API answers, slowest", f"{max(seen.answers[1:]):.1f} s", "", ""),
        ("    first start on this volume", f"{seen.records[0]:.1f} s", "", ""),
        ("  memory of the daemon", f"{seen.rss_bytes / 2**20:.0f} MiB", "", ""),
        ("  catalog", f"{catalog_bytes / 2**20:,.0f} MiB", "", ""),
        ("  (generated in)", f"{generated_s:.0f} s", "", ""),
    ]
    publish("start", rows, {
        "segments": size.segments, "lanes": size.lanes, "tracks": size.tracks, "rows": rows_count,
        "catalog_bytes": catalog_bytes, "records_s": seen.records, "empty_records_s": none.records,
        "answers_s": seen.answers,
        "rss_bytes": seen.rss_bytes, "errors": seen.errors,
    })  # fmt: skip
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
