"""A playing RTSP stream: keep-alive, receiver reports, stall detection, read pacing, goodbye.

Law: one supervised task per stream, nothing per frame. Says why it ended exactly once. Called by drivers.
"""

from __future__ import annotations

import asyncio

from recorderd.driverapi.base import Host, Sink
from recorderd.driverapi.errors import DeviceAuthFailed, DriverError, StreamLost
from recorderd.driverkit.rtsp_handshake import TEARDOWN_S, OpenSession
from recorderd.driverkit.rtsp_play import Playing, Wanted, play
from recorderd.wire.rtcp import build_receiver_report
from recorderd.wire.rtsp_client import LoginRefused
from recorderd.wire.track import TrackListener

KEEP_ALIVE_ANSWER_S = 10.0
REPORT_US = 5_000_000
STALL_MIN_US = 5_000_000
STALL_MAX_US = 60_000_000
FIRST_UNIT_US = 10_000_000
STALL_GOPS = 3
STALL_PICTURES = 3
SLOWEST_US = 75_000_000  # one picture a minute, and late: no picture of a camera that works is further from the next
BYE_PATIENCE_US = 2_000_000
UPKEEP_S = 1.0
LATE_MIN_US = 1_000_000
_CNAME = b"recorderd"


async def start_stream(open_session: OpenSession, wanted: Wanted, sink: Sink, host: Host) -> RtspStream:
    """Play a described session into `sink`. Raises DriverError; then the connection is closed."""
    playing = await play(open_session, wanted, TrackListener(sink.unit, sink.event), host)
    stream = RtspStream(playing, sink, host)
    sink.event("tracks", {"kinds": [track.kind.value for track in playing.tracks]})
    host.spawn("rtsp-upkeep", stream.upkeep())
    return stream


class RtspStream:
    """Implements `driverapi.base.RunningStream`."""

    def __init__(self, playing: Playing, sink: Sink, host: Host) -> None:
        self._open = playing.opened
        self._connection = playing.opened.connection
        self._session = playing.opened.session
        self._path = playing.path
        self._tracks = playing.tracks
        self._lead = playing.tracks[0]
        self._sink = sink
        self._host = host
        self._stopping = False
        self._over = asyncio.Event()
        self._started_us = self._report_us = self._alive_us = host.clock.monotonic_us()
        self._armed_us = self._started_us  # silence is counted from here at the earliest
        self._seen = 0, 0  # units of the leading track at the last look, and when the newest came
        self._interval_us = 0  # between its units, when that is longer than a look
        self._ssrc = hash((id(self), self._started_us)) & 0xFFFFFFFF

    @property
    def running(self) -> bool:
        return not self._connection.closed.is_set()

    async def wait(self) -> None:
        """Return after `stop`; raise StreamLost when the stream ended by itself."""
        await self._connection.closed.wait()
        if not self._stopping:
            raise self._connection.error or StreamLost("the stream ended", reason="closed")

    async def stop(self) -> None:
        """Tear down within 1 s; idempotent."""
        if self._stopping:
            return
        self._stopping = True
        self._over.set()
        self._path.gather(0)
        try:
            async with asyncio.timeout(TEARDOWN_S + 0.2):
                await self._open.close()
        except TimeoutError:
            pass  # the goodbye is a courtesy
        finally:
            self._connection.abort(StreamLost("stopped", reason="stopped"))
            self._end_media()

    def stats(self) -> dict[str, int]:
        """Sums over the stream's tracks, since its start."""
        counters = [track.counters for track in self._tracks]
        sums = {
            "packets": sum(one.packets for one in counters),
            "lost_packets": sum(one.lost_packets for one in counters),
            "duplicate_packets": sum(one.duplicates for one in counters),
            "malformed_packets": sum(one.counters.malformed + one.depay.malformed for one in self._tracks),
            "foreign_packets": sum(one.foreign for one in counters),
            "units": sum(one.units for one in counters),
            "damaged_units": sum(one.damaged_units for one in counters),
            "restarts": sum(one.restarts for one in counters),
            "reconnects": 0,
        }
        for name, value in self._path.stats().items():
            sums[name] = sums.get(name, 0) + value
        return sums

    async def upkeep(self) -> None:
        """Once a second until the end: what a session needs besides media."""
        while not self._over.is_set() and not self._connection.closed.is_set():
            now_us = self._host.clock.monotonic_us()
            self._learn_interval()
            lost = self._find_stall(now_us)
            if lost is not None:
                self._connection.abort(lost)
                break
            self._path.gather(0 if self._sink.watched() else self._host.coalesce_us())
            if now_us - self._report_us >= REPORT_US:
                self._report_us = now_us
                self._send_reports()
            if now_us - self._alive_us >= self._session.facts.timeout_s * 500_000:
                self._alive_us = now_us
                await self._keep_alive()
            await self._pause()
        if not self._stopping:
            self._end_media()

    async def _pause(self) -> None:
        """Until the next tick. One that comes late by more than its period means that this process stood still: what
        the camera sent meanwhile waits in the socket and is read before anything is called a stall."""
        before_us = self._host.clock.monotonic_us()
        try:
            async with asyncio.timeout(UPKEEP_S):
                await self._over.wait()
        except TimeoutError:
            pass
        now_us = self._host.clock.monotonic_us()
        if now_us - before_us > max(2 * UPKEEP_S * 1e6, LATE_MIN_US):
            self._armed_us = now_us

    def _learn_interval(self) -> None:
        """How far apart pictures are now: longer distances are believed at once, shorter ones by halves."""
        lead, (units, last_us) = self._lead, self._seen
        if lead.counters.units == units:
            return
        self._seen = lead.counters.units, lead.last_unit_mono_us
        if units:
            between_us = min(SLOWEST_US, (lead.last_unit_mono_us - last_us) // (lead.counters.units - units))
            self._interval_us = max(between_us, (self._interval_us + between_us) // 2)

    def _patience_us(self) -> int:
        """How long the leading track may be silent. Who has made one picture only may be slow: nobody knows yet."""
        if self._seen[0] == 1:
            return max(SLOWEST_US, STALL_MIN_US)
        gops_us = min(STALL_MAX_US, STALL_GOPS * self._lead.gop_us)
        return max(STALL_MIN_US, gops_us, STALL_PICTURES * self._interval_us)

    def _find_stall(self, now_us: int) -> DriverError | None:
        lead = self._lead
        last_us = lead.last_unit_mono_us
        if not last_us:
            limit_us, silent_us = FIRST_UNIT_US, now_us - self._armed_us
        else:
            limit_us = self._patience_us()
            silent_us = now_us - max(last_us, self._armed_us)
            if lead.counters.byes and silent_us >= BYE_PATIENCE_US:
                return StreamLost("the camera said goodbye", reason="closed")
        if silent_us < limit_us:
            return None
        why = self._path.silence()
        if why:
            message = f'{why}: set transport = "tcp", or "http" where only HTTP passes'
            return StreamLost(message, reason="no-packets", silent_us=silent_us)
        return StreamLost(f"no picture for {silent_us / 1e6:.1f} s", reason="stall", silent_us=silent_us)

    def _send_reports(self) -> None:
        for index, track in enumerate(self._tracks):
            self._path.send_report(index, build_receiver_report(self._ssrc, track.report_block(), _CNAME))

    async def _keep_alive(self) -> None:
        try:
            for _ in range(4):
                response = await self._connection.exchange(self._session.keep_alive(), KEEP_ALIVE_ANSWER_S)
                if not self._session.kept_alive(response):
                    return
        except TimeoutError:
            return  # some cameras never answer; missing media is what counts
        except LoginRefused as error:
            self._connection.abort(DeviceAuthFailed(error.message))
        except DriverError:
            return  # the connection ended; wait() tells

    def _end_media(self) -> None:
        """Nothing more is read; what was lost last is told without a unit."""
        self._path.close()
        for track in self._tracks:
            lost = track.take_loss()
            if lost:
                self._sink.loss(track.kind, lost)
