"""What systemd is told, byte for byte."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorderd.aio import sd_notify
from recorderd.core.clock import FakeClock

pytestmark = pytest.mark.fast


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


def test_messages(manager: socket.socket) -> None:
    assert sd_notify.ready("12 cameras\nREADY=0")
    assert manager.recv(4096) == b"READY=1\nSTATUS=12 cameras READY=0"
    assert sd_notify.reloading(FakeClock(monotonic_us=77))
    assert manager.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=77"
    assert sd_notify.status("fine")
    assert manager.recv(4096) == b"STATUS=fine"
    assert sd_notify.watchdog()
    assert manager.recv(4096) == b"WATCHDOG=1"
    assert sd_notify.stopping()
    assert manager.recv(4096) == b"STOPPING=1"


def test_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")  # the kernel picks an abstract name
        receiver.settimeout(10)
        name = receiver.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        assert sd_notify.notify("READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not sd_notify.ready()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], interval: int | None) -> None:
    assert sd_notify.watchdog_interval_us(environ) == interval
