"""The suite's negative control: drivers that break one promise each are noticed by the test of that promise."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.synthetic.driver import SyntheticDriver, SyntheticSession, SyntheticStream
from drivers.synthetic.info import INFO, SyntheticSettings
from recorderd.core.secret import Secret
from recorderd.driverapi.base import Address, StreamRequest
from recorderd.driverapi.testing import DriverCase, DriverConformance
from recorderd.media.access_unit import UnitType

SUITE = DriverConformance()


def case(driver: Any, **values: Any) -> DriverCase:
    info = dataclasses.replace(INFO, load=lambda: driver)
    address = Address("synthetic://camera", "user", Secret("right-horse"))
    return DriverCase(info, address, SyntheticSettings(fps=200), timeout_s=5.0, **values)


class Broken(SyntheticDriver):
    """The synthetic driver with a hook on each started stream and on entering a session."""

    def __init__(
        self,
        on_stream: Callable[[SyntheticStream, Any], None] = lambda stream, host: None,
        on_connect: Callable[[Any], None] = lambda host: None,
    ) -> None:
        self.on_stream = on_stream
        self.on_connect = on_connect

    @asynccontextmanager
    async def connect(self, address: Address, settings: Any, host: Any) -> AsyncIterator[Any]:
        self.on_connect(host)
        async with super().connect(address, settings, host) as session:
            yield _Session(self, session, host)


class _Session:
    def __init__(self, driver: Broken, inner: SyntheticSession, host: Any) -> None:
        self.driver, self.inner, self.host = driver, inner, host
        self.describe = inner.describe

    async def start(self, request: StreamRequest, sink: Any) -> SyntheticStream:
        stream = await self.inner.start(request, sink)
        self.driver.on_stream(stream, self.host)
        return stream


def per_unit(change: Callable[[Any, int], None]) -> Broken:
    """Change or accompany each unit on its way."""

    def hook(stream: SyntheticStream, host: Any) -> None:
        sink, count = stream._sink, iter(range(1 << 30))

        class Between:
            def unit(self, kind: Any, unit: Any) -> None:
                change(unit, next(count))
                sink.unit(kind, unit)

        stream._sink = Between()  # type: ignore[assignment]

    return Broken(hook)


def writes_a_file(unit: Any, number: int) -> None:
    with open("/dev/null", "w"):
        pass


def connects_past_dial(unit: Any, number: int) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", 9))


def resolves_on_the_loop(unit: Any, number: int) -> None:
    socket.getaddrinfo("127.0.0.1", 1)


def sleeps(unit: Any, number: int) -> None:
    time.sleep(0)


def goes_back(unit: Any, number: int) -> None:
    unit.dts = -number


def begins_in_a_gop(unit: Any, number: int) -> None:
    if number == 0:
        unit.type = UnitType.DELTA


def annex_b(unit: Any, number: int) -> None:
    unit.data = b"\0\0\0\1" + unit.data[4:]


@pytest.mark.parametrize(
    "change",
    [writes_a_file, connects_past_dial, resolves_on_the_loop, sleeps, goes_back, begins_in_a_gop, annex_b],
)
async def test_bad_units_and_forbidden_calls(change: Callable[[Any, int], None]) -> None:
    with pytest.raises(AssertionError):
        await SUITE.test_units_keep_the_contract(case(per_unit(change)))


async def test_good_driver_is_green() -> None:
    await SUITE.test_units_keep_the_contract(case(Broken()))
    await SUITE.test_stop_ends_the_stream(case(Broken()))
    await SUITE.test_leaves_when_cancelled(case(Broken()))


async def test_units_after_stop() -> None:
    async def pretends() -> None:
        pass

    def hook(stream: SyntheticStream, host: Any) -> None:
        stream.stop = pretends  # type: ignore[method-assign]

    with pytest.raises(AssertionError, match="after stop"):
        await SUITE.test_stop_ends_the_stream(case(Broken(hook)))


async def test_tasks_left_behind() -> None:
    left: list[asyncio.Task[Any]] = []

    def hook(stream: SyntheticStream, host: Any) -> None:
        left.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))

    with pytest.raises(AssertionError, match="left behind"):
        await SUITE.test_leaves_when_cancelled(case(Broken(hook)))
    left[0].cancel()


async def test_swallowed_cancellation() -> None:
    def hook(stream: SyntheticStream, host: Any) -> None:
        wait = stream.wait

        async def swallows() -> None:
            try:
                await wait()
            except asyncio.CancelledError:
                return

        stream.wait = swallows  # type: ignore[method-assign]

    with pytest.raises(AssertionError, match="cancellation must come through"):
        await SUITE.test_leaves_when_cancelled(case(Broken(hook)))


async def test_password_in_the_log() -> None:
    driver = Broken(on_connect=lambda host: host.log.info("login", password="right-horse"))
    with pytest.raises(AssertionError, match="password"):
        await SUITE.test_dials_only_the_given_host(case(driver))


async def test_untyped_errors() -> None:
    def fails(host: Any) -> None:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await SUITE.test_unreachable_is_typed(case(Broken(on_connect=fails), unreachable=Address("synthetic://x")))
