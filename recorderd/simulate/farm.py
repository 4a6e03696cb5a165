"""The camera farm put together: clips, cameras, timer and RTSP server.

Law: the composition root of the simulation; whoever runs it hands in the clock. Shared by all cameras: clips,
packets, timer. Per camera: numbers only.
"""

from __future__ import annotations

import random
import secrets
from typing import TextIO

from recorderd.core.clock import Clock
from recorderd.media.access_unit import Codec
from recorderd.rtspserver.gate import DigestGate
from recorderd.rtspserver.server import RtspServer
from recorderd.rtspserver.session import SessionContext
from recorderd.rtspserver.udp import UdpPorts
from recorderd.simulate.camera import Camera, CameraStream, FarmStart
from recorderd.simulate.clip import ClipCache, VideoSpec
from recorderd.simulate.clip_encode import encode_audio, encode_video
from recorderd.simulate.faults import Faults
from recorderd.simulate.mounts import MAIN, SUB, FarmMounts, FarmParts
from recorderd.simulate.options import FarmOptions, sub_spec, variant_spec
from recorderd.simulate.packed import PackedAudio, PackedVideo
from recorderd.simulate.scheduler import Scheduler
from recorderd.simulate.tally import write_record
from recorderd.simulate.told import PackedTold
from recorderd.wire.rtp_send import RtpTrack

_TICK_US = {1: 4_000, 4: 1_000}
_VIDEO_PAYLOAD_TYPE, _SOUND_PAYLOAD_TYPE, _PCMU_PAYLOAD_TYPE = 96, 97, 0
_METADATA_PAYLOAD_TYPE = 107
_REALM = "recorderd-simulate"


class Farm:
    """Cameras behind one port. `log` is an open text file, or None."""

    def __init__(self, options: FarmOptions, clock: Clock, log: TextIO | None) -> None:
        self._options = options
        streams = make_streams(options)
        start = FarmStart(clock.monotonic_us(), clock.utc_us())
        self.scheduler = Scheduler(clock, _TICK_US[options.pacing])
        cameras = [
            Camera.placed(number, options.faults.get(number, Faults()), start, streams[MAIN].video)
            for number in range(options.cameras)
        ]
        parts = FarmParts(clock, self.scheduler, str(options.seed), lambda record: write_record(log, record))
        self._mounts = FarmMounts(cameras, streams, parts)
        gate = DigestGate(_REALM, options.accounts, secrets.token_bytes(16))
        self._server = RtspServer(SessionContext(self._mounts, gate, _REALM), clock, udp=UdpPorts())

    async def start(self) -> int:
        """Listen; gives the port. Raises OSError."""
        return await self._server.start(self._options.host, self._options.port)

    async def stop(self) -> dict[str, object]:
        """End every connection; gives the totals."""
        self.scheduler.stop()
        await self._server.stop()
        cameras = self._mounts.totals()
        return {
            "cameras": cameras,
            "dropped": sum(int(str(camera["dropped"])) for camera in cameras),
            "latest_us": self.scheduler.latest_us,
        }


def make_streams(options: FarmOptions) -> dict[str, CameraStream]:
    """Both streams, from the clip cache or freshly encoded (seconds of CPU the first time)."""
    cache = ClipCache(options.clip_cache)
    dice = random.Random(options.seed)
    needs_variant = any(faults.params_start_us is not None for faults in options.faults.values())

    def packed(spec: VideoSpec, ssrc: int) -> PackedVideo:
        track = RtpTrack(0, _VIDEO_PAYLOAD_TYPE, ssrc)
        return PackedVideo(cache.video(spec, encode_video), track, options.pacing)

    audio = None
    if options.audio is not None:
        clip = cache.audio(options.audio, encode_audio)
        payload_type = _PCMU_PAYLOAD_TYPE if options.audio is Codec.PCMU else _SOUND_PAYLOAD_TYPE
        audio = PackedAudio(clip, RtpTrack(2, payload_type, dice.getrandbits(32)))
    told = None
    if options.metadata:
        channel = 2 if audio is None else 4
        told = PackedTold(RtpTrack(channel, _METADATA_PAYLOAD_TYPE, dice.getrandbits(32)))
    streams = {}
    for name, spec in ((MAIN, options.main), (SUB, sub_spec(options.main))):
        ssrc = dice.getrandbits(32)
        variant = packed(variant_spec(spec), ssrc) if needs_variant else None
        streams[name] = CameraStream(name, packed(spec, ssrc), variant, audio, told)
    return streams
