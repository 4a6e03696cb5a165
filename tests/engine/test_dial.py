"""Connections go to the configured host and nowhere else."""

from __future__ import annotations

import asyncio
import socket

import pytest

from recorderd.aio.supervisor import Supervisor
from recorderd.core.clock import FakeClock
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported
from recorderd.driverapi.udp import UdpRequest
from recorderd.engine.dial import PinnedDialer, resolve
from recorderd.engine.host import COALESCE_US, EngineHost, Pacing

pytestmark = pytest.mark.fast


async def to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_reaches_the_configured_host_by_name_and_by_its_address() -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dial = PinnedDialer("rtsp://Camera.Example:554/x", to_loopback)
    for host in ("camera.example", "CAMERA.example", "127.0.0.1"):
        transport, _ = await dial(host, port, asyncio.Protocol)
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        transport.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.2", "169.254.169.254", "", "camera.example.evil"])
async def test_refuses_every_other_host_without_connecting(host: str) -> None:
    dial = PinnedDialer("rtsp://camera.example/x", to_loopback)
    with pytest.raises(DeviceUnsupported) as caught:
        await dial(host, 80, asyncio.Protocol)
    assert caught.value.reason == "foreign-host"


async def test_datagrams_only_of_the_configured_host_and_closed_with_the_session() -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    dial = PinnedDialer("rtsp://camera.example/x", to_loopback)
    with pytest.raises(DeviceUnsupported) as caught:
        dial.open_udp(UdpRequest("127.0.0.1"))
    assert caught.value.reason == "foreign-host", "not resolved yet"
    transport, _ = await dial("camera.example", server.sockets[0].getsockname()[1], asyncio.Protocol)
    host = EngineHost(FakeClock(), None, dial, Supervisor("session"), lambda: 0)
    pair = host.open_udp(UdpRequest("127.0.0.1"))
    assert pair.ports[0] % 2 == 0
    assert pair.ports[1] == pair.ports[0] + 1
    assert pair.overflowed() == 0
    with pytest.raises(DeviceUnsupported):
        host.open_udp(UdpRequest("127.0.0.2"))
    await host.close()
    assert pair.closed
    transport.close()
    server.close()
    await server.wait_closed()


async def test_refused_is_typed() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dial = PinnedDialer("rtsp://camera/", to_loopback)
        with pytest.raises(DeviceUnavailable) as caught:
            await dial("camera", bound.getsockname()[1], asyncio.Protocol)
    assert caught.value.reason == "refused"
    assert "camera" in str(caught.value)


async def test_unknown_name_is_typed() -> None:
    async def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(DeviceUnavailable) as caught:
        await PinnedDialer("rtsp://camera/", fails)("camera", 554, asyncio.Protocol)
    assert caught.value.reason == "dns"


@pytest.mark.looptime
async def test_a_resolver_that_hangs_is_typed() -> None:
    async def hangs(host: str, port: int) -> list[str]:
        await asyncio.sleep(1_000)
        return []

    with pytest.raises(DeviceUnavailable) as caught:
        await PinnedDialer("rtsp://camera/", hangs)("camera", 554, asyncio.Protocol)
    assert caught.value.reason == "dns"


async def test_resolver_gives_addresses() -> None:
    assert await resolve("127.0.0.1", 80) == ["127.0.0.1"]


def test_reads_are_gathered_under_load_with_hysteresis() -> None:
    loads = (0.02, 0.09, 0.11, 0.05, 0.03, 0.05, 0.25, 0.15, 0.09, 0.05, 0.0)
    now = iter(loads)
    pacing = Pacing(lambda: next(now))
    seen = [pacing.coalesce_us() for _ in loads]
    some = COALESCE_US
    assert seen == [0, 0, some, some, 0, 0, some, some, some, some, 0]
