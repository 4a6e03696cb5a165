"""What every benchmark shares: the machine's facts, CPU and memory of a process tree, the result file and table.

Law: figures are compared as ratios inside one run; absolute milliseconds belong to the machine printed beside them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out"


def machine() -> dict[str, Any]:
    """Facts that a reader needs to place a figure."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown")  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for word in (task / "children").read_text().split():
            found += tree(int(word))
    return found


def cpu_s(pids: list[int]) -> float:
    """Seconds on a CPU of live processes, all their live threads, to the nanosecond: time in ticks (`stat`) favours
    whatever runs in step with the timer."""
    return (
        sum(
            int((task / "schedstat").read_text().split()[0])
            for pid in pids
            for task in Path(f"/proc/{pid}/task").iterdir()
        )
        / 1e9
    )


def rss_bytes(pids: list[int]) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)


def publish(name: str, rows: list[tuple[str, str, str, str]], data: dict[str, Any]) -> None:
    """Write out/NAME.json and print the table: what, figure, promised, verdict."""
    facts = machine()
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps({"machine": facts, **data}, indent=1) + "\n")
    print(f"\n{name} on {facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, {facts['commit']}")
    for what, figure, promised, verdict in [("what", "figure", "promised", ""), *rows]:
        print(f"  {what:46} {figure:>18} {promised:>18}  {verdict}")


def verdict(held: bool) -> str:
    return "reached" if held else "NOT REACHED"
