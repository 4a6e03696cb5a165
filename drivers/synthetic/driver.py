"""A camera that needs no camera: the first driver to read, and the one tests lean on.

Law: everything is a function of the settings and of the event loop's time. It repeats the shipped clip, so its
footage is real H.264 that every player shows, and it has the faults a recorder must survive. It shows the whole
contract of `recorderd.driverapi.base` without a protocol in the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from drivers.synthetic import clip
from drivers.synthetic.info import SyntheticSettings
from recorderd.driverapi.base import (
    Address,
    Candidate,
    DeviceInfo,
    HardwareDescription,
    Host,
    Sink,
    StreamInfo,
    StreamRequest,
)
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DeviceUnsupported, StreamLost
from recorderd.media.access_unit import AccessUnit, CodecConfig, MediaKind, TimeQuality, UnitType

ROLES = ("main", "sub")


class SyntheticDriver:
    """Stateless: one object serves every hardware."""

    async def discover(self, host: Host) -> AsyncIterator[Candidate]:
        """A synthetic camera is everywhere; discovery offers one."""
        yield Candidate("synthetic://camera", "Synthetic camera")

    async def probe(self, address: Address, settings: SyntheticSettings, host: Host) -> HardwareDescription:
        async with self.connect(address, settings, host) as session:
            return await session.describe()

    @asynccontextmanager
    async def connect(
        self, address: Address, settings: SyntheticSettings, host: Host
    ) -> AsyncIterator[SyntheticSession]:
        if settings.offline:
            raise DeviceUnavailable("the synthetic camera is switched off: set offline = false", "refused")
        given = address.password.reveal() if address.password is not None else ""
        if settings.demands and given != settings.demands:
            raise DeviceAuthFailed("the synthetic camera refused the password: correct it")
        yield SyntheticSession(settings, host)


class SyntheticSession:
    """One login. Streams are independent tasks, supervised by the host."""

    def __init__(self, settings: SyntheticSettings, host: Host) -> None:
        self._settings = settings
        self._host = host

    async def describe(self) -> HardwareDescription:
        streams = tuple(StreamInfo(role, role) for role in ROLES)
        camera = DeviceInfo(channel=0, kind="camera", streams=streams)
        return HardwareDescription("recorderd", "synthetic", "1", f"seed-{self._settings.seed}", (camera,))

    async def start(self, request: StreamRequest, sink: Sink) -> SyntheticStream:
        if request.role not in ROLES:
            raise DeviceUnsupported(f"no stream {request.role!r}: main and sub", "no-such-stream")
        return SyntheticStream(self._settings, request, self._host, sink)


class SyntheticStream:
    """A running stream: pushes units when they are due."""

    def __init__(self, settings: SyntheticSettings, request: StreamRequest, host: Host, sink: Sink) -> None:
        self._settings = settings
        self._clock = host.clock
        self._sink = sink
        self._lost = Random(f"{settings.seed}/{request.channel}/{request.role}")
        self._pictures = clip.read_clip()
        self._video = clip.video_config(self._pictures[0], settings.fps)
        self._audio = clip.audio_config() if settings.audio and request.audio else None
        self._tone = clip.tone()
        self._sent = {"units": 0, "bytes": 0, "packets": 0, "lost_packets": 0}
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kinds = ["video"] if self._audio is None else ["video", "audio"]
        sink.event("tracks", {"kinds": kinds})
        self._task = host.spawn(f"synthetic {request.role}", self._run())

    async def wait(self) -> None:
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._ended.done():
            self._ended.cancel()
        elif not self._ended.cancelled():
            self._ended.exception()  # nobody may be waiting for it any more

    def stats(self) -> dict[str, int]:
        return dict(self._sent)

    async def _run(self) -> None:
        """Send each picture when it is due, and the audio that belongs before it."""
        loop = asyncio.get_running_loop()
        start_s, number, tones, lost = loop.time(), 0, 0, 0
        fps, limit_s = self._settings.fps, self._settings.fail_after_s
        while not limit_s or number < limit_s * fps:
            await asyncio.sleep(start_s + number / fps - loop.time())
            while self._audio is not None and tones * fps * clip.AUDIO_SAMPLES <= number * clip.AUDIO_HZ:
                self._push(MediaKind.AUDIO, self._audio, self._tone, tones * clip.AUDIO_SAMPLES, UnitType.AUDIO, 0)
                tones += 1
            data = self._pictures[number % len(self._pictures)]
            key = number % len(self._pictures) == 0
            if not key and self._lost.uniform(0, 100) < self._settings.loss_percent:
                lost += 1
            else:
                kind = UnitType.IDR if key else UnitType.DELTA
                pts = number * self._video.timebase_hz // fps
                self._push(MediaKind.VIDEO, self._video, data, pts, kind, lost)
                lost = 0
            number += 1
        if not self._ended.done():
            self._ended.set_exception(StreamLost("the synthetic stream ends here as configured", "closed"))

    def _push(self, kind: MediaKind, config: CodecConfig, data: bytes, pts: int, type: UnitType, lost: int) -> None:
        now_us = self._clock.utc_us()
        unit = AccessUnit(
            data,
            pts,
            pts,
            type,
            now_us,
            self._clock.monotonic_us(),
            config,
            cam_us=now_us,
            cam_quality=TimeQuality.ARRIVAL,
            lost_packets=lost,
        )
        sent = self._sent
        sent["units"] += 1
        sent["bytes"] += len(data)
        sent["packets"] += 1
        sent["lost_packets"] += lost
        self._sink.unit(kind, unit)
