"""A device for each driver in the tree. A new driver adds its case here, or the conformance suite is red."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from drivers.rtsp.info import RtspSettings, Transport
from drivers.synthetic.info import SyntheticSettings
from recorderd.aio.system_clock import SystemClock
from recorderd.core.secret import Secret
from recorderd.driverapi.base import Address, StreamRequest
from recorderd.driverapi.info import DriverInfo
from recorderd.driverapi.testing import DriverCase
from recorderd.media.access_unit import Codec
from recorderd.simulate.clip import VideoSpec
from recorderd.simulate.farm import Farm
from recorderd.simulate.options import FarmOptions

Case = Callable[[DriverInfo, Path], AbstractAsyncContextManager[DriverCase]]
GOOD, BAD = Secret("right-horse"), Secret("wrong-horse")


@asynccontextmanager
async def synthetic_case(info: DriverInfo, folder: Path) -> AsyncIterator[DriverCase]:
    settings = SyntheticSettings(fps=100, audio=True, fail_after_s=2.0)
    url = "synthetic://camera"
    yield DriverCase(
        info=info,
        address=Address(url, "user", GOOD),
        settings=settings,
        unreachable=Address(url),
        unreachable_settings=replace(settings, offline=True),
        refused=Address(url, "user", BAD),
        refused_settings=replace(settings, demands=GOOD.reveal()),
        missing=StreamRequest(role="third"),
        end_stream=_by_itself,
    )


async def _by_itself() -> None:
    """The synthetic stream ends after `fail_after_s` without being asked."""


def rtsp_case(transport: Transport) -> Case:
    """One camera of the simulated farm, with a login, in this very process."""
    return partial(_rtsp_case, transport)


@asynccontextmanager
async def _rtsp_case(transport: Transport, info: DriverInfo, folder: Path) -> AsyncIterator[DriverCase]:
    options = FarmOptions(
        cameras=1,
        host="127.0.0.1",
        port=0,
        accounts={"user": GOOD},
        main=VideoSpec(Codec.H264, 320, 180, 50, 200_000, 25),
        audio=Codec.AAC,
        pacing=1,
        faults={},
        seed=1,
        log=None,
        clip_cache=folder / "clips",
        stdin_eof=False,
    )
    farm = Farm(options, SystemClock(), None)
    port = await farm.start()
    url = f"rtsp://127.0.0.1:{port}/cam/0"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else can take it
        yield DriverCase(
            info=info,
            address=Address(url, "user", GOOD),
            settings=RtspSettings(transport=transport),
            unreachable=Address(f"rtsp://127.0.0.1:{closed.getsockname()[1]}/cam/0"),
            refused=Address(url, "user", BAD),
            missing=StreamRequest(path="/cam/99"),
            end_stream=farm.stop,
        )
    await farm.stop()


CASES: dict[str, tuple[Case, ...]] = {
    "rtsp": (rtsp_case(Transport.TCP), rtsp_case(Transport.UDP)),
    "synthetic": (synthetic_case,),
}
