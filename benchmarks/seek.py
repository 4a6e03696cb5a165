"""B=seek: time -> first keyframe bytes with a cold disk and a large catalog; the timeline of 30 days beside it.

Promise 6: at most 2 preads and p95 <= 20 ms with 10^4 log segments of 1,000 tracks and 10^6 archive segments, flat
from 10^3. Promise 7: 30 days of one camera p95 <= 50 ms. Segments that are sampled are real, written by the writer of
the product and dropped from the page cache before each seek; the others are rows of the catalog (`seek_volume`).
Every answer is compared with the bytes that were recorded. Options: --quick, --rounds 3, --dir.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.report import publish, verdict
from benchmarks.seek_volume import (
    END_US,
    GOP_US,
    KEY_BYTES,
    LANE_KEY_BYTES,
    LANE_US,
    LAST_US,
    SEGMENT_US,
    STORAGE,
    Real,
    S,
    Size,
    generate,
    key_payload,
    lane_us,
    prepare,
    slot_us,
)
from mediadb.catalog import SegmentRow
from mediadb.format.footer import TrackSummary
from mediadb.fs import RealFs
from mediadb.read.reader import Reader
from mediadb.types import Names, TrackSpec

DAYS_US = 30 * 86_400 * S


class CountingFs(RealFs):
    """Counts reads, and drops every file it opened from the page cache on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.preads = self.read_bytes = 0

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self.preads += 1
        data = super().pread(fd, length, offset)
        self.read_bytes += len(data)
        return data


@dataclass(slots=True)
class Seen:
    """What was measured at one size. Times in ms."""

    rows: int = 0
    catalog_bytes: int = 0
    generate_s: float = 0.0
    open_ms: list[float] = field(default_factory=list)
    seek_ms: dict[str, list[float]] = field(default_factory=lambda: {"log": [], "archive": [], "all cold": []})
    preads: list[int] = field(default_factory=list)
    read_bytes: int = 0
    disk_bytes: dict[str, int] = field(default_factory=lambda: {"log": 0, "archive": 0, "all cold": 0})
    timeline_first_ms: list[float] = field(default_factory=list)
    timeline_ms: list[float] = field(default_factory=list)
    coverage_ms: list[float] = field(default_factory=list)
    seal_ms: list[float] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def drop(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def disk_bytes() -> int:
    """What this process fetched from block devices: proof that the pages were not in the cache."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def queries(real: Real, kind: str, rng: random.Random) -> Iterator[tuple[TrackSpec, int, int]]:
    """(track, time, bytes of its keyframe): each real part once, at a random instant, in random order."""
    log = [(spec, slot_us(slot), SEGMENT_US, KEY_BYTES) for spec in real.tracks for slot in real.slots]
    lanes = [
        (spec, lane_us(real, number), LANE_US, LANE_KEY_BYTES) for spec in real.tracks for number in range(real.lanes)
    ]
    chosen = lanes if kind == "archive" else log
    rng.shuffle(chosen)
    for spec, start, length, size in chosen:
        yield spec, start + rng.randrange(length), size


def seek(reader: Reader, spec: TrackSpec, time_us: int, size: int) -> None:
    """What a player asks for first, byte for byte."""
    key = reader.locate_key(spec.track, time_us)
    assert key is not None
    assert key.recv_us == time_us - time_us % GOP_US, (key.recv_us, time_us)
    assert reader.read(key).samples[0].data == key_payload(spec.track, key.recv_us, size)


def measure(volume: Path, real: Real, rng: random.Random, seen: Seen) -> None:
    """One round: every real part once, from a freshly opened reader for each kind of seek."""
    files = list(volume.rglob("*.rseg"))
    for kind, figures in seen.seek_ms.items():
        fs = CountingFs()
        reader = Reader(volume, STORAGE, later, fs=fs)
        seen.open_ms.append(timed(reader.refresh))
        for spec, at, length in queries(real, kind, rng):
            for path in files:
                drop(path)
            if kind == "all cold":
                drop(volume / "catalog.db")
            before = fs.preads, fs.read_bytes, disk_bytes()
            figures.append(timed(partial(seek, reader, spec, at, length)))
            seen.preads.append(fs.preads - before[0])
            seen.read_bytes += fs.read_bytes - before[1]
            seen.disk_bytes[kind] += disk_bytes() - before[2]
        reader.close()


def later() -> int:
    """A clock at which folders made just now have come to rest."""
    return int(time.time() * S) + 3600 * S


def timeline(volume: Path, real: Real, size: Size, seen: Seen) -> None:
    """30 days of one camera: the first time, then again and again; and what entering a sealed segment costs."""
    reader = Reader(volume, STORAGE, later)
    reader.refresh()
    for spec in real.tracks:
        ask = partial(reader.spans, spec.track, END_US - DAYS_US, END_US)
        seen.timeline_first_ms.append(timed(ask))
        seen.timeline_ms += [timed(ask) for _ in range(10)]
        why = partial(reader.coverage, [spec.track], END_US - DAYS_US, END_US)
        seen.coverage_ms += [timed(why) for _ in range(5)]
    catalog = reader.index._catalog
    for n in range(5):
        first = LAST_US + n * SEGMENT_US
        parts = [(row.spec, Names("bench"), _summary(row.spec, first), None) for row in catalog.tracks()[: size.tracks]]
        name = f"log/{STORAGE}/new/2030-01-01/{n:06d}"
        segment = SegmentRow(name, 1, real.tracks[0].track, 1, 0)
        seen.seal_ms.append(timed(partial(catalog.add, segment, parts)))
    reader.close()


def _summary(spec: TrackSpec, first_us: int) -> TrackSummary:
    return TrackSummary(
        track=spec.track, kind=1, media_count=450, notes_count=0, config_count=1, first_us=first_us,
        end_us=first_us + SEGMENT_US, first_seq=1, next_seq=451, samples=600, stored_bytes=1, lost_packets=0,
        damaged_count=0, index_offset=0, index_len=0, index_crc=0,
    )  # fmt: skip


def rows_of(size: Size, seen: Seen, small: Seen | None) -> list[tuple[str, str, str, str]]:
    """The table of one size; `small` is the smallest size of the run."""
    p95 = {kind: percentile(values, 0.95) for kind, values in seen.seek_ms.items()}
    most = max(seen.preads)
    rows = [
        (f"-- {size.segments:,} segments x {size.tracks:,}, {size.lanes:,} lanes", f"{seen.rows:,} rows", "", ""),
        ("6 preads per seek, most", f"{most}", "<= 2", verdict(most <= 2)),
    ]
    rows.append(("    asked for per seek", f"{seen.read_bytes / len(seen.preads) / 1024:.0f} KiB", "", ""))
    for kind, label in (("log", "log"), ("archive", "archive"), ("all cold", "log, catalog.db cold too")):
        p50 = percentile(seen.seek_ms[kind], 0.5)
        rows.append((f"6 seek p95, cold, {label}", f"{p95[kind]:.1f} ms", "<= 20 ms", verdict(p95[kind] <= 20)))
        fetched = seen.disk_bytes[kind] / len(seen.seek_ms[kind]) / 1024
        rows.append(
            (f"    p50, most; {fetched:.0f} KiB from the disk", f"{p50:.1f}, {max(seen.seek_ms[kind]):.1f} ms", "", "")
        )
    if small is not None:
        for kind, label in (("log", "log"), ("archive", "archive")):
            ratio = percentile(seen.seek_ms[kind], 0.5) / percentile(small.seek_ms[kind], 0.5)
            tail = p95[kind] / percentile(small.seek_ms[kind], 0.95)
            rows.append(
                (f"6 flat, {label}: median, smaller catalog = 1", f"{ratio:.2f}", "<= 1.5", verdict(ratio <= 1.5))
            )
            rows.append(("    p95", f"{tail:.2f}", "", ""))
    p95_days = percentile(seen.timeline_ms, 0.95)
    p95_coverage = percentile(seen.coverage_ms, 0.95)
    return [
        *rows,
        ("7 timeline of 30 days p95", f"{p95_days:.1f} ms", "<= 50 ms", verdict(p95_days <= 50)),
        ("7 coverage of 30 days p95", f"{p95_coverage:.1f} ms", "<= 50 ms", verdict(p95_coverage <= 50)),
        ("    the first time, days not merged yet", f"{percentile(seen.timeline_first_ms, 0.5):.0f} ms", "", ""),
        ("  catalog", f"{seen.catalog_bytes / 2**20:,.0f} MiB", "", ""),
        ("  open, one day folder changed", f"{percentile(seen.open_ms, 0.5):.0f} ms", "", ""),
        ("  enter a sealed segment", f"{percentile(seen.seal_ms, 0.5):.0f} ms", "", ""),
        ("  (generated in)", f"{seen.generate_s:.0f} s", "", ""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller catalogs, fewer real files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="a folder on the disk to measure")
    args = parser.parse_args()
    sizes = [Size(1_000, 1_000, 1_000), Size(10_000, 1_000_000, 1_000)]
    tracks, slots = 8, 12
    if args.quick:
        sizes, tracks, slots = [Size(1_000, 1_000, 200), Size(10_000, 20_000, 200)], 4, 6
    result = [Seen() for _ in sizes]
    with tempfile.TemporaryDirectory(prefix="recorderd-bench-", dir=args.dir) as folder:
        rng = random.Random(1)
        chosen = [0, *rng.sample(range(1, sizes[0].segments), slots - 1)]
        lane_end_us = slot_us(max(size.segments for size in sizes)) // LANE_US * LANE_US
        source = Path(folder) / "real"
        real, worked_ms = prepare(source, tracks, chosen, lane_end_us)
        volumes = [Path(folder) / f"volume-{n}" for n in range(len(sizes))]
        for volume, size, seen in zip(volumes, sizes, result, strict=True):
            start = time.perf_counter()
            seen.rows = generate(source, volume, real, size)
            seen.generate_s = time.perf_counter() - start
            seen.catalog_bytes = (volume / "catalog.db").stat().st_size
        for _ in range(args.rounds):  # by turns, so that both meet the same neighbours on the machine
            for volume, seen in zip(volumes, result, strict=True):
                measure(volume, real, rng, seen)
        for volume, size, seen in zip(volumes, sizes, result, strict=True):
            timeline(volume, real, size, seen)
    rows = rows_of(sizes[0], result[0], None) + rows_of(sizes[1], result[1], result[0])
    rows.append(("  work out the spans of a camera's segment", f"{percentile(worked_ms, 0.5):.1f} ms", "", ""))
    publish("seek", rows, {
        "work_out_spans_ms": percentile(worked_ms, 0.5),
        "sizes": [
            {
                "segments": size.segments, "lanes": size.lanes, "tracks": size.tracks, "rows": seen.rows,
                "catalog_bytes": seen.catalog_bytes, "preads_most": max(seen.preads),
                "read_bytes_per_seek": seen.read_bytes // len(seen.preads),
                "disk_bytes_per_seek": {kind: seen.disk_bytes[kind] // len(v) for kind, v in seen.seek_ms.items()},
                "seek_p50_ms": {kind: percentile(v, 0.5) for kind, v in seen.seek_ms.items()},
                "seek_p95_ms": {kind: percentile(v, 0.95) for kind, v in seen.seek_ms.items()},
                "timeline_p95_ms": percentile(seen.timeline_ms, 0.95),
                "coverage_p95_ms": percentile(seen.coverage_ms, 0.95),
                "open_ms": percentile(seen.open_ms, 0.5), "enter_segment_ms": percentile(seen.seal_ms, 0.5),
            }
            for size, seen in zip(sizes, result, strict=True)
        ],
    })  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
