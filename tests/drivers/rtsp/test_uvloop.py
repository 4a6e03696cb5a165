"""The rtsp driver on the other event loop that may be configured: every way media takes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any

import pytest
import trustme
from rtsp_rig import RigHost, RigSink, address, playing
from scripted_camera import Camera, picture, running
from test_tunnel import Tunnel, tunnelled
from udp_camera import UdpCamera

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.driverapi.errors import DeviceUnavailable
from recorderd.driverapi.tls import fingerprint

uvloop = pytest.importorskip("uvloop")


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 30))


@pytest.mark.parametrize("gather_us", [0, 5_000])
@pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP, Transport.HTTP])
def test_media_on_uvloop(transport: Transport, gather_us: int) -> None:
    async def scene() -> None:
        sink, settings, host = RigSink(), RtspSettings(transport=transport), RigHost(gather_us)
        camera = UdpCamera() if transport is Transport.UDP else Camera()
        async with running(camera), tunnelled(Tunnel(camera)) as tunnel:
            port = tunnel.port if transport is Transport.HTTP else camera.port
            async with playing(address(port), sink, host, settings=settings):
                if isinstance(camera, UdpCamera):
                    camera.send([packet for number in range(3) for packet in picture(number)])
                await sink.until_video(3)
        if isinstance(camera, UdpCamera):
            camera.close()

    run(scene())


def test_tls_on_uvloop() -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    pin = fingerprint(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode()))

    async def scene() -> None:
        async with running(Camera(), context) as camera:
            where, sink = address(camera.port, scheme="rtsps"), RigSink()
            async with playing(where, sink, settings=RtspSettings(tls_fingerprint=pin)):
                await sink.until_video(3)
            for settings, reason in (
                (RtspSettings(), "tls-untrusted"),
                (RtspSettings(tls_fingerprint="sha256:" + "0" * 64), "tls-changed"),
            ):
                with pytest.raises(DeviceUnavailable, match=pin) as refused:
                    async with playing(where, RigSink(), settings=settings):
                        pass
                assert refused.value.reason == reason

    run(scene())
