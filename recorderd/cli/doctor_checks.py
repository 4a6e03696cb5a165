"""What `recorderctl doctor` makes of the facts: findings, each with its fix.

Law: pure. Facts come in as values (`doctor_probe` reads the machine, the server answers the rest), so that every
finding can be tested without a sick machine. A fact that could not be had is a finding of its own, never silence.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DAY_S = 86_400.0
MIN_RATE_SECONDS = 60.0  # a rate over less than this says nothing
SYNC_SLOW_S, SYNC_SICK_S = 0.2, 1.0
HEADROOM = 2.0  # times the recording rate that a disk should write
LAG_LATE_S = 0.02
LOAD_HIGH = 0.7
CLOCK_ERROR_S = 0.5
GOOD_FILE_SYSTEMS = frozenset({"ext4", "xfs"})
BAD_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "overlay", "cifs", "smb3"})


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` is the next move; empty for what is well."""

    check: str
    subject: str
    level: Level
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The kernel's own opinion (adjtimex(2)): is the clock disciplined, and how far may it be off?"""

    synchronised: bool
    max_error_s: float


@dataclass(frozen=True, slots=True)
class MountFacts:
    """What holds a path: `volume` the UUID in its VOLUME file, '' without one."""

    file_system: str
    read_only: bool
    on_root: bool
    volume: str


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A short write test: sustained rate, and how long one MiB took to be durable."""

    bytes_per_s: float
    sync_median_s: float
    sync_max_s: float


def check_clock(facts: ClockFacts | None) -> Finding:
    if facts is None:
        return Finding("clock", "system", Level.UNCHECKED, "the kernel did not tell about the clock", "timedatectl")
    if not facts.synchronised:
        return Finding(
            "clock", "system", Level.WRONG, "the clock is not synchronised: times of footage cannot be relied on",
            "timedatectl set-ntp true, or install chrony",
        )  # fmt: skip
    if facts.max_error_s > CLOCK_ERROR_S:
        return Finding(
            "clock", "system", Level.WARNING, f"the clock may be off by {facts.max_error_s:.1f} s",
            "look at the time source: chronyc tracking, or timedatectl timesync-status",
        )  # fmt: skip
    return Finding("clock", "system", Level.OK, f"synchronised, at most {facts.max_error_s * 1000:.0f} ms off")


def check_mount(name: str, path: str, facts: MountFacts | None, state: str) -> Iterator[Finding]:
    """Is the right thing mounted there, and is it something to record to?"""
    if state == "missing":
        yield Finding("mount", name, Level.WRONG, f"{path}: the server does not find its volume there",
                      f"mount it and wait 10 s, or `mediadb init {path}` on a new disk")  # fmt: skip
    if facts is None:
        yield Finding("mount", name, Level.UNCHECKED, f"{path} cannot be looked at from here",
                      "run this on the server, as root or as the service's user")  # fmt: skip
        return
    if facts.read_only:
        yield Finding("mount", name, Level.WRONG, f"{path} is mounted read-only",
                      f"see `dmesg` for disk errors, then mount -o remount,rw {path}")  # fmt: skip
    if not facts.volume and state != "missing":
        yield Finding("mount", name, Level.WRONG, f"{path} has no VOLUME file", f"mediadb fsck {path}")
    if facts.file_system in BAD_FILE_SYSTEMS:
        yield Finding("mount", name, Level.WRONG, f"{path} is {facts.file_system}: what is synced there may be lost",
                      "record to ext4 or XFS")  # fmt: skip
    elif facts.file_system not in GOOD_FILE_SYSTEMS:
        yield Finding("mount", name, Level.WARNING, f"{path} is {facts.file_system}: not tried with power cuts",
                      "ext4 and XFS are")  # fmt: skip
    if facts.on_root:
        yield Finding("mount", name, Level.WARNING, f"{path} lies on the system's own disk: each can fill the other",
                      "give footage a file system of its own")  # fmt: skip
    if facts.volume and not facts.read_only and not facts.on_root and facts.file_system in GOOD_FILE_SYSTEMS:
        yield Finding("mount", name, Level.OK, f"{path} is {facts.file_system}, volume {facts.volume}")


def check_disk(name: str, facts: DiskFacts | None, needed_per_s: float, why_not: str = "") -> Finding:
    """Can the disk follow, and how long does a commit take?"""
    if facts is None:
        return Finding("disk", name, Level.UNCHECKED, f"no write test: {why_not or 'not asked for'}",
                       "run this on the server, as root or as the service's user")  # fmt: skip
    said = (
        f"{facts.bytes_per_s / 1e6:.0f} MB/s, a synced MiB takes {facts.sync_median_s * 1000:.1f} ms "
        f"(longest {facts.sync_max_s * 1000:.0f} ms); recording needs {needed_per_s / 1e6:.1f} MB/s"
    )
    if needed_per_s and facts.bytes_per_s < needed_per_s * HEADROOM:
        return Finding("disk", name, Level.WRONG, said, "fewer cameras on it, another storage, or a faster disk")
    if facts.sync_max_s > SYNC_SICK_S:
        return Finding("disk", name, Level.WRONG, said, "a disk this slow fails or is shared: smartctl -a, iostat -x 1")
    if facts.sync_max_s > SYNC_SLOW_S:
        return Finding("disk", name, Level.WARNING, said, "see who else writes there: iotop, iostat -x 1")
    return Finding("disk", name, Level.OK, said)


def check_space(name: str, stats: Mapping[str, Any], uptime_s: float) -> Finding:
    """When will the disk be full, and will retention be met?"""
    free, used, total = (int(stats.get(key, 0)) for key in ("free_bytes", "used_bytes", "total_bytes"))
    if not total or uptime_s < MIN_RATE_SECONDS:
        return Finding("space", name, Level.UNCHECKED, "the server has not run for long enough to tell",
                       "ask again in a minute")  # fmt: skip
    rate = int(stats.get("committed_bytes", 0)) / uptime_s
    if rate <= 0:
        return Finding("space", name, Level.OK, f"nothing is recorded there; {free / 1e9:.1f} GB free")
    quota, wanted_s = int(stats.get("quota_bytes", 0)), int(stats.get("retention_us", 0)) / 1e6
    room = min(used + free, quota) if quota else used + free
    holds_s = room / rate
    said = f"{free / 1e9:.1f} GB free at {rate / 1e6:.2f} MB/s: it holds {holds_s / DAY_S:.1f} days in all"
    if wanted_s and holds_s < wanted_s:
        return Finding(
            "space", name, Level.WRONG, f"{said}, but retention asks for {wanted_s / DAY_S:.1f}",
            "more room, lower bitrates, or a shorter retention: the oldest goes before its time",
        )  # fmt: skip
    full_s = free / rate
    if not wanted_s and not quota:
        return Finding(
            "space", name, Level.WARNING, f"{said}; full in {full_s / DAY_S:.1f} days, then the oldest goes",
            "set retention or max_size",
        )  # fmt: skip
    return Finding("space", name, Level.OK, said + (f"; retention {wanted_s / DAY_S:.1f} days" if wanted_s else ""))


def check_loop(figures: Mapping[str, float]) -> Finding:
    """Is the event loop on time?"""
    lag, load = figures.get("recorderd_loop_lag_p99_seconds"), figures.get("recorderd_loop_load")
    if lag is None or load is None:
        return Finding("loop", "server", Level.UNCHECKED, "the server gave no figures", "look at /metrics")
    said = f"lag p99 {lag * 1000:.0f} ms, load {load:.0%}, {figures.get('recorderd_loop_blocked_total', 0):.0f} blocks"
    if load > LOAD_HIGH:
        return Finding("loop", "server", Level.WRONG, said, "too many cameras for this core: use a second server")
    if lag > LAG_LATE_S:
        return Finding("loop", "server", Level.WARNING, said,
                       "the log's `loop-blocked` lines name who holds it up")  # fmt: skip
    return Finding("loop", "server", Level.OK, said)


def check_cameras(status: Mapping[str, Any]) -> Finding:
    cameras = status["cameras"]
    if cameras["not_recording"]:
        return Finding("cameras", "server", Level.WRONG, f"{cameras['not_recording']} should record and do not",
                       "recorderctl cameras, then recorderctl why CAMERA now")  # fmt: skip
    return Finding("cameras", "server", Level.OK, f"{cameras['recording']} of {cameras['total']} record")


def check_parts(parts: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Parts that are not ready; storages are told of by their own checks too."""
    for part in parts:
        if not part["ready"]:
            level = Level.WRONG if part["needed"] else Level.WARNING
            yield Finding("part", str(part["name"]), level, str(part["reason"]), "recorderctl status, and the log")
