"""A second machine made of a network namespace: another address, reachable by one virtual cable. Needs root.

Programs that take a whole port for a group, as GStreamer's server does, cannot run beside a receiver of that group.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Neighbour:
    """`enter`: command words that run a program there; `address` is its own, `near` this machine's on the cable."""

    enter: tuple[str, ...]
    address: str
    near: str
    interface: str  # there


class NoNamespaceError(Exception):
    """This machine does not let us; the text says why."""


@contextmanager
def neighbour() -> Iterator[Neighbour]:
    """Raises NoNamespaceError. The cable and the namespace end with the process that holds them."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        raise NoNamespaceError("only root makes network namespaces")
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != b"ready":
            raise NoNamespaceError("unshare -n is refused")
        block = holder.pid % 16_000
        base = f"10.{213 + block // 8000}.{block // 32 % 250}"
        here, there = f"rec{block}a", f"rec{block}b"
        enter = ("nsenter", "-t", str(holder.pid), "-n")
        first = 4 * (block % 32) + 1
        found = Neighbour(enter, f"{base}.{first + 1}", f"{base}.{first}", there)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", str(holder.pid))
        _run("ip", "addr", "add", f"{found.near}/30", "dev", here)
        _run("ip", "link", "set", here, "up")
        _run(*enter, "ip", "link", "set", "lo", "up")
        _run(*enter, "ip", "addr", "add", f"{found.address}/30", "dev", there)
        _run(*enter, "ip", "link", "set", there, "up")
        _run(*enter, "ip", "route", "add", "224.0.0.0/4", "dev", there)
        yield found
    finally:
        holder.communicate(timeout=20)


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    except FileNotFoundError as error:
        raise NoNamespaceError(f"{words[0]} is not installed") from error
    if done.returncode:
        raise NoNamespaceError(f"{' '.join(words)}: {done.stderr.strip()}")
