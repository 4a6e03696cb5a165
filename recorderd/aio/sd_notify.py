"""Telling systemd how the service fares: READY, RELOADING, STOPPING, STATUS, WATCHDOG (sd_notify(3)).

Law: one datagram per message to the socket that NOTIFY_SOCKET names; without it nothing happens. Never
raises and never blocks: a service manager that does not listen is no reason to stop recording.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from recorderd.core.clock import Clock


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send `state` (lines 'KEY=value'); True when a service manager took it."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract namespace, unix(7)
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
        except OSError:
            return False
    return True


def ready(status: str = "") -> bool:
    """The service records and serves."""
    return notify("READY=1" + _status(status))


def reloading(clock: Clock) -> bool:
    """A reload began, `ready()` ends it. The moment on the monotonic clock is for Type=notify-reload."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={clock.monotonic_us()}")


def stopping(status: str = "") -> bool:
    """The way down began."""
    return notify("STOPPING=1" + _status(status))


def status(text: str) -> bool:
    """One line for `systemctl status`."""
    return notify(_status(text).lstrip("\n"))


def watchdog() -> bool:
    """Feed the watchdog: loop and supervisors make progress."""
    return notify("WATCHDOG=1")


def watchdog_interval_us(environ: Mapping[str, str] = os.environ) -> int | None:
    """How often to feed, half of what systemd allows; None when no watchdog watches this process."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) // 2


def _status(text: str) -> str:
    """A STATUS line; line breaks would start another key."""
    return "\nSTATUS=" + " ".join(text.split()) if text else ""
