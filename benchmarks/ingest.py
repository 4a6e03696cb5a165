"""B=ingest: record cameras with recorderd, then the same cameras with one `ffmpeg -c copy` process each; compare CPU.

Promises 1 (nothing lost), 2 (cheap), 4 (small). Farm, recorder and ffmpeg run on this machine; the farm's CPU is left
out. The two run in turn; `B=beside` runs them at once.
Options: --cameras 200 --seconds 60 --bitrate 4M --pacing 4 --ffmpeg N (default: as many as cameras) --rounds 1.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import cpu_s, publish, rss_bytes, tree, verdict
from mediadb.read.reader import Reader
from tests.e2e.harness import PASSWORD, Farm, Server, marker, running, wait_until


@dataclass(slots=True)
class Recorder:
    """One window of recorderd."""

    ms_per_stream_second: float
    rss_per_camera: float
    lag_p99_ms: float
    sent: int
    lost: int
    farm_dropped: int


def record(folder: Path, farm: Farm, args: argparse.Namespace) -> Recorder:
    server = Server(folder)
    for number in range(args.cameras):
        server.add(f"cam{number}", farm.url(number))
    with running(server):
        server.start()
        assert server.process is not None
        pid = server.process.pid
        before = rss_bytes(tree(pid))
        wait_until(lambda: server.alive() and server.recording() == args.cameras, 120, server.log)
        time.sleep(5)
        start, start_cpu = time.monotonic(), cpu_s(tree(pid))
        time.sleep(args.seconds)
        elapsed, used = time.monotonic() - start, cpu_s(tree(pid)) - start_cpu
        grown = rss_bytes(tree(pid)) - before
        lag = loop_lag_ms(server.port)
        farm.stop()  # first: what it sent is then all on its way
        time.sleep(2)
        assert server.stop() == 0, server.log()
    sent = lost = dropped = 0
    reader = Reader.open_offline(server.volume, "main", lambda: time.time_ns() // 1000)
    for number in range(args.cameras):
        wanted = set()
        for line in farm.connections(number):
            wanted |= {(number, n) for n in range(line["first"], line["last"] + 1)} if line["sent"] else set()
            dropped += line["dropped"]
        sent += len(wanted)
        lost += len(wanted - kept_frames(reader, f"cam{number}"))
    return Recorder(used * 1000 / elapsed / args.cameras, grown / args.cameras, lag, sent, lost, dropped)


def kept_frames(reader: Reader, camera: str) -> set[tuple[int, int]]:
    """(camera number, frame number) of what is stored, by the markers in the pictures; many gigabytes: read by the
    database's own reader."""
    tracks = [info.spec.track for info in reader.tracks() if info.names.camera == camera]
    samples = (one for track in tracks for ref in reader.chunks(track, 0, 2**62) for one in reader.read(ref).samples)
    return {found for one in samples if (found := marker(one.data)) is not None}


def loop_lag_ms(port: int) -> float:
    """The daemon's own loop lag p99 from /metrics, in ms; NaN when it tells none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("recorderd_loop_lag_p99_seconds "):
                return float(line.rsplit(" ", 1)[1]) * 1000
    return float("nan")


@contextmanager
def ffmpegs(folder: Path, farm: Farm, count: int) -> Iterator[list[int]]:
    """One `ffmpeg -c copy` process for each of so many cameras; gives their process ids when all of them record."""
    folder.mkdir()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            url = farm.url(number).replace("//", f"//admin:{PASSWORD}@")
            processes.append(subprocess.Popen(
                ["ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy",
                 "-f", "segment", "-segment_time", "60", str(folder / f"{number}-%03d.mp4")],
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ))  # fmt: skip
            time.sleep(0.05)
        time.sleep(8)
        alive = [process.pid for process in processes if process.poll() is None]
        assert len(alive) == count, f"only {len(alive)} ffmpeg processes record"
        yield alive
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def ffmpeg(folder: Path, farm: Farm, args: argparse.Namespace) -> float:
    """ms of CPU per stream and second of one ffmpeg process per camera."""
    with ffmpegs(folder, farm, args.ffmpeg) as alive:
        start, start_cpu = time.monotonic(), cpu_s(alive)
        time.sleep(args.seconds)
        per_second: float = (cpu_s(alive) - start_cpu) * 1000 / (time.monotonic() - start) / args.ffmpeg
        return per_second


def one_round(args: argparse.Namespace) -> tuple[Recorder, float]:
    options = ["--bitrate", args.bitrate, "--pacing", str(args.pacing), "--size", "1920x1080", "--gop", "50"]
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as name:
        folder = Path(name)
        farm = Farm(folder, args.cameras, options)
        with running(farm):
            farm.start()
            recorder = record(folder, farm, args)
            (folder / "farm.jsonl").unlink()
            farm.start()
            other = ffmpeg(folder / "ffmpeg", farm, args) if args.ffmpeg else float("nan")
            farm.process.kill() if farm.process else None
    return recorder, other


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bitrate", default="4M")
    parser.add_argument("--pacing", type=int, default=4)
    parser.add_argument("--ffmpeg", type=int, default=-1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dir", default=None, help="where footage goes; needs cameras x seconds x 1 MB")
    args = parser.parse_args()
    args.ffmpeg = args.cameras if args.ffmpeg < 0 else args.ffmpeg
    rounds = [one_round(args) for _ in range(args.rounds)]
    ours = statistics.median(r.ms_per_stream_second for r, _ in rounds)
    theirs = statistics.median(other for _, other in rounds)
    lost, sent = sum(r.lost for r, _ in rounds), sum(r.sent for r, _ in rounds)
    dropped = sum(r.farm_dropped for r, _ in rounds)
    memory = statistics.median(r.rss_per_camera for r, _ in rounds)
    lag = statistics.median(r.lag_p99_ms for r, _ in rounds)
    bits = float(args.bitrate.rstrip("Mk")) * (1e6 if args.bitrate.endswith("M") else 1e3)
    allowed = (5 + 2.5) * bits / 8 + 256 * 1024  # 5 s of prebuffer and 2.5 s of its bitrate
    rows = [
        ("1 frames lost of those sent", f"{lost} of {sent}", "0", verdict(lost == 0 and sent > 0)),
        ("  farm's own drops (not 0: run invalid)", str(dropped), "0", verdict(dropped == 0)),
        ("2 recorderd, CPU ms per stream and second", f"{ours:.2f}", "<= 1.0", verdict(ours <= 1.0)),
        (f"  ffmpeg -c copy, same farm, {args.ffmpeg} processes", f"{theirs:.2f}", "", ""),
        ("2 ratio recorderd / ffmpeg", f"{ours / theirs:.2f}", "<= 0.3", verdict(ours <= 0.3 * theirs)),
        ("4 memory per camera, prebuffer included", f"{memory / 2**20:.2f} MiB", f"<= {allowed / 2**20:.2f} MiB",
         verdict(memory <= allowed)),
        ("  loop lag p99", f"{lag:.1f} ms", "< 20 ms", verdict(lag < 20)),
    ]  # fmt: skip
    publish("ingest", rows, {
        "cameras": args.cameras, "seconds": args.seconds, "bitrate": args.bitrate, "pacing": args.pacing,
        "ffmpeg_processes": args.ffmpeg, "ms_per_stream_second": ours, "ffmpeg_ms_per_stream_second": theirs,
        "lost": lost, "sent": sent, "farm_dropped": dropped, "rss_per_camera_bytes": memory, "lag_p99_ms": lag,
    })  # fmt: skip
    return 0 if lost == 0 and dropped == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
