"""For driver authors: a fake Host, a recording Sink, and a conformance suite as a pytest plug-in.

Law: only tests import this. A driver's conftest.py says `pytest_plugins = ["recorderd.driverapi.testing"]` (or,
in a sub-folder, `pytest.register_assert_rewrite` before importing it), offers a fixture `driver_case` that gives
a DriverCase, and its test module subclasses `DriverConformance`. Every driver in the tree is checked by the same class.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import sys
import threading
import time
import unittest.mock
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from recorderd.aio.supervisor import Supervisor
from recorderd.driverapi.base import Address, Driver, RunningStream, Session, StreamRequest
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DeviceUnsupported, DriverError, StreamLost
from recorderd.driverapi.info import API_VERSION, DriverInfo
from recorderd.driverapi.testing_fakes import FakeHost, FakeLog, LoopClock, RecordingSink, dialling
from recorderd.media.access_unit import AccessUnit, Codec, MediaKind, UnitType

__all__ = ["DriverCase", "DriverConformance", "FakeHost", "FakeLog", "LoopClock", "RecordingSink", "check_units"]

LEAVE_S = 5.0
UNITS = 40  # enough to see several GOPs' worth of order at test frame rates


@dataclass(frozen=True)
class DriverCase:
    """One driver with a device to talk to. The optional parts are devices with a fault; what a driver cannot
    offer is left None and its checks are skipped. `end_stream` makes the device end running streams."""

    info: DriverInfo
    address: Address
    settings: Any
    request: StreamRequest = field(default_factory=StreamRequest)
    unreachable: Address | None = None
    unreachable_settings: Any = None
    refused: Address | None = None
    refused_settings: Any = None
    end_stream: Callable[[], Awaitable[None]] | None = None
    missing: StreamRequest | None = None  # a stream the device does not have
    timeout_s: float = 20.0


@contextlib.asynccontextmanager
async def running(
    case: DriverCase, host: FakeHost, sink: RecordingSink
) -> AsyncIterator[tuple[Session, RunningStream]]:
    """A session with the case's stream started."""
    driver: Driver[Any] = case.info.load()
    async with driver.connect(case.address, case.settings, host) as session:
        stream = await session.start(case.request, sink)
        try:
            yield session, stream
        finally:
            await stream.stop()


def check_units(kind: MediaKind, units: list[AccessUnit]) -> None:
    """What every consumer relies on; AssertionError names the unit."""
    last: AccessUnit | None = None
    for number, unit in enumerate(units):
        where = f"{kind} unit {number}: {unit!r}"
        assert isinstance(unit.data, bytes), f"{where}: data must be one bytes object"
        assert unit.data, f"{where}: empty"
        assert unit.config.kind is kind, f"{where}: its config is for {unit.config.kind}"
        assert unit.config.timebase_hz > 0, f"{where}: no timebase"
        assert unit.lost_packets >= 0, where
        if kind is MediaKind.VIDEO:
            _check_picture(unit, where)
        else:
            assert unit.type is UnitType.AUDIO, f"{where}: audio units have type AUDIO"
        if last is not None:
            assert unit.recv_mono_us >= last.recv_mono_us, f"{where}: monotonic time went back"
            assert unit.discontinuity or unit.dts > last.dts, f"{where}: dts {last.dts} -> {unit.dts}"
        last = unit
    if kind is MediaKind.VIDEO and units:
        assert units[0].is_key, "the first picture must be one that can be entered"


def _check_picture(unit: AccessUnit, where: str) -> None:
    """NAL units behind 4-byte lengths that fill the data exactly; parameter sets are known."""
    if unit.config.codec not in (Codec.H264, Codec.H265):
        return
    assert unit.config.parameter_sets, f"{where}: no parameter sets in its config"
    pos = 0
    while pos < len(unit.data):
        size = int.from_bytes(unit.data[pos : pos + 4], "big")
        assert 0 < size <= len(unit.data) - pos - 4, f"{where}: NAL length {size} at {pos}"
        pos += 4 + size


class ForbiddenCalls:
    """Notices, through audit events, what a driver must not do on the loop's thread: sleep, resolve names, open
    files for writing, start processes, connect past `Host.dial`."""

    _active: ForbiddenCalls | None = None
    _installed = False

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._thread = threading.get_ident()

    @classmethod
    @contextlib.contextmanager
    def watch(cls) -> Iterator[ForbiddenCalls]:
        if not cls._installed:
            sys.addaudithook(cls._hook)  # an audit hook stays for ever; it is idle while nobody watches
            cls._installed = True
        watcher = cls._active = cls()
        sleep = time.sleep

        def noticed(seconds: float) -> None:  # audited by Python itself only from 3.13 on
            watcher._judge("time.sleep", (seconds,))
            sleep(seconds)

        try:
            with unittest.mock.patch("time.sleep", noticed):
                yield watcher
        finally:
            cls._active = None

    @classmethod
    def _hook(cls, event: str, args: tuple[Any, ...]) -> None:
        if cls._active is not None:
            cls._active._judge(event, args)

    def _judge(self, event: str, args: tuple[Any, ...]) -> None:
        if threading.get_ident() != self._thread:
            return
        if event in ("time.sleep", "subprocess.Popen", "os.system", "socket.getaddrinfo", "socket.gethostbyname"):
            self.seen.append(f"{event}{args[:1]!r}")
        elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
            self.seen.append(f"open for writing {args[0]!r}")
        elif event == "socket.connect" and not dialling.get():
            family = getattr(args[0], "family", None)
            # A datagram socket's connect sends nothing, and a fake camera on this thread may need one.
            stream = getattr(args[0], "type", None) == socket.SOCK_STREAM
            if stream and family in (socket.AF_INET, socket.AF_INET6):
                self.seen.append(f"connect past Host.dial to {args[1]!r}")


class DriverConformance:
    """Subclass it in a test module; give a fixture `driver_case`. Each test is one promise of the contract."""

    def test_info_is_complete(self, driver_case: DriverCase) -> None:
        info = driver_case.info
        assert info.api_version == API_VERSION
        assert info.schemes
        assert dataclasses.is_dataclass(info.settings)
        info.settings()  # every key has a default
        assert urlsplit(driver_case.address.url).scheme in info.schemes

    async def test_describes_itself(self, driver_case: DriverCase) -> None:
        async with FakeHost(driver_case.address) as host, asyncio.timeout(driver_case.timeout_s):
            driver: Driver[Any] = driver_case.info.load()
            description = await driver.probe(driver_case.address, driver_case.settings, host)
            assert all(device.kind and device.channel >= 0 for device in description.devices)
            assert not _left_open(host)

    async def test_units_keep_the_contract(self, driver_case: DriverCase) -> None:
        sink = RecordingSink()
        async with FakeHost(driver_case.address) as host, asyncio.timeout(driver_case.timeout_s):
            with ForbiddenCalls.watch() as forbidden:
                async with running(driver_case, host, sink) as (_, stream):
                    await sink.reach(UNITS)
                    assert stream.stats().get("units", 0) >= UNITS
            assert forbidden.seen == []
        for kind in MediaKind:
            check_units(kind, sink.of(kind))
        assert host.failures == []

    async def test_stop_ends_the_stream(self, driver_case: DriverCase) -> None:
        sink = RecordingSink()
        async with FakeHost(driver_case.address) as host, asyncio.timeout(driver_case.timeout_s):
            async with running(driver_case, host, sink) as (_, stream):
                await sink.reach(2)
                await stream.stop()
                count = len(sink.units)
                await stream.stop()  # idempotent
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert len(sink.units) == count, "units came after stop() returned"

    async def test_leaves_when_cancelled(self, driver_case: DriverCase) -> None:
        sink = RecordingSink()
        before = asyncio.all_tasks()
        async with FakeHost(driver_case.address) as host:

            async def watch_for_ever() -> None:
                async with running(driver_case, host, sink) as (_, stream):
                    await stream.wait()

            async with Supervisor("session") as tree:
                task = tree.start("watch", watch_for_ever())
                async with asyncio.timeout(driver_case.timeout_s):
                    await sink.reach(2)
                assert await tree.stop(LEAVE_S) == [], "did not leave within 5 s of cancellation"
                assert task.cancelled(), "cancellation must come through"
            assert not _left_open(host)
        assert asyncio.all_tasks() - before == set(), "tasks were left behind"

    async def test_dials_only_the_given_host(self, driver_case: DriverCase) -> None:
        sink = RecordingSink()
        async with FakeHost(driver_case.address) as host, asyncio.timeout(driver_case.timeout_s):
            async with running(driver_case, host, sink):
                await sink.reach(1)
            assert {name for name, _ in host.dialled} <= {urlsplit(driver_case.address.url).hostname}
            assert not _secret_in(host, driver_case.address), "the password is in the log"

    async def test_unreachable_is_typed(self, driver_case: DriverCase) -> None:
        if driver_case.unreachable is None:
            pytest.skip("this driver's case has no unreachable device")
        settings = driver_case.unreachable_settings or driver_case.settings
        error = await _failure(driver_case, driver_case.unreachable, settings)
        assert isinstance(error, DeviceUnavailable)
        assert error.reason

    async def test_refused_password_is_typed(self, driver_case: DriverCase) -> None:
        if driver_case.refused is None:
            pytest.skip("this driver's case has no device that refuses")
        settings = driver_case.refused_settings or driver_case.settings
        error = await _failure(driver_case, driver_case.refused, settings)
        assert isinstance(error, DeviceAuthFailed)
        password = driver_case.refused.password
        assert password is None or password.reveal() not in f"{error} {error.params}"

    async def test_missing_stream_is_typed(self, driver_case: DriverCase) -> None:
        if driver_case.missing is None:
            pytest.skip("this driver's case has no missing stream")
        case = dataclasses.replace(driver_case, request=driver_case.missing)
        error = await _failure(case, case.address, case.settings)
        # A device that still starts may not know its streams yet, so a driver may also ask for patience.
        assert isinstance(error, DeviceUnsupported | DeviceUnavailable)

    async def test_end_of_stream_is_typed(self, driver_case: DriverCase) -> None:
        if driver_case.end_stream is None:
            pytest.skip("this driver's case cannot end a stream")
        sink = RecordingSink()
        async with FakeHost(driver_case.address) as host, asyncio.timeout(driver_case.timeout_s):
            async with running(driver_case, host, sink) as (_, stream):
                await sink.reach(2)
                await driver_case.end_stream()
                with pytest.raises((StreamLost, DeviceUnavailable)) as caught:
                    await stream.wait()
                assert caught.value.reason
            assert not _left_open(host)


async def _failure(case: DriverCase, address: Address, settings: Any) -> DriverError:
    """What connecting and starting raises; a success is a failed test."""
    async with FakeHost(address) as host, asyncio.timeout(case.timeout_s):
        driver: Driver[Any] = case.info.load()
        with pytest.raises(DriverError) as caught:
            async with driver.connect(address, settings, host) as session:
                await session.start(case.request, RecordingSink())
        assert not _left_open(host)
        return caught.value


def _left_open(host: FakeHost) -> list[object]:
    pairs = [pair for pair in host.pairs if not pair.closed]
    return [*(transport for transport in host.transports if not transport.is_closing()), *pairs]


def _secret_in(host: FakeHost, address: Address) -> bool:
    password = address.password
    return password is not None and bool(password) and password.reveal() in repr(host.log.entries)
